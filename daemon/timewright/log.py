"""Logs: one line a transition, one a pass. Pretty on a terminal, JSON otherwise. Never a reason to stop."""

from __future__ import annotations

import codecs
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from timewright.core.state import Status

# structlog loads rich, where it is there, for a renderer that we don't use: 4 MiB, and 60 ms of each command.
_hidden = "rich" not in sys.modules
if _hidden:
    sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
finally:
    if _hidden:
        del sys.modules["rich"]

Logger = structlog.typing.FilteringBoundLogger

_COLOURS = {"warning": "33", "error": "31", "debug": "2"}
_STATUS_COLOURS = {Status.DEPLOYED: "32", Status.DEPLOYMENT_FAILED: "31", Status.UNDEPLOYED: "2"}


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Set up logging to `stream` (standard error). `style`: pretty, json or auto."""
    out = stream or sys.stderr
    pretty = style == "pretty" or (style == "auto" and out.isatty())
    renderer: Any = (
        _Pretty(colour=out.isatty()) if pretty else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True) if not pretty else _no_time,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_SafeLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


@contextmanager
def surviving_streams() -> Iterator[None]:
    """For a daemon: standard streams that are closed lead nowhere, so that no file of ours gets their
    numbers, and what can't be written at the end is no failure (Python would exit with 120)."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for as long as we live
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def get() -> Logger:
    """The logger. Events are short facts; everything else is a key."""
    logger: Logger = structlog.get_logger()
    return logger


def _no_time(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return event


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What can't be written, as JSON spells it: right within JSON, and readable elsewhere."""
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - tells the type
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


_SPELLED = "timewright.spelled"
codecs.register_error(_SPELLED, _spell)


class _SafeLoggerFactory:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *_: Any) -> _SafeLogger:
        return _SafeLogger(self._stream)


class _SafeLogger:
    """Prints a line; a full disk or a closed pipe on the other side is no reason to stop a deploy."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, message: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:  # a name that is no Unicode, or a locale without our arrows, must not make the line vanish
            self._stream.write(message.encode(encoding, _SPELLED).decode(encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = msg


class _Pretty:
    """`12:01:02  hello  DEPLOYING → DEPLOYED  because`, with what else there is as key=value."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> str:
        level, name = str(event.pop("level", "info")), str(event.pop("event", ""))
        exception = event.pop("exception", "")
        problems = event.pop("problems", ())
        parts = [self._paint("2", time.strftime("%H:%M:%S"))]
        if name == "transition":
            old, new = event.pop("old", None), event.pop("new")
            arrow = f"{old or 'new here'} → {new}"
            parts += [
                f"{_printable(event.pop('workflow')):24}",
                self._paint(_STATUS_COLOURS.get(new, "36"), arrow),
            ]
        else:
            parts.append(self._paint(_COLOURS.get(level, "1"), _printable(name)))
        because = event.pop("because", "")
        if because:
            parts.append(_printable(str(because)))
        parts += [self._paint("2", f"{key}={_printable(str(value))}") for key, value in event.items()]
        lines = ["  ".join(parts), *(f"          {_printable(str(problem))}" for problem in problems)]
        return "\n".join(lines) + (f"\n{exception}" if exception else "")

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def _printable(text: str) -> str:
    """Text from outside can't move the cursor or forge a line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
