"""The file of tokens: it holds no secret, loses no change, and lets nobody in when it can't be trusted."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from timewright.core.errors import TimewrightError
from timewright.edge.tokens import Tokens, find

from tests.support import child_env, python

GOOD = """[tokens.ci]
role = "viewer"
owners = ["team-a"]
sha256 = "{hash}"
""".format(hash="0" * 64)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.toml")


def put(tokens: Tokens, text: str, mode: int = 0o600) -> None:
    tokens.path.write_text(text)
    tokens.path.chmod(mode)


def test_a_secret_is_kept_nowhere_and_found_again(tokens: Tokens) -> None:
    secret = tokens.create("ci", "deployer", ["team-a"], expires=time.time() + 60)
    assert secret.startswith("tw_")
    assert len(secret) == 3 + 43
    assert secret not in tokens.path.read_text()
    found = find(tokens.all(), secret.encode(), time.time())
    assert found is not None
    assert (found.name, found.role, found.owners) == ("ci", "deployer", frozenset({"team-a"}))
    assert find(tokens.all(), secret[:-1].encode(), time.time()) is None
    assert find(tokens.all(), b"", time.time()) is None


def test_a_token_ends_at_its_time_to_the_second(tokens: Tokens) -> None:
    secret = tokens.create("ci", "viewer", expires=1_700_000_000.0).encode()
    assert find(tokens.all(), secret, 1_699_999_999.9) is not None
    assert find(tokens.all(), secret, 1_700_000_000.0) is None


def test_the_file_is_for_the_daemon_alone(tokens: Tokens) -> None:
    old = os.umask(0)
    try:
        tokens.create("ci", "viewer")
    finally:
        os.umask(old)
    assert tokens.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tokens.path.parent.iterdir()] == ["tokens.toml"]


def test_no_file_is_no_tokens(tokens: Tokens) -> None:
    assert tokens.all() == ()
    assert tokens.signature() != ()


@pytest.mark.parametrize("name", ["", "a b", "../x", ".x", "x" * 65, "é", 'a"]\n[tokens.b'])
def test_a_name_that_is_none_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(TimewrightError, match="is no name of a token"):
        tokens.create(name, "viewer")
    assert not tokens.path.exists()


def test_a_name_is_used_once(tokens: Tokens) -> None:
    tokens.create("ci", "viewer")
    with pytest.raises(TimewrightError, match="there is a token 'ci' already"):
        tokens.create("ci", "admin")
    assert [token.role for token in tokens.all()] == ["viewer"]


def test_a_token_is_revoked_by_its_name(tokens: Tokens) -> None:
    one, two = tokens.create("one", "viewer").encode(), tokens.create("two", "viewer").encode()
    tokens.revoke("one")
    assert find(tokens.all(), one, 0) is None
    assert find(tokens.all(), two, 0) is not None
    with pytest.raises(TimewrightError, match="there is no token 'one'") as caught:
        tokens.revoke("one")
    assert caught.value.hint == "there are: two"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tokens = 3", "must hold sections"),
        ("[tokens", "is not TOML"),
        ("[token.ci]", "must hold sections"),
        (GOOD.replace('"viewer"', '"root"'), "role must be one of"),
        (GOOD.replace("sha256", "sha265"), "unknown key 'sha265'"),
        (GOOD + "expire = 2026-01-01T00:00:00Z", "unknown key 'expire'"),
        (GOOD + "expires = 2026-01-01T00:00:00", "a time with its zone"),
        (GOOD + 'expires = "tomorrow"', "a time with its zone"),
        (GOOD.replace('["team-a"]', "[]"), "must name an owner"),
        (GOOD.replace('["team-a"]', '"team-a"'), "must be a list of texts"),
        (GOOD.replace('owners = ["team-a"]\n', ""), "must be a list of texts"),
        (GOOD.replace("0" * 64, "0" * 63), "64 hex digits"),
    ],
)
def test_a_file_that_is_wrong_anywhere_is_not_used_at_all(tokens: Tokens, text: str, said: str) -> None:
    """A misspelt `expires` would be a token for ever; an owner that was lost, one that sees all."""
    put(tokens, text)
    with pytest.raises(TimewrightError, match=said) as caught:
        tokens.all()
    assert str(tokens.path) in caught.value.message
    assert caught.value.hint


def test_a_right_file_written_by_hand_is_used(tokens: Tokens) -> None:
    put(tokens, GOOD + "created = 2026-01-01T00:00:00Z\nexpires = 2026-02-01T00:00:00+01:00\n")
    (token,) = tokens.all()
    assert (token.owners, token.expires) == (frozenset({"team-a"}), 1_769_900_400.0)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_change_is_not_used(tokens: Tokens, mode: int) -> None:
    put(tokens, GOOD, mode)
    with pytest.raises(TimewrightError, match="can be changed by other users"):
        tokens.all()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_another_user_is_not_used(tokens: Tokens) -> None:
    put(tokens, GOOD)
    os.chown(tokens.path, 65534, 65534)
    with pytest.raises(TimewrightError, match="belongs to another user"):
        tokens.all()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which makes files for others")
def test_a_token_made_with_sudo_can_be_read_by_the_daemon(tokens: Tokens) -> None:
    os.chown(tokens.path.parent, 65534, 65534)
    tokens.create("ci", "viewer")
    assert tokens.path.stat().st_uid == 65534


def test_two_who_change_it_at_once_lose_nothing(tokens: Tokens) -> None:
    code = (
        "import sys; from pathlib import Path; from timewright.edge.tokens import Tokens\n"
        "for n in range(10): Tokens(Path(sys.argv[1])).create(f'{sys.argv[2]}{n}', 'viewer')"
    )
    children = [
        subprocess.Popen(python(code, tokens.path, name), env=child_env()) for name in ("a", "b", "c")
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert len(tokens.all()) == 30
