"""Git servers on the loopback, as real as they get: sshd, and git's own http backend behind Python's server.

The http server has faults that a test switches on and off while it runs.
"""

from __future__ import annotations

import base64
import getpass
import gzip
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.remotes import ssh_key

BACKEND_VARIABLES = ("content-type", "git-protocol", "accept-encoding")
SLOW_PIECE, SLOW_PAUSE = 64, 0.05  # bytes and seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# Smart http ------------------------------------------------------------------------------------


class GitHttpServer:
    """`git http-backend` behind an http server of its own, for all repositories below `root`.

    `tokens`: passwords that are let in, none for everybody; `fault`, one of:
    ''       answer
    'hang'   take the request, never answer
    'cut'    break off in the middle of a pack
    'stall'  send half of a pack, then wait until the fault is taken away (`stalled` is set meanwhile)
    '500'    the server has an error
    'page'   a web page with status 200, as a captive portal sends it
    'slow'   some bytes at a time
    """

    def __init__(self, root: Path, *, tls: ssl.SSLContext | None = None) -> None:
        self.root, self.tls = root, tls
        self.port = free_port()
        self.tokens: tuple[str, ...] = ()
        self.fault = ""
        self.redirect = ""  # another server's address, to which all is sent on
        self.requests: list[tuple[str, str, int]] = []  # method, path, status
        self.passwords: list[str] = []  # that were offered
        self.packs = 0  # answers with a pack in them
        self.stalled = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> GitHttpServer:
        owner = self

        class Handler(_Handler):
            server_of_git = owner

        class Server(ThreadingHTTPServer):
            allow_reuse_address = daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that went away is no news."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Down: connections are refused from now on, on the same port after another start()."""
        self.fault = ""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def url(self, repository: Path) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}/{repository.relative_to(self.root)}"

    def wait_while(self, fault: str, seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while self.fault == fault and time.monotonic() < end:
            time.sleep(0.02)


class _Handler(BaseHTTPRequestHandler):
    """One request: the faults first, then git."""

    protocol_version = "HTTP/1.1"
    server_of_git: GitHttpServer

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
        """Quiet: `requests` has them."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, body: bytes) -> None:
        server, fault = self.server_of_git, self.server_of_git.fault
        if password := self._password():
            server.passwords.append(password)
        if server.redirect:
            self._send(302, [("location", server.redirect + self.path)], b"")
        elif fault == "hang":
            server.wait_while("hang")
            self.close_connection = True
        elif fault == "500":
            self._send(500, [("content-type", "text/plain")], b"the disk of the server is full\n")
        elif fault == "page":
            self._send(200, [("content-type", "text/html")], b"<html>Please accept our terms</html>")
        elif server.tokens and self._password() not in server.tokens:
            headers = [("www-authenticate", 'Basic realm="git"'), ("content-type", "text/plain")]
            self._send(401, headers, b"who are you?\n")
        else:
            self._send(*self._git(body))

    def _password(self) -> str:
        scheme, _, word = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return word
        with suppress(ValueError):
            return base64.b64decode(word).decode(errors="replace").partition(":")[2]
        return ""

    def _git(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        address = urlsplit(self.path)
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server_of_git.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "REQUEST_METHOD": self.command,
            "PATH_INFO": address.path,
            "QUERY_STRING": address.query,
            "REMOTE_USER": "somebody",
            "CONTENT_LENGTH": str(len(body)),
        }
        for name in BACKEND_VARIABLES:
            prefix = "" if name == "content-type" else "HTTP_"
            variables[prefix + name.upper().replace("-", "_")] = self.headers.get(name, "")
        done = subprocess.run(
            ["git", "http-backend"], env=variables, input=body, capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [
            (name.lower(), value)
            for name, _, value in (line.partition(": ") for line in head.decode().split("\r\n"))
        ]
        status = next((int(value.split()[0]) for name, value in headers if name == "status"), 200)
        return status, [pair for pair in headers if pair[0] != "status"], content

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        server = self.server_of_git
        is_pack = b"packfile\n" in content[:4096]
        server.packs += is_pack
        server.requests.append((self.command, self.path, status))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if is_pack and server.fault in ("cut", "stall"):
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if server.fault == "cut":
                self.close_connection = True
                return
            server.stalled.set()
            server.wait_while("stall")
            server.stalled.clear()
            content = content[len(content) // 2 :]
        while content and server.fault == "slow":
            self.wfile.write(content[:SLOW_PIECE])
            self.wfile.flush()
            content = content[SLOW_PIECE:]
            time.sleep(SLOW_PAUSE)
        self.wfile.write(content)


@contextmanager
def http_server(root: Path, *, tls: ssl.SSLContext | None = None) -> Iterator[GitHttpServer]:
    server = GitHttpServer(root, tls=tls).start()
    try:
        yield server
    finally:
        server.stop()


def authority(home: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate for 127.0.0.1 that signed itself: (what a server needs, the file that clients trust)."""
    key, certificate = home / "tls.key", home / "tls.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *words, *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


# ssh -------------------------------------------------------------------------------------------


def missing_sshd() -> str:
    """Why there is no sshd to test with; '' when there is one."""
    return "" if _sshd() else "no sshd on this machine: apt-get install openssh-server"


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class SshServer:
    """An sshd of our own, run by this user for this user. `key`: the private key that is let in;
    `known_hosts`: the file that says who the server is."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.port = home, free_port()
        self.key, self._host_key = ssh_key(home / "id"), ssh_key(home / "host")
        self.known_hosts = home / "known_hosts"
        self._process: subprocess.Popen[bytes] | None = None
        self._write()

    def _write(self) -> None:
        (self.home / "authorized").write_text(self.key.with_suffix(".pub").read_text())
        kind, public = self._host_key.with_suffix(".pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {public}\n")
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self._host_key}",
            f"AuthorizedKeysFile {self.home / 'authorized'}",
            f"PidFile {self.home / 'pid'}",
            "StrictModes no",  # /tmp belongs to everybody
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "AcceptEnv GIT_PROTOCOL",
            "MaxStartups 100",
        ]
        (self.home / "sshd_config").write_text("\n".join(lines) + "\n")

    def start(self) -> SshServer:
        command = _sshd()
        assert command, missing_sshd()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it wants it, and nobody else makes it
        with (self.home / "log").open("ab") as log:
            words = [command, "-D", "-e", "-f", str(self.home / "sshd_config")]
            self._process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, (self.home / "log").read_text()
            assert time.monotonic() < end, "sshd did not start"
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as line:
                return line.recv(4) == b"SSH-"
        except OSError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
            self._process = None

    def another_host_key(self) -> None:
        """As if somebody else stood at this address."""
        for path in (self._host_key, self._host_key.with_suffix(".pub")):
            path.unlink()
        was = self.known_hosts.read_text()
        self._host_key = ssh_key(self.home / "host")
        self._write()
        self.known_hosts.write_text(was)

    def url(self, repository: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository}"

    def command(self) -> str:
        """GIT_SSH_COMMAND for plain git."""
        known = f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes"
        return f"ssh -F /dev/null -i {self.key} -o IdentitiesOnly=yes -o BatchMode=yes {known}"


@contextmanager
def ssh_server(home: Path) -> Iterator[SshServer]:
    server = SshServer(home).start()
    try:
        yield server
    finally:
        server.stop()
