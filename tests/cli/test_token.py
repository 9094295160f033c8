"""`timewright token`: what is shown once is shown once, and rights that nobody meant are not given."""

from __future__ import annotations

import time

import pytest
from timewright.edge.tokens import Tokens, find

from tests.cli.conftest import Shell


def tokens(shell: Shell) -> Tokens:
    return Tokens(shell.data / "tokens.toml")


def test_a_token_is_printed_alone_so_that_it_can_be_piped(shell: Shell) -> None:
    done = shell.run("token", "create", "ci", "--role", "deployer", "--owner", "team-a", "--expires", "90d")
    assert done.code == 0
    secret = done.out.strip()
    token = find(tokens(shell).all(), secret.encode(), time.time())
    assert token is not None
    assert (token.name, token.role, token.owners) == ("ci", "deployer", frozenset({"team-a"}))
    assert token.expires is not None
    assert abs(token.expires - time.time() - 90 * 86400) < 60
    assert "A deployer of workflows of team-a, until 20" in done.err
    assert secret not in done.err


def test_tokens_are_listed_without_their_secrets(shell: Shell) -> None:
    secret = shell.run("token", "create", "ci", "--role", "viewer").out.strip()
    tokens(shell).create("old", "admin", expires=1.0)
    listed, as_json = shell.run("token", "list"), shell.run("token", "list", "--json")
    assert [line.split() for line in listed.out.splitlines()] == [
        ["ci", "viewer", "never", "expires", "all", "workflows"],
        ["old", "admin", "expired", "all", "workflows"],
    ]
    assert [(row["name"], row["owners"], row["expired"]) for row in as_json.json] == [
        ("ci", None, False),
        ("old", None, True),
    ]
    for token in tokens(shell).all():
        assert secret not in listed.out + as_json.out
        assert token.sha256 not in listed.out + as_json.out


def test_no_tokens_is_said_with_what_to_do(shell: Shell) -> None:
    assert "timewright token create" in shell.run("token", "list").out
    assert shell.run("token", "list", "--json").json == []


def test_a_token_is_revoked(shell: Shell) -> None:
    shell.run("token", "create", "ci", "--role", "viewer")
    assert shell.run("token", "revoke", "ci").out == "Revoked ci.\n"
    again = shell.run("token", "revoke", "ci")
    assert again.code == 1
    assert again.err == "Error: there is no token 'ci'\nTry: there are: none\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--role", "deployer"],
        ["--role", "root"],
        ["--role", "admin", "--owner", "team-a"],
        ["--role", "viewer", "--owner", ""],
        ["--role", "viewer", "--expires", "soon"],
        [],
    ],
    ids=" ".join,
)
def test_rights_that_are_not_clear_are_wrong_usage(shell: Shell, arguments: list[str]) -> None:
    assert shell.run("token", "create", "ci", *arguments).code == 2
    assert tokens(shell).all() == ()


def test_a_deployer_of_everything_says_so(shell: Shell) -> None:
    assert shell.run("token", "create", "ci", "--role", "deployer", "--owner", "*").code == 0
    assert tokens(shell).all()[0].owners is None
