"""Commit statuses: what is worth telling a forge, once, and how it gets there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.config import Config, Source
from timewright.core.landing import Landing, Outcome
from timewright.core.retry import Backoff
from timewright.core.sourcestate import SourceState
from timewright.delivery import Delivery, DeliveryError
from timewright.edge.outbox import Letter
from timewright.edge.statefile import StateFile
from timewright.statuses import Statuses

from tests.edge.test_worker_client import Host, hosting, says

A, B = "a" * 40, "b" * 40
PENDING = Outcome(Landing.PENDING, "0 of 2 applied; hello: not served yet")
SUCCESS = Outcome(Landing.SUCCESS, "2 workflows applied and healthy")
FAILURE = Outcome(
    Landing.FAILURE, "hello: TypeCheckFailed: src/workflow.ts:10:22: TS2345: no", failed=("hello",)
)


class Desk:
    """Statuses, and the outbox that their letters go to."""

    def __init__(self, home: Path, config: Config) -> None:
        self.state = StateFile(home / "state.db")
        self.delivery = Delivery(self.state.outbox, backoff=Backoff(tries=10**9, first=0.01, most=0.02))
        self.statuses = Statuses(replace(config, base=home), "here", self.delivery)
        self.statuses.register()

    @property
    def letters(self) -> list[Letter]:
        return self.state.outbox.letters()

    def lands(self, outcome: Outcome, *commits: str, source: str = "main") -> list[str]:
        """What is written of it: `state: description`."""
        before = {letter.id for letter in self.letters}
        self.statuses.on_landing(SourceState(source, "git", "", "Synced"), outcome, commits or (A,))
        new = [letter.body for letter in self.letters if letter.id not in before]
        return [f"{body['state']}: {body['description']}" for body in new]


Make = Callable[[Config], Desk]


@pytest.fixture
def desk_of(tmp_path: Path) -> Iterator[Make]:
    made: list[Desk] = []

    def make(config: Config) -> Desk:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        (folder / "token").write_text("t0ken")
        made.append(Desk(folder, config))
        return made[-1]

    yield make
    for desk in made:
        desk.state.close()


def settings(url: str = "", **more: Any) -> Source:
    given = {"git": "git@git.example.org:o/r.git", "status": "gitea", "status_token_file": "token"}
    return Source(**{**given, "status_url": url, **more})


@pytest.fixture
async def forge() -> AsyncIterator[Host]:
    async with hosting(says(201, {})) as host:
        yield host


def test_each_state_of_a_commit_is_told_once(desk_of: Make) -> None:
    desk = desk_of(Config(source=settings()))
    assert desk.lands(PENDING) == [f"pending: {PENDING.description}"]
    assert desk.lands(PENDING) == []
    assert desk.lands(replace(PENDING, description="1 of 2 applied")) == [], "a forge takes only so many"
    assert desk.lands(SUCCESS) == [f"success: {SUCCESS.description}"]
    assert desk.lands(SUCCESS) == []
    assert desk.lands(FAILURE) == [f"failure: {FAILURE.description}"]
    assert desk.lands(replace(FAILURE, description="other")) == ["failure: other"]
    assert desk.lands(SUCCESS, B) == [f"success: {SUCCESS.description}"]


def test_commits_that_share_a_fate_are_all_told_and_of_very_many_the_newest(desk_of: Make) -> None:
    desk = desk_of(Config(source=settings()))
    desk.lands(PENDING, A)
    assert len(desk.lands(PENDING, A, B)) == 1
    assert len(desk.lands(SUCCESS, A, B)) == 2
    many = tuple(f"{number:040x}" for number in range(50))
    assert len(desk.lands(SUCCESS, *many)) == 20
    assert desk.letters[-1].body["commit"] == many[-1]


def test_a_letter_about_the_same_status_has_the_same_key(desk_of: Make) -> None:
    desk = desk_of(Config(source=settings()))
    desk.lands(PENDING)
    desk.lands(SUCCESS)
    desk.lands(SUCCESS, B)
    assert [letter.key for letter in desk.letters] == [
        f"main:{A}:timewright/here",
        f"main:{B}:timewright/here",
    ]
    assert {letter.body["state"] for letter in desk.letters} == {"success"}, "the newest took its place"


def test_hosts_and_sources_have_statuses_of_their_own(desk_of: Make) -> None:
    named = {"one": settings(), "two": settings(status_context="mine")}
    desk = desk_of(Config(sources=named))
    desk.lands(SUCCESS, source="one")
    desk.lands(SUCCESS, source="two")
    assert [letter.body["context"] for letter in desk.letters] == ["timewright/here/one", "mine"]
    channels = [letter.channel for letter in desk.letters]
    assert channels == ["commit-status:one", "commit-status:two"], "one forge holds up no other"


def test_a_source_that_tells_no_statuses_writes_no_letters(desk_of: Make) -> None:
    desk = desk_of(Config(sources={"one": settings(status="off"), "two": Source()}))
    assert desk.delivery._lanes == {}
    for name in ("one", "two", "nobody"):
        assert desk.lands(SUCCESS, source=name) == []


def test_a_secret_in_an_error_goes_to_no_forge(desk_of: Make) -> None:
    desk = desk_of(Config(source=settings()))
    [told] = desk.lands(Outcome(Landing.FAILURE, "hello: npm: https://u:CANARY@registry.example.org is down"))
    assert "CANARY" not in told
    assert "registry.example.org" in told


async def test_a_letter_becomes_a_status_at_the_forge(forge: Host, desk_of: Make) -> None:
    desk = desk_of(Config(source=settings(forge.url)))
    desk.lands(FAILURE)
    await desk.statuses.deliver(desk.letters[0])
    [(line, headers, body)] = forge.requests
    assert line == f"POST /api/v1/repos/o/r/statuses/{A}"
    assert headers["authorization"] == "token t0ken"
    expected = {"state": "failure", "description": FAILURE.description, "context": "timewright/here"}
    assert body == expected


@pytest.mark.parametrize(("status", "transient"), [(500, True), (429, True), (401, False), (404, False)])
async def test_a_forge_that_refuses_says_whether_to_try_again(
    forge: Host, desk_of: Make, status: int, transient: bool
) -> None:
    forge.answer = says(status, {"message": "no"}, "Retry-After: 7")
    desk = desk_of(Config(source=settings(forge.url)))
    desk.lands(SUCCESS)
    with pytest.raises(DeliveryError, match="the commit status of main: gitea at ") as caught:
        await desk.statuses.deliver(desk.letters[0])
    assert (caught.value.transient, caught.value.after_s) == (transient, 7.0 if transient else None)
    assert "t0ken" not in caught.value.message


async def test_a_forge_that_was_away_is_told_what_is_so_then(forge: Host, desk_of: Make) -> None:
    """Of a commit that was applied meanwhile, the end and not each step."""
    forge.answer = says(503, {})
    desk = desk_of(Config(source=settings(forge.url)))
    running = asyncio.create_task(desk.delivery.run())
    desk.lands(PENDING)
    while len(forge.requests) < 2:
        await asyncio.sleep(0.01)
    desk.lands(SUCCESS)
    forge.answer = says(201, {})
    while desk.letters:
        await asyncio.sleep(0.01)
    states = [body["state"] for _, _, body in forge.requests]
    assert states[-1] == "success"
    assert states == sorted(states), "pending never comes after"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_letter_for_other_settings_is_let_go(forge: Host, desk_of: Make) -> None:
    desk = desk_of(Config(source=settings(forge.url)))
    desk.lands(SUCCESS)
    [letter] = desk.letters
    off = desk_of(Config(source=settings(forge.url, status="off")))
    await off.statuses.deliver(letter)
    for key, value in (("source", "gone"), ("state", "odd")):
        await desk.statuses.deliver(replace(letter, body={**letter.body, key: value}))
    with pytest.raises(DeliveryError, match="no commit") as caught:
        await desk.statuses.deliver(replace(letter, body={**letter.body, "commit": "HEAD"}))
    assert not caught.value.transient
    assert forge.requests == []
