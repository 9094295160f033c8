"""What a source's ref means, what git's words mean, and what a commit says. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.commits import LOG_FORMAT, Commit, origins, parse_commit, parse_log
from timewright.core.gitrefs import (
    Follow,
    goes_back,
    is_followed,
    location,
    newest,
    parse_ls_remote,
    read_ref,
    url_problem,
)
from timewright.core.gitwords import Fault, explain

SHA = "3e46aed914066144f3e54fae2528db3f367b67d0"


@pytest.mark.parametrize(
    ("text", "follow"),
    [
        ("", Follow()),
        ("main", Follow(names=("refs/heads/main", "refs/tags/main"))),
        ("team/x", Follow(names=("refs/heads/team/x", "refs/tags/team/x"))),
        ("refs/heads/x", Follow(names=("refs/heads/x",))),
        (SHA, Follow(commit=SHA)),
        ("semver:^1.2", Follow(versions="^1.2")),
        ("semver:", Follow(versions="*")),
    ],
)
def test_a_ref_is_a_branch_a_tag_a_commit_or_a_range(text: str, follow: Follow) -> None:
    assert read_ref(text) == follow


@pytest.mark.parametrize(
    "text", ["-x", "a..b", "a b", "x~1", "x^", "a:b", "x.lock", "@{u}", "@", "/x", "x/", "semver:one"]
)
def test_what_is_no_ref_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_ref(text)


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.org/x.git",
        "ssh://git@git.example.org:22/x.git",
        "git@git.example.org:team/sub/x.git",
        "git.example.org:x.git",
        "file:///srv/x.git",
        "/srv/x.git",
        "../x.git",
    ],
)
def test_these_are_urls_of_repositories(url: str) -> None:
    assert url_problem(url) == ""


@pytest.mark.parametrize(
    "url", ["ext::sh -c id", "--upload-pack=x", "https://a b/", "fd::17", "x", "https://x\n/", "git@x::y"]
)
def test_these_are_none(url: str) -> None:
    assert url_problem(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ada:secret@git.example.org/x", "https://git.example.org/x"),
        ("https://token@git.example.org/x", "https://git.example.org/x"),
        ("ssh://git@git.example.org/x", "ssh://git@git.example.org/x"),
        ("ssh://git:secret@git.example.org/x", "ssh://git@git.example.org/x"),
        ("git@git.example.org:x", "git@git.example.org:x"),
        ("/srv/x", "/srv/x"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert location(url) == shown


def test_the_newest_version_of_a_range_is_found() -> None:
    tags = ["v1.2.0", "v1.10.0", "1.9.9", "v2.0.0", "v1.11.0-rc.1", "latest", "release/1.3.0"]
    assert newest(tags, "^1.2") == "v1.10.0"
    assert newest(tags, ">=2") == "v2.0.0"
    assert newest(tags, "^3") is None


def test_a_version_goes_back_only_to_an_earlier_one() -> None:
    assert goes_back("v1.10.0", "v1.9.0")
    assert not goes_back("v1.9.0", "v1.10.0")
    assert not goes_back("latest", "v1.0.0")


def test_ls_remote_tells_the_default_branch_and_all_refs() -> None:
    head, refs = parse_ls_remote(f"ref: refs/heads/trunk\tHEAD\n{SHA}\tHEAD\n{SHA}\trefs/tags/v1^{{}}\n\n")
    assert (head, dict(refs)) == ("refs/heads/trunk", {"HEAD": SHA, "refs/tags/v1^{}": SHA})


def test_only_a_push_to_what_is_followed_is_news() -> None:
    assert is_followed(read_ref("main"), "", "refs/heads/main")
    assert not is_followed(read_ref("main"), "", "refs/heads/other")
    assert is_followed(read_ref(""), "refs/heads/trunk", "refs/heads/trunk")
    assert not is_followed(read_ref(""), "refs/heads/trunk", "refs/heads/main")
    assert is_followed(read_ref(""), "", "refs/heads/main")  # not known yet: better one fetch too many
    assert is_followed(read_ref("semver:^1"), "", "refs/tags/v1.2.3")
    assert not is_followed(read_ref("semver:^1"), "", "refs/heads/main")


@pytest.mark.parametrize(
    ("said", "fault", "words"),
    [
        (
            "fatal: unable to access 'https://x/': Could not resolve host: x",
            Fault.UNREACHABLE,
            "host x can't",
        ),
        (
            "git@x: Permission denied (publickey).\nfatal: Could not read from remote",
            Fault.REFUSED,
            "ssh key",
        ),
        ("Host key verification failed.", Fault.REFUSED, "host key"),
        (
            "fatal: could not read Username for 'https://x': terminal prompts disabled",
            Fault.REFUSED,
            "let us in",
        ),
        ("fatal: repository 'https://x/' not found", Fault.REFUSED, "no such repository"),
        ("fatal: couldn't find remote ref refs/heads/x", Fault.NO_REF, "refs/heads/x"),
        ("fatal: unable to access 'https://x/': Failed to connect to x", Fault.UNREACHABLE, "not answer"),
        ("error: RPC failed; curl 56 GnuTLS recv error\nfatal: early EOF", Fault.UNREACHABLE, "broke off"),
        ("fatal: unable to write file: No space left on device", Fault.DISK, "disk is full"),
        (
            "error: object file ./objects/aa/bb is empty\nfatal: loose object aabb is corrupt",
            Fault.CORRUPT,
            "clone",
        ),
        ("fatal: transport 'ext' not allowed", Fault.REFUSED, "transport ext"),
        ("server certificate verification failed. CAfile: none", Fault.REFUSED, "TLS certificate"),
        (
            "fatal: unable to access 'https://x/': The requested URL returned error: 503",
            Fault.UNREACHABLE,
            "503",
        ),
    ],
)
def test_gits_words_are_put_into_a_sentence(said: str, fault: Fault, words: str) -> None:
    found, sentence, _ = explain(said, 128)
    assert (found, words in sentence) == (fault, True), sentence


def test_words_that_nobody_knows_are_passed_on_without_secrets() -> None:
    fault, sentence, _ = explain("hint: x\nfatal: odd thing at https://ada:secret@x/\x1b[31m", 1)
    assert fault is Fault.OTHER
    assert "odd thing" in sentence
    assert "secret" not in sentence
    assert "\x1b" not in sentence


@given(st.text(), st.integers(0, 255))
def test_no_words_of_git_raise(said: str, code: int) -> None:
    assert explain(said, code)[1].isprintable()


def test_a_commit_is_read_as_it_is() -> None:
    data = (
        b"tree 1\nparent 2\nauthor Ada Lovelace <ada@x> 1700000000 +0100\ncommitter B <b@x> 1 +0000\n"
        b"gpgsig -----BEGIN\n x\n\nSay  hello\nto all\n\nbody\n"
    )
    assert parse_commit(SHA, data) == Commit(SHA, "Ada Lovelace", "ada@x", "Say hello to all", 1.7e9)


def test_an_encoding_that_a_commit_names_counts_and_one_that_is_none_does_not() -> None:
    data = b"author J\xfcrgen <j@x> 5 +0000\nencoding ISO-8859-1\n\nGr\xfc\xdfe"
    assert parse_commit(SHA, data).author == "Jürgen"
    assert parse_commit(SHA, data.replace(b"ISO-8859-1", b"no-such")).subject.startswith("Gr")


@pytest.mark.parametrize("at", [b"-5", b"99999999999999999999", b"x"])
def test_a_time_that_no_clock_shows_is_none(at: bytes) -> None:
    assert parse_commit(SHA, b"author A <a@x> " + at + b" +0000\n\nx").at == 0.0


@given(st.binary(max_size=400))
def test_no_commit_object_raises_and_nothing_of_it_moves_a_cursor(data: bytes) -> None:
    commit = parse_commit(SHA, data)
    assert (commit.author + commit.subject + commit.email).isprintable()


def test_the_log_tells_who_last_changed_each_path() -> None:
    def entry(sha: str, subject: str, *paths: str) -> bytes:
        head = LOG_FORMAT.replace("%x00", "\0")
        for word, value in {"%H": sha, "%an": "Ada", "%ae": "a@x", "%at": "5", "%s": subject}.items():
            head = head.replace(word, value)
        return head.encode() + b"\0\n" + b"".join(path.encode() + b"\0" for path in paths)

    data = (
        entry("a" * 40, "newer", "x.json")
        + entry("b" * 40, "empty")
        + entry("c" * 40, "older", "x.json", "y.json")
    )
    found = origins(parse_log(data), {"x.json", "y.json", "z.json"})
    assert {path: commit.subject for path, commit in found.items()} == {"x.json": "newer", "y.json": "older"}


@given(st.binary(max_size=400))
def test_no_log_raises(data: bytes) -> None:
    list(parse_log(data))
