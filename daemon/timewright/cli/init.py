"""`timewright init`: a settings file and a source folder to start with."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from timewright.config import FILE_NAME
from timewright.core.errors import TimewrightError


@click.command("init")
@click.argument("directory", required=False, default=".", type=click.Path(path_type=Path, file_okay=False))
def command(directory: Path) -> None:
    """Write timewright.toml, with every setting explained, and make specs/."""
    target = directory / FILE_NAME
    if target.exists():
        raise TimewrightError(f"{target} is already there", hint="edit it, or remove it first")
    (directory / "specs").mkdir(parents=True, exist_ok=True)
    target.write_text(example(), "utf-8")
    click.echo(f"Wrote {target} and made {directory / 'specs'}.")
    click.echo("Next: timewright doctor, then timewright run")


def example() -> str:
    """The text of config.example.toml, from the package or the checkout."""
    packaged = resources.files("timewright") / "config.example.toml"
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return (Path(__file__).resolve().parents[3] / "config.example.toml").read_text("utf-8")
