"""`timewright schema`: the JSON Schema of a spec or a policy file, for editors and builders."""

from __future__ import annotations

import click

from timewright.core.schema import policy_schema, render, spec_schema


@click.command("schema")
@click.option("--policy", is_flag=True, help="That of a policy file.")
def command(policy: bool) -> None:
    """Print the JSON Schema (draft 2020-12) of a spec."""
    click.echo(render(policy_schema() if policy else spec_schema()), nl=False)
