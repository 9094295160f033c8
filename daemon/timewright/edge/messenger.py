"""Sends messages through Apprise, to the URLs of a file. What is in a URL is secret: it is shown by its
number in the file, its scheme, and its host where that is one (a Telegram URL has its token there).
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from timewright.core.digest import SHORT, sha256
from timewright.core.errors import TimewrightError
from timewright.edge import secretfile

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30})://")
_CODE: Final = re.compile(r"error=(\d{3})\b")
#: The service says that this message is wrong: it will be wrong the next time.
_FOR_GOOD: Final = (400, 413, 422)
#: What a connection's error has in it → how it is said; the error itself may have the URL in it.
_TROUBLES: Final = (
    ("refused", "the connection is refused"),
    ("timed out", "no answer in time"),
    ("certificate", "its certificate is not valid"),
    ("resolve", "its host is not known"),
    ("name or service", "its host is not known"),
    ("reset", "the connection broke"),
    ("aborted", "the connection broke"),
    ("unreachable", "it can't be reached"),
)


@dataclass(frozen=True)
class Address:
    """One URL of a file. `number`: from 1, among its URLs. `mark`: tells it from others, not what it is."""

    number: int
    url: str = field(repr=False)

    @property
    def mark(self) -> str:
        return sha256(self.url.encode())[:SHORT]


@dataclass(frozen=True)
class Sent:
    """What became of a message at one URL. `where`: `URL 2 (json://localhost)`. `problem`: '' when it was
    taken. `for_good`: another try won't help."""

    mark: str
    where: str
    problem: str = ""
    for_good: bool = False


class Messenger:
    """The URLs of one file, which is read again for each message."""

    def __init__(self, path: Path, setting: str, *, timeout: float) -> None:
        """`setting`: the one that names the file. `timeout`: seconds that one URL may take."""
        self._path, self._setting, self._timeout = path, setting, timeout
        self._under_way: dict[str, threading.Thread] = {}

    def addresses(self) -> tuple[Address, ...]:
        """The URLs, one a line; '#' begins a comment. Raises TimewrightError: there are none, or they can't
        be read."""
        lines = secretfile.read(self._path, self._setting)
        urls = [line for line in lines if not line.startswith("#")]
        if not urls:
            raise TimewrightError(f"{self._setting} {self._path} has no URL", hint="one Apprise URL a line")
        return tuple(Address(number, url) for number, url in enumerate(urls, 1))

    def exposed(self) -> str:
        """Who else can read the file, as a sentence; '' when nobody can."""
        with suppress(OSError):
            mode = self._path.stat().st_mode & 0o777
            if mode & 0o007:
                return f"{self._setting} {self._path} can be used by all users (mode {mode:04o}); chmod o= it"
        return ""

    async def send(self, title: str, body: str, severity: str, only: str = "") -> tuple[Sent, ...]:
        """Send to all URLs at once, or to the one with the mark `only`. `severity`: info, success, warning or
        failure. Each has its own thread and time: none holds up another. Raises TimewrightError."""
        found = [address for address in self.addresses() if only in ("", address.mark)]
        if found:
            await asyncio.to_thread(_load)
        return tuple(await asyncio.gather(*(self._send(address, title, body, severity) for address in found)))

    async def where(self) -> tuple[str, ...]:
        """The URLs as they may be shown. Raises TimewrightError."""
        found = self.addresses()
        return tuple(await asyncio.to_thread(lambda: [_where(item, _server(item.url)) for item in found]))

    async def _send(self, address: Address, title: str, body: str, severity: str) -> Sent:
        plain = Sent(address.mark, _where(address, None))
        before = self._under_way.get(address.mark)
        if before is not None and before.is_alive():
            return _but(plain, "the last message hangs there still")
        result: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        thread = _in_thread(lambda: _deliver(address, title, body, severity), result)
        self._under_way = {mark: item for mark, item in self._under_way.items() if item.is_alive()}
        self._under_way[address.mark] = thread
        try:
            async with asyncio.timeout(self._timeout):
                return await result
        except TimeoutError:
            return _but(plain, f"no answer within {self._timeout:g} s")


def _but(sent: Sent, problem: str, *, for_good: bool = False) -> Sent:
    return Sent(sent.mark, sent.where, problem, for_good)


def _in_thread(work: Callable[[], Sent], result: asyncio.Future[Sent]) -> threading.Thread:
    """A thread of its own, that nobody waits for: one that hangs takes no place of a pass, nor holds up the
    end."""
    loop = asyncio.get_running_loop()

    def settle(sent: Sent) -> None:
        if not result.done():
            result.set_result(sent)

    def run() -> None:
        sent = work()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, sent)

    thread = threading.Thread(target=run, name="messenger", daemon=True)
    thread.start()
    return thread


# In the thread ---------------------------------------------------------------------------------


def _deliver(address: Address, title: str, body: str, severity: str) -> Sent:
    """Never raises."""
    plain = Sent(address.mark, _where(address, None))
    try:
        import apprise

        server = _server(address.url)
        if server is None:
            return _but(plain, "is no URL that Apprise knows")
        plain = Sent(address.mark, _where(address, server))
        outlet = apprise.Apprise(asset=_asset())
        outlet.add(server)
        result = outlet.notify(
            body=body,
            title=title,
            notify_type=apprise.NotifyType(severity),
            body_format=apprise.NotifyFormat.TEXT,
            log_level=logging.DEBUG,
        )
        return plain if result else _failed(plain, [entry.message for entry in result.logs()])
    except Exception as error:  # a plugin's bug; its words may have the URL in them
        return _but(plain, f"Apprise failed: {type(error).__name__}")


def _failed(plain: Sent, lines: list[str]) -> Sent:
    """Why it was not taken, in words of our own."""
    codes = [int(code) for line in lines for code in _CODE.findall(line)]
    if codes:
        with suppress(ValueError):
            status = HTTPStatus(codes[-1])
            return _but(plain, f"HTTP {status.value} {status.phrase}", for_good=status in _FOR_GOOD)
        return _but(plain, f"HTTP {codes[-1]}")
    text = "\n".join(lines).lower()
    trouble = next((words for sign, words in _TROUBLES if sign in text), "it did not take the message")
    return _but(plain, trouble)


def _asset() -> Any:
    """Apprise's settings: what we send is no markup, and goes out in the thread that asks. (With a limit of
    its own Apprise starts threads that the end of the process waits for.)"""
    import apprise

    asset = apprise.AppriseAsset(
        service_timeout=0, async_mode=False, interpret_escapes=False, interpret_emojis=False
    )
    asset.app_id, asset.app_desc = "timewright", "timewright"
    return asset


_READING: Final = threading.Lock()  # Apprise loads its plugins at the first URL


@cache
def _load() -> None:
    """Have Apprise and its plugins at hand: that takes a second, and is no URL's time."""
    _server("json://localhost")


def _server(url: str) -> Any:
    """The service of a URL; None when Apprise knows none."""
    import apprise

    with _READING:
        _quieten()
        return apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)


def _quieten() -> None:
    """Secrets may be in what it logs: that is for us alone, and comes with each result."""
    logger = logging.getLogger("apprise")
    if logger.propagate:
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.DEBUG)


def _where(address: Address, server: Any) -> str:
    """A URL as it may be shown."""
    scheme = _SCHEME.match(address.url)
    if scheme is None:
        return f"URL {address.number}"
    shown = f"{scheme[1].lower()}://"
    templates = getattr(server, "templates", ())
    if server is not None and templates and all("{host}" in template for template in templates):
        shown += str(server.host or "")
    return f"URL {address.number} ({shown})"
