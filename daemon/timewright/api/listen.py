"""Sockets: the Unix one, never open wider than it may be, and the network's; and taking in who connects."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from timewright import log
from timewright.core.errors import TimewrightError
from timewright.edge.files import unique

_BACKLOG = 128
_MOST_CONNECTIONS = 256  # of each listener: callers can't use up the files that deploys need
_HANDSHAKE_S = 10.0
_LONGEST = 100  # bytes of a Unix socket's path, of 107


class UnixSocket:
    """A listening Unix socket, at its path until closed."""

    def __init__(self, path: Path, mode: int) -> None:
        """Raises TimewrightError: somebody answers there, something else is there, or it can't be made."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _short(path.parent) as folder:
                _check_free(path, f"{folder}/{path.name}")
                self.socket = _bind(folder, path.name, mode)
            self._inode = path.stat().st_ino
        except OSError as error:
            raise TimewrightError(
                f"the API's socket {path} can't be made: {error.strerror or error}",
                hint="check api.socket, and who may write there",
            ) from None

    def close(self) -> None:
        """Remove it, unless somebody else's stands there now."""
        with suppress(OSError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        self.socket.close()


def tcp_sockets(listen: str) -> list[socket.socket]:
    """Listening sockets for `host:port`. Raises TimewrightError."""
    host, port = split(listen)
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = socket.socket(family, kind, protocol)  # named: else asyncio sets no TCP_NODELAY
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.listen(_BACKLOG)
            one.setblocking(False)
    except OSError as error:
        for one in made:
            one.close()
        raise TimewrightError(
            f"the API can't listen on {listen}: {error.strerror or error}",
            hint="does something else listen there? check api.listen",
        ) from None
    return made


def split(listen: str) -> tuple[str, int]:
    """`host:port` or `[::1]:port` in two. Raises TimewrightError."""
    host, colon, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed) or not _is_port(port):
        raise TimewrightError(
            f"api.listen must be host:port, is {listen!r}",
            hint='"127.0.0.1:8233" for this host, "0.0.0.0:8233" for everybody',
        )
    return host.strip("[]"), int(port)


def is_local(host: str) -> bool:
    """Whether only this host can come in there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Tls:
    """A certificate that is read again when its files change: it lives shorter than a daemon."""

    def __init__(self, cert: Path, key: Path | None) -> None:
        """Raises TimewrightError when it can't be used."""
        self._cert, self._key = cert, key
        self._files = [path for path in (cert, key) if path is not None]
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._signature()
        self._load()

    def refresh(self) -> ssl.SSLContext:
        """The context for the next connection. A new certificate that can't be used leaves the old one."""
        signature = self._signature()
        if signature != self._seen:
            self._seen = signature
            try:
                self._load()
                log.get().info("certificate renewed", path=str(self._files[0]))
            except TimewrightError as error:
                log.get().error("the old certificate stays in use", because=error.message, hint=error.hint)
        return self.context

    def _load(self) -> None:
        try:
            self.context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            names = " and ".join(str(path) for path in self._files)
            why = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "not a pair"
            raise TimewrightError(
                f"the API's certificate can't be used ({names}): {why}",
                hint="api.tls_cert and api.tls_key are PEM files that belong together; a key has no password",
            ) from None

    def _signature(self) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for path in self._files:
            try:
                stat = path.stat()
                found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
            except OSError as error:
                found.append((error.errno or 0,))
        return found


class Listener:
    """Takes in who connects to some sockets, as far as there is room."""

    def __init__(
        self, sockets: list[socket.socket], protocol: Callable[[], asyncio.Protocol], tls: Tls | None = None
    ) -> None:
        self.sockets, self._protocol, self._tls = sockets, protocol, tls
        self._accepting: list[asyncio.Task[None]] = []
        self._greeting: set[asyncio.Task[None]] = set()

    def start(self, connected: Callable[[], int]) -> None:
        """`connected`: how many are in."""
        self._connected = connected
        self._accepting = [asyncio.create_task(self._accept(one)) for one in self.sockets]

    async def close(self) -> None:
        tasks = [*self._accepting, *self._greeting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in self.sockets:
            one.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0)  # others have a turn, however many knock
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:
                log.get().error("the API can't take in a caller", because=error.strerror)
                await asyncio.sleep(1)
                continue
            if self._connected() + len(self._greeting) >= _MOST_CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(self._greet(connection))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket) -> None:
        """Shake hands. Who doesn't speak TLS, or not in time, is gone."""
        tls = self._tls.refresh() if self._tls is not None else None
        limit = _HANDSHAKE_S if tls is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection, ssl=tls, ssl_handshake_timeout=limit
            )
        except OSError:
            connection.close()


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 65536


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path of a folder that leaves room for a socket's name: through its descriptor any depth works
    (Linux)."""
    if len(os.fsencode(folder)) + 60 <= _LONGEST:
        yield str(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _check_free(path: Path, short: str) -> None:
    """Raises TimewrightError when the path is taken. A socket of a daemon that is gone is not."""
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise TimewrightError(f"{path} is there already, and is no socket", hint="check api.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(short)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            raise TimewrightError(
                f"{path} can't be tried: {error.strerror or error}", hint="who listens there?"
            ) from None
    raise TimewrightError(f"another process answers at {path}", hint="stop it, or choose another api.socket")


def _bind(folder: str, name: str, mode: int) -> socket.socket:
    """A listening socket under its name. It gets its mode before anybody can find it."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = f"{folder}/{unique()}"
    try:
        os.fchmod(made.fileno(), 0o600)  # on Linux the mode that bind gives to the file
        made.bind(temporary)
        os.chmod(temporary, mode)  # noqa: PTH101 - the path goes through a descriptor
        made.listen(_BACKLOG)
        made.setblocking(False)
        os.rename(temporary, f"{folder}/{name}")  # noqa: PTH104 - the same
    except BaseException:
        made.close()
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - the same
        raise
    return made
