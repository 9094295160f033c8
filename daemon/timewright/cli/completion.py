"""`timewright completion bash|zsh|fish`."""

from __future__ import annotations

import click

from timewright.core.errors import TimewrightError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what teaches a shell to complete verbs, ids and releases.

    \b
    bash: eval "$(timewright completion bash)"      in ~/.bashrc
    zsh:  eval "$(timewright completion zsh)"       in ~/.zshrc
    fish: timewright completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise TimewrightError(f"{shell} can't be taught")
    group = click.get_current_context().find_root().command
    click.echo(kind(group, {}, "timewright", "_TIMEWRIGHT_COMPLETE").source())
