"""Commit statuses: what is worth telling a forge, once, and how it gets there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from timewright.config import Config, Source
from timewright.core.landing import Landing, Outcome
from timewright.core.sourcestate import SourceState
from timewright.delivery import DeliveryError
from timewright.statuses import Statuses

from tests.edge.test_worker_client import Host, hosting, says

A, B = "a" * 40, "b" * 40
PENDING = Outcome(Landing.PENDING, "0 of 2 applied; hello: not served yet")
SUCCESS = Outcome(Landing.SUCCESS, "2 workflows applied and healthy")
FAILURE = Outcome(
    Landing.FAILURE, "hello: TypeCheckFailed: src/workflow.ts:10:22: TS2345: no", failed=("hello",)
)


@dataclass(frozen=True)
class Letter:
    body: Mapping[str, Any]


class Desk:
    """Statuses, and who brings their letters: what was written, by key, and the channels."""

    def __init__(self, config: Config) -> None:
        self.letters: list[tuple[str, Mapping[str, Any]]] = []
        self.channels: list[str] = []
        self.statuses = Statuses(config, "here", self)
        self.statuses.register()

    def register(self, name: str, channel: Any) -> None:
        self.channels.append(name)

    def put(self, channel: str, key: str, body: Mapping[str, Any]) -> None:
        assert channel in self.channels, "somebody takes it"
        self.letters.append((key, body))

    def lands(self, outcome: Outcome, *commits: str, source: str = "main") -> list[str]:
        """What is written of it: `state: description`."""
        before = len(self.letters)
        self.statuses.on_landing(SourceState(source, "git", "", "Synced"), outcome, commits or (A,))
        return [f"{body['state']}: {body['description']}" for _, body in self.letters[before:]]


def settings(url: str = "", **more: Any) -> Source:
    given = {"git": "git@git.example.org:o/r.git", "status": "gitea", "status_token_file": "token"}
    return Source(**{**given, "status_url": url, **more})


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Host]:
    (tmp_path / "token").write_text("t0ken")
    async with hosting(says(201, {})) as host:
        yield host


def test_each_state_of_a_commit_is_told_once() -> None:
    desk = Desk(Config(source=settings()))
    assert desk.lands(PENDING) == [f"pending: {PENDING.description}"]
    assert desk.lands(PENDING) == []
    assert desk.lands(replace(PENDING, description="1 of 2 applied")) == [], "a forge takes only so many"
    assert desk.lands(SUCCESS) == [f"success: {SUCCESS.description}"]
    assert desk.lands(SUCCESS) == []
    assert desk.lands(FAILURE) == [f"failure: {FAILURE.description}"]
    assert desk.lands(replace(FAILURE, description="other")) == ["failure: other"]
    assert desk.lands(SUCCESS, B) == [f"success: {SUCCESS.description}"]


def test_commits_that_share_a_fate_are_all_told_and_of_very_many_the_newest() -> None:
    desk = Desk(Config(source=settings()))
    desk.lands(PENDING, A)
    assert len(desk.lands(PENDING, A, B)) == 1
    assert len(desk.lands(SUCCESS, A, B)) == 2
    many = tuple(f"{number:040x}" for number in range(50))
    assert len(desk.lands(SUCCESS, *many)) == 20
    assert desk.letters[-1][1]["commit"] == many[-1]


def test_a_letter_about_the_same_status_has_the_same_key() -> None:
    desk = Desk(Config(source=settings()))
    desk.lands(PENDING)
    desk.lands(SUCCESS)
    desk.lands(SUCCESS, B)
    keys = [key for key, _ in desk.letters]
    assert keys == [f"main:{A}:timewright/here"] * 2 + [f"main:{B}:timewright/here"]


def test_hosts_and_sources_have_statuses_of_their_own() -> None:
    named = {"one": settings(), "two": settings(status_context="mine")}
    desk = Desk(Config(sources=named))
    desk.lands(SUCCESS, source="one")
    desk.lands(SUCCESS, source="two")
    assert [body["context"] for _, body in desk.letters] == ["timewright/here/one", "mine"]
    assert desk.channels == ["commit-status:one", "commit-status:two"], "one forge holds up no other"


def test_a_source_that_tells_no_statuses_writes_no_letters() -> None:
    desk = Desk(Config(sources={"one": settings(status="off"), "two": Source()}))
    assert desk.channels == []
    for name in ("one", "two", "nobody"):
        assert desk.lands(SUCCESS, source=name) == []


def test_a_secret_in_an_error_goes_to_no_forge() -> None:
    desk = Desk(Config(source=settings()))
    [told] = desk.lands(Outcome(Landing.FAILURE, "hello: npm: https://u:CANARY@registry.example.org is down"))
    assert "CANARY" not in told
    assert "registry.example.org" in told


async def test_a_letter_becomes_a_status_at_the_forge(forge: Host, tmp_path: Path) -> None:
    desk = Desk(Config(source=settings(forge.url), base=tmp_path))
    desk.lands(FAILURE)
    await desk.statuses.deliver(Letter(desk.letters[0][1]))
    [(line, headers, body)] = forge.requests
    assert line == f"POST /api/v1/repos/o/r/statuses/{A}"
    assert headers["authorization"] == "token t0ken"
    expected = {"state": "failure", "description": FAILURE.description, "context": "timewright/here"}
    assert body == expected


@pytest.mark.parametrize(("status", "transient"), [(500, True), (429, True), (401, False), (404, False)])
async def test_a_forge_that_refuses_says_whether_to_try_again(
    forge: Host, tmp_path: Path, status: int, transient: bool
) -> None:
    forge.answer = says(status, {"message": "no"}, "Retry-After: 7")
    desk = Desk(Config(source=settings(forge.url), base=tmp_path))
    desk.lands(SUCCESS)
    with pytest.raises(DeliveryError, match="the commit status of main: gitea at ") as caught:
        await desk.statuses.deliver(Letter(desk.letters[0][1]))
    assert (caught.value.transient, caught.value.after_s) == (transient, 7.0 if transient else None)
    assert "t0ken" not in caught.value.message


async def test_a_letter_for_other_settings_is_let_go(forge: Host, tmp_path: Path) -> None:
    desk = Desk(Config(source=settings(forge.url), base=tmp_path))
    desk.lands(SUCCESS)
    body = desk.letters[0][1]
    off = Desk(Config(source=settings(forge.url, status="off"), base=tmp_path))
    await off.statuses.deliver(Letter(body))
    for key, value in (("source", "gone"), ("state", "odd")):
        await desk.statuses.deliver(Letter({**body, key: value}))
    with pytest.raises(DeliveryError, match="no commit") as caught:
        await desk.statuses.deliver(Letter({**body, "commit": "HEAD"}))
    assert not caught.value.transient
    assert forge.requests == []
