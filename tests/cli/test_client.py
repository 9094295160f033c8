"""The client: where the daemon is, what it is told, and what becomes of answers that are none."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
from timewright.cli.client import Client, DaemonDownError
from timewright.core.errors import RequestError, TimewrightError

from tests.cli.conftest import Shell
from tests.cli.fake import FakeDaemon, Refusal, serving, workflow

TOKEN = "tw_canary_0123456789"


def test_a_socket_of_any_depth_is_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    with serving(FakeDaemon(workflows={"hello": workflow()}), folder / "api.sock") as url:
        client = Client(url)
        assert client.get("workflows", "hello")["workflowId"] == "hello"
        client.close()


def test_another_host_is_asked_with_the_token(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDaemon(workflows={"hello": workflow()})
    monkeypatch.setenv("TIMEWRIGHT_TOKEN", TOKEN)
    with serving(fake) as url:
        assert shell.run("status", "--server", url).code == 0
    assert fake.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_token_file_wins_over_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDaemon(workflows={"hello": workflow()})
    monkeypatch.setenv("TIMEWRIGHT_TOKEN", "other")
    (shell.home / "token").write_text(f"{TOKEN}\n")
    with serving(fake) as url:
        assert shell.run("deploy", "hello", "--server", url, "--token-file", "token").code == 0
    assert {item.headers["authorization"] for item in fake.requests} == {f"Bearer {TOKEN}"}


def test_the_token_is_not_sent_to_this_hosts_socket(
    shell: Shell, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMEWRIGHT_TOKEN", TOKEN)
    shell.run("status")
    assert "authorization" not in daemon.requests[0].headers


def test_no_error_tells_the_token(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDaemon(refusals={"/workflows": Refusal(401, "UNAUTHORIZED", "no valid token")})
    monkeypatch.setenv("TIMEWRIGHT_TOKEN", TOKEN)
    with serving(fake) as url:
        done = shell.run("status", "--server", url)
        assert done.code == 1
        assert "Error: no valid token\nTry: give a token that is valid" in done.err
        monkeypatch.setenv("TIMEWRIGHT_TOKEN", f"{TOKEN}\u00e9\ninjected: header")
        bad = shell.run("status", "--server", url)
    assert "the token is none" in bad.err
    assert "canary" not in done.err + bad.err
    assert len(fake.requests) == 1


def test_a_token_file_that_cannot_be_read_is_said(shell: Shell) -> None:
    done = shell.run("status", "--server", "http://127.0.0.1:1", "--token-file", "nowhere")
    assert "Error: the token file nowhere can't be read: No such file or directory" in done.err


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host",
        "host:80",
        "http://",
        "http://user:pw@host",
        "http://h?x=1",
        "http://h:99999",
        "http://h:x",
    ],
)
def test_an_address_that_is_none_is_said_without_repeating_it(url: str) -> None:
    with pytest.raises(TimewrightError, match="must be http://host:port") as raised:
        Client(url)
    assert "pw" not in raised.value.message


def test_this_host_and_another_one_cannot_both_be_typed(shell: Shell) -> None:
    done = shell.run("status", "--server", "http://127.0.0.1:1", "--data", "x")
    assert done.code == 2
    assert "--server is another host" in done.err


def test_what_is_typed_wins_over_the_server_of_the_environment(
    shell: Shell, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMEWRIGHT_SERVER", "http://127.0.0.1:1")
    assert shell.run("status", "--data", str(shell.data)).code == 0
    done = shell.run("status")
    assert done.code == 1
    assert "no daemon answers at http://127.0.0.1:1 (nobody listens there)" in done.err
    assert "is the address right?" in done.err


def test_another_hosts_settings_do_not_matter(shell: Shell) -> None:
    (shell.home / "timewright.toml").write_text("[nonsense")
    with serving(FakeDaemon(workflows={"hello": workflow()})) as url:
        assert shell.run("status", "--server", url).code == 0


def test_a_path_before_the_api_is_kept() -> None:
    fake = FakeDaemon(answers={"/prefix/api/v1/plan": {"complete": True}})
    with serving(fake) as url:
        client = Client(f"{url}/prefix/")
        assert client.get("plan") == {"complete": True}
        client.close()


def test_ids_and_queries_cannot_leave_their_place() -> None:
    fake = FakeDaemon()
    with serving(fake) as url:
        client = Client(url)
        with pytest.raises(RequestError):
            client.get("workflows", "../../healthz?x=1#y", a="b&c=d")
        client.close()
    assert fake.requests[0].path == "/workflows/../../healthz?x=1#y"
    assert fake.requests[0].query == {"a": "b&c=d"}


def test_a_socket_that_this_user_may_not_use_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refused)
    with pytest.raises(TimewrightError, match="you may not talk to the daemon") as raised:
        Client(f"unix:{tmp_path}/api.sock").open()
    assert not isinstance(raised.value, DaemonDownError)
    assert "api.peers" in raised.value.hint


def test_a_socket_that_a_killed_daemon_left_is_no_daemon(shell: Shell) -> None:
    shell.data.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(shell.data / "api.sock"))
    stale.close()
    done = shell.run("deploy", "hello")
    assert "(nobody listens there)" in done.err


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "it broke off"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "it broke off"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\noh!", "answered HTTP 502"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n", "answered HTTP 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n]]", "something that is no JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + b"[" * 40_000, "something that is no JSON"),
        (b'HTTP/1.1 400 x\r\nContent-Length: 17\r\n\r\n{"detail": 7, "c"', "HTTP 400"),
        (b'HTTP/1.1 418 x\r\nContent-Length: 29\r\n\r\n{"detail":"tea","code":"MILK"}', "HTTP 418"),
    ],
)
def test_an_answer_that_is_none_is_an_error_in_words(answer: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(3):
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client("http://127.0.0.1:{1}".format(*server.getsockname()))
        with pytest.raises(TimewrightError, match=says):
            client.get("workflows")
        client.close()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_daemon_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timewright.cli.client._ANSWER_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Client("http://127.0.0.1:{1}".format(*server.getsockname()))
        with pytest.raises(TimewrightError, match="does not answer in time"):
            client.get("workflows")
        client.close()


def test_a_connection_that_the_daemon_closed_meanwhile_is_opened_again(tmp_path: Path) -> None:
    fake = FakeDaemon(workflows={"hello": workflow()})
    path = tmp_path / "api.sock"
    with serving(fake, path) as url:
        client = Client(url)
        client.get("workflows")
    with serving(fake, path):
        assert client.get("workflows")["workflows"]
    client.close()


def test_a_stream_of_many_lines_and_odd_fields_is_read_as_the_standard_says() -> None:
    text = (
        "retry: 10\n: a comment\n\nid: 7\nevent: status\ndata: [1,\ndata: 2]\n\ndata: no json\n\n"
        "id:8\ndata:{}\n\nid: 9\ndata: cut off"
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head + text.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client("http://127.0.0.1:{1}".format(*server.getsockname()))
        sent = [(item.id, item.kind, item.data) for item in client.stream("events")]
        thread.join()
    assert sent == [("7", "status", [1, 2]), ("8", "message", {})]


def test_the_command_line_speaks_to_nobody_through_a_proxy(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:1")
    with serving(FakeDaemon(workflows={"hello": workflow()})) as url:
        assert shell.run("status", "--server", url).code == 0
