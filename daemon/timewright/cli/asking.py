"""What all verbs that change something share: why, whether to wait, and telling how it ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

import click

from timewright.cli.client import DaemonDownError
from timewright.cli.common import console, json_option, lasting, options, print_json, printable, safe
from timewright.cli.durations import Duration
from timewright.cli.sight import Daemon
from timewright.cli.where import Where, where_options

F = TypeVar("F", bound=Callable[..., Any])
View = dict[str, Any]

_LOOK = (0.05, 0.5)  # seconds between looks at an operation: first, most
_LONG_LOOK = 5.0  # seconds that the daemon may keep a look until the operation is done


@dataclass(frozen=True)
class Asking:
    """How a verb asks. `timeout`: seconds to wait for the end."""

    where: Where
    reason: str
    wait: bool
    timeout: float
    as_json: bool

    def ask(self, verb: str, workflow_id: str | None, body: Mapping[str, Any] | None = None) -> None:
        """Ask the daemon for one thing, see it through, and exit with how it ended."""
        with self.where.daemon() as daemon:
            given = {"reason": self.reason, **(body or {})}
            operation = daemon.ask(verb, workflow_id, {key: value for key, value in given.items() if value})
            self.see_through(daemon, [operation], alone=True)

    def see_through(self, daemon: Daemon, operations: Sequence[View], *, alone: bool = False) -> None:
        """Wait for these, tell how they ended, and exit with 1 if one failed or isn't done in time."""
        deadline = time.monotonic() + self.timeout
        ended: list[View] = []
        with _spinner(self.wait and not self.as_json) as say:
            ended += [
                _followed(daemon, operation, deadline, say) if self.wait else operation
                for operation in operations
            ]
        if self.as_json:
            print_json(ended[0] if alone else ended)
        else:
            for operation in ended:
                self._tell(operation)
        failed = any(view["state"] == "failed" for view in ended)
        late = self.wait and any(view["state"] == "running" for view in ended)
        sys.exit(1 if failed or late else 0)

    def _tell(self, operation: View) -> None:
        name = operation.get("workflowId") or "all workflows"
        what, because = f"{operation['kind']} {name}", operation.get("because") or ""
        if operation["state"] == "succeeded":
            console().print(f"[green]✓[/] {safe(what)}: {safe(because)}")
        elif operation["state"] == "failed":
            click.echo(f"Error: {printable(f'{what} failed: {because}')}", err=True)
            if operation.get("workflowId") and "`timewright " not in because:
                click.echo(f"Try: timewright show {printable(name)}", err=True)
        elif self.wait:
            late = f"{what} is still under way after {lasting(self.timeout)}; it goes on"
            click.echo(f"Error: {printable(late)}", err=True)
            click.echo(
                f"Try: timewright logs -f {printable(operation.get('workflowId') or '')}".rstrip(), err=True
            )
        else:
            console().print(f"[cyan]…[/] {safe(what)}: asked for, operation {safe(operation['id'])}")


_asking_options = options(
    where_options,
    click.option("-m", "--reason", default="", help="Why; kept in the history and the audit."),
    click.option("--no-wait", is_flag=True, help="Don't wait for the end."),
    click.option(
        "--timeout", type=Duration(), default="5m", show_default=True, help="How long to wait for the end."
    ),
    json_option,
)


def asking_options(function: F) -> F:
    """Which daemon, --reason, --no-wait, --timeout, --json: the verb gets one `asking`."""

    @wraps(function)
    def with_asking(
        *, where: Where, reason: str, no_wait: bool, timeout: float, as_json: bool, **values: Any
    ) -> Any:
        return function(asking=Asking(where, reason, not no_wait, timeout, as_json), **values)

    return cast("F", _asking_options(with_asking))


def confirm(question: str, yes: bool) -> None:
    """Ask a person at a terminal; a script has said what it wants by calling us. Raises click.Abort."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(question, abort=True, err=True)


def _followed(daemon: Daemon, operation: View, deadline: float, say: Callable[[str], None]) -> View:
    """The operation when it is done, or as it is at the deadline. A daemon that restarts meanwhile goes on
    with it."""
    pause = _LOOK[0]
    what = f"{operation['kind']} {operation.get('workflowId') or ''}".rstrip()
    say(what)
    while operation["state"] == "running" and (left := deadline - time.monotonic()) > 0:
        try:
            operation = daemon.operation(operation["id"], wait=min(left, _LONG_LOOK))
            say(what)
        except DaemonDownError:
            say(f"{what}: the daemon doesn't answer; waiting until it is back")
        if operation["state"] == "running":
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 2, _LOOK[1])
    return operation


@contextmanager
def _spinner(wanted: bool) -> Iterator[Callable[[str], None]]:
    """A sign of life on a terminal, with what goes on. Ctrl-C stops the waiting, not what was asked for."""
    if not wanted or not sys.stderr.isatty():
        yield lambda text: None
        return
    before = signal.signal(signal.SIGINT, _leave)
    try:
        with console(stderr=True).status("") as status:
            yield lambda text: status.update(safe(text))
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(*_: object) -> None:
    """Go at once: an exception that is raised wherever the program happens to be can be lost on its way, or
    meet a second Ctrl-C."""
    os.write(2, b"\x1b[?25h\nIt goes on without you: timewright operations\n")
    os._exit(1)
