"""`timewright token`: who may call the API over the network."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from timewright.cli.common import settings, settings_options
from timewright.cli.durations import Duration
from timewright.edge.tokens import EVERYONE, ROLES, Token, Tokens


@click.group("token")
def command() -> None:
    """Make, list and revoke tokens for the API over the network.

    They are kept in the data directory, as hashes; a running daemon follows each change at once. This
    host's users need none: they use the Unix socket.
    """


@command.command("create")
@settings_options
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may do.")
@click.option(
    "--owner",
    "owners",
    multiple=True,
    help="Whose workflows it sees and changes (deploy.owner); can be repeated; '*' is all of them. A"
    " deployer needs one; a viewer without sees all; an admin always does.",
)
@click.option("--expires", type=Duration(), help="For how long it is valid: 90d, 12h. Without: for ever.")
def create(
    config_file: Path | None,
    source: Path | None,
    data: Path | None,
    name: str,
    role: str,
    owners: tuple[str, ...],
    expires: float | None,
) -> None:
    """Make a token and print it, this once."""
    _check_owners(role, owners)
    tokens = Tokens(settings(config_file, source, data).tokens_path)
    sees = frozenset(owners) if owners and EVERYONE not in owners else None
    until = None if expires is None else time.time() + expires
    secret = tokens.create(name, role, owners, expires=until)
    click.echo(f"A {role} of {_owners(sees)}, {_until(until)}. This is shown once:", err=True)
    click.echo(secret)


@command.command("list")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def listing(config_file: Path | None, source: Path | None, data: Path | None, as_json: bool) -> None:
    """Show the tokens there are; never their secrets."""
    tokens = Tokens(settings(config_file, source, data).tokens_path).all()
    now = time.time()
    if as_json:
        click.echo(json.dumps([_view(token, now) for token in tokens], indent=2))
        return
    if not tokens:
        click.echo("There are no tokens. Make one: timewright token create NAME --role viewer")
    width = max((len(token.name) for token in tokens), default=0)
    for token in tokens:
        until = "expired" if token.expired(now) else _until(token.expires)
        click.echo(f"{token.name:{width}}  {token.role:8}  {until:24}  {_owners(token.owners)}")


@command.command("revoke")
@settings_options
@click.argument("name")
def revoke(config_file: Path | None, source: Path | None, data: Path | None, name: str) -> None:
    """End a token, at once."""
    Tokens(settings(config_file, source, data).tokens_path).revoke(name)
    click.echo(f"Revoked {name}.")


def _check_owners(role: str, owners: tuple[str, ...]) -> None:
    """Raises click.UsageError: rights that nobody meant are not given."""
    if not all(owners):
        raise click.UsageError("--owner must not be empty")
    if role == "deployer" and not owners:
        raise click.UsageError(f"a deployer needs --owner OWNER; --owner '{EVERYONE}' for all workflows")
    if role == "admin" and owners and EVERYONE not in owners:
        raise click.UsageError("an admin sees all workflows; --owner is for viewers and deployers")


def _view(token: Token, now: float) -> dict[str, Any]:
    return {
        "name": token.name,
        "role": token.role,
        "owners": sorted(token.owners) if token.owners is not None else None,
        "created": _iso(token.created),
        "expires": _iso(token.expires) if token.expires is not None else None,
        "expired": token.expired(now),
    }


def _owners(owners: frozenset[str] | None) -> str:
    return "all workflows" if owners is None else "workflows of " + ", ".join(sorted(owners))


def _until(expires: float | None) -> str:
    return "never expires" if expires is None else f"until {_iso(expires)}"


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
