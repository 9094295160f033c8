"""Apprise, as we use it: what became of each URL, and none of what is secret in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from timewright.core.errors import TimewrightError
from timewright.edge.messenger import Address, Messenger

from tests.receiver import receiving
from tests.support import child_env, python

_TOKEN = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"


def messenger(tmp_path: Path, *lines: str, timeout: float = 20) -> Messenger:
    path = tmp_path / "urls"
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return Messenger(path, "notify.urls_file", timeout=timeout)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"json://user:{_TOKEN}@hooks.example.org:8443/{_TOKEN}", "URL 1 (json://hooks.example.org)"),
        (f"tgram://123456789:{_TOKEN}/12345", "URL 1 (tgram://)"),
        (f"ntfy://{_TOKEN}", "URL 1 (ntfy://)"),  # the topic is all that keeps others out
        (f"gotify://push.example.org/{_TOKEN}", "URL 1 (gotify://push.example.org)"),
        (f"mailto://user:{_TOKEN}@example.org", "URL 1 (mailto://example.org)"),
        (f"nobody://{_TOKEN}", "URL 1 (nobody://)"),
        (_TOKEN, "URL 1"),
    ],
)
async def test_a_url_is_shown_without_what_is_secret_in_it(tmp_path: Path, url: str, shown: str) -> None:
    assert await messenger(tmp_path, url).where() == (shown,)
    assert _TOKEN not in repr(Address(1, url))


async def test_each_url_has_its_own_outcome(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.answers |= {"/full": 503, "/no": 400}
        urls = [receiver.url(path) for path in ("/ok", "/full", "/no")]
        sender = messenger(tmp_path, "# comment", *urls, "", "json://nowhere.invalid/")
        sent = await sender.send("title", "body", "warning")
        assert [(one.problem, one.for_good) for one in sent] == [
            ("", False),
            ("HTTP 503 Service Unavailable", False),
            ("HTTP 400 Bad Request", True),
            ("its host is not known", False),
        ]
        await sender.send("again", "body", "info", only=sent[1].mark)
        assert [path for path, _ in receiver.tried].count("/ok") == 1
        assert [path for path, _ in receiver.tried].count("/full") == 2


async def test_text_arrives_as_it_is(tmp_path: Path) -> None:
    text = "a <b> & $x *c* \\n :smile: ä\nline 2"
    with receiving() as receiver:
        await messenger(tmp_path, receiver.url()).send("t <i>", text, "failure")
        assert [body["message"] for _, body in receiver.taken] == [text]
        assert receiver.titles() == ["t <i>"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "can't be read: No such file or directory"),
        (b"", "is empty"),
        (b"# nobody\n", "has no URL"),
        (b"\xff\xfe", "is no text in UTF-8"),
    ],
)
def test_a_file_without_urls_says_so(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "urls"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TimewrightError, match=f"notify.urls_file {path} {words}"):
        Messenger(path, "notify.urls_file", timeout=1).addresses()


def test_a_url_that_hangs_does_not_hold_up_the_end_of_the_process(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from pathlib import Path
from timewright.edge.messenger import Messenger
sender = Messenger(Path(sys.argv[1]), "x", timeout=3)
print(asyncio.run(sender.send("t", "b", "info"))[0].problem)
print(asyncio.run(sender.send("t", "b", "info"))[0].problem)
"""
    with receiving() as receiver:
        receiver.hanging.add("/")
        messenger(tmp_path, receiver.url())
        done = subprocess.run(
            python(code, tmp_path / "urls"), env=child_env(), capture_output=True, text=True, timeout=60
        )
        assert done.stdout.split("\n")[:2] == ["no answer within 3 s", "the last message hangs there still"]
        assert len(receiver.tried) == 1


@pytest.mark.parametrize(("mode", "said"), [(0o600, False), (0o640, False), (0o604, True), (0o666, True)])
def test_who_else_can_read_the_file_is_said(tmp_path: Path, mode: int, said: bool) -> None:
    sender = messenger(tmp_path, "json://x")
    (tmp_path / "urls").chmod(mode)
    assert bool(sender.exposed()) is said
