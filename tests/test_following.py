"""A follower with real git, in this process: what is adopted, what is read again, what survives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.config import Config, Data, Source, Worker
from timewright.core.landing import Landing, Outcome
from timewright.core.state import Status, Suspension
from timewright.edge import listing
from timewright.following import REFUSED, SYNCED, UNREACHABLE, Follower
from timewright.service import opened

from tests.e2e.specs import greeter
from tests.edge.test_git import git
from tests.test_reconcile import Bench, PlainWorker


class Repo:
    """A bare repository, and a work tree to commit in."""

    def __init__(self, home: Path) -> None:
        self.bare, self.work = home / "bare.git", home / "work"
        home.mkdir(exist_ok=True)
        git(home, "init", "-q", "--bare", str(self.bare))
        git(home, "init", "-q", str(self.work))

    def push(self, subject: str, files: dict[str, Any], *flags: str) -> str:
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_text(content if isinstance(content, str) else json.dumps(content))
        git(self.work, "add", "-A")
        git(self.work, "commit", "-q", "--allow-empty", "-m", subject)
        git(self.work, "push", "-q", *flags, str(self.bare), "HEAD:main")
        return git(self.work, "rev-parse", "HEAD")


@asynccontextmanager
async def bench(home: Path, **source: Any) -> AsyncIterator[tuple[Bench, Follower]]:
    worker = PlainWorker()
    await worker.start()
    config = replace(
        Config(base=home),
        source=Source(**{"git": str(home / "bare.git"), **source}),
        data=Data(directory="data"),
        worker=Worker(url=f"http://127.0.0.1:{worker.port}", reload_timeout_s=2.0),
    )
    config = replace(config, compiler=replace(config.compiler, mode="off"))
    async with opened(config) as world:
        made = Bench(world, home / "specs", worker)
        yield made, world.sources.followers["main"]
        await made.reconciler.close()
    await worker.stop()


async def follow(made: Bench, follower: Follower) -> None:
    await follower.update()
    await made.settle()
    await made.reconciler.health.check()
    made.reconciler.landings.look()


async def test_only_what_a_commit_changed_is_read_and_deployed(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("Many", {f"{number}.json": greeter(f"w{number}", "x") for number in range(40)})
    async with bench(tmp_path) as (made, follower):
        await follow(made, follower)
        assert follower.read == 40
        sha = repo.push("One", {"7.json": greeter("w7", "y")})
        before = made.world.state.last_event()
        await follow(made, follower)
        assert follower.read == 1
        events = [event for event in made.world.state.history(after=before) if event.kind == "status"]
        assert {event.workflow_id for event in events} == {"w7"}
        assert made.world.record("w7").live_revision == sha
        await follow(made, follower)
        assert follower.read == 1  # nothing new: nothing was listed


async def test_each_workflow_names_the_commit_that_last_changed_it(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    first = repo.push("First", {"a.json": greeter("a", "x")})
    second = repo.push("Second", {"b.json": greeter("b", "x")})
    async with bench(tmp_path) as (made, follower):
        await follow(made, follower)
        assert (made.world.record("a").revision, made.world.record("b").revision) == (first, second)
        assert made.world.record("a").actor == "git:Ada"
        receipt = made.world.receipts["a"]
        assert (receipt.revision, receipt.subject) == (first, "First")
        back = repo.push("Back", {"b.json": greeter("b", "y")})
        await follow(made, follower)
        assert made.world.record("b").revision == back


async def test_a_lost_state_file_still_knows_the_commits(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    sha = repo.push("First", {"a.json": greeter("a", "x")})
    async with bench(tmp_path) as (made, follower):
        await follow(made, follower)
    for path in (tmp_path / "data").glob("state.db*"):
        path.unlink()
    async with bench(tmp_path) as (made, follower):
        commit = made.world.commit(made.world.record("a").live_revision)
        assert commit is not None
        assert (commit.sha, commit.author, commit.subject) == (sha, "Ada", "First")
        await follow(made, follower)
        assert made.history("a")[-1] == "DEPLOYED"


async def test_a_commit_has_landed_when_all_it_changed_is_done(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("First", {"a.json": greeter("a", "x"), "bad.json": "{"})
    async with bench(tmp_path) as (made, follower):
        told: list[tuple[str, ...]] = []
        made.reconciler.landings.listeners.append(lambda _, outcome, __: told.append((outcome.state,)))
        await follow(made, follower)
        made.now += 10  # a half-written file gets a grace time
        await follow(made, follower)
        outcome = made.reconciler.landings.outcome(follower)
        assert outcome is not None
        assert (outcome.state, outcome.failed) == (Landing.FAILURE, ("bad.json",))
        assert told[-1] == (Landing.FAILURE,)
        repo.push("Mend", {"bad.json": greeter("b", "x")})
        await follow(made, follower)
        outcome = made.reconciler.landings.outcome(follower)
        assert outcome is not None
        assert outcome.state is Landing.SUCCESS
        assert set(outcome.workflows) == {"b"} | set(outcome.workflows)


async def test_an_unfinished_commit_is_judged_after_a_restart_too(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("First", {"a.json": greeter("a", "x")})
    async with bench(tmp_path) as (made, follower):
        await follower.update()  # and killed before the pass
    async with bench(tmp_path) as (made, follower):
        assert follower.state == SYNCED
        await follow(made, follower)
        outcome = made.reconciler.landings.outcome(follower)
        assert outcome is not None
        assert (outcome.state, outcome.workflows) == (Landing.SUCCESS, ("a",))


async def test_an_unreachable_remote_undeploys_nothing_and_says_so_at_the_third_try(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("First", {"a.json": greeter("a", "x")})
    async with bench(tmp_path) as (made, follower):
        await follow(made, follower)
        repo.bare.rename(tmp_path / "away")
        for _ in range(3):
            assert made.world.state.history()[-1].new != UNREACHABLE
            await follow(made, follower)
        assert follower.state == UNREACHABLE
        assert made.world.state.history()[-1].new == UNREACHABLE
        assert made.world.record("a").status is Status.DEPLOYED
        (tmp_path / "away").rename(repo.bare)
        await follow(made, follower)
        assert (follower.state, follower.problem) == (SYNCED, "")


async def test_what_is_refused_is_told_once_and_what_was_allowed_is_for_once(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("First", {"a.json": greeter("a", "x")})
    second = repo.push("Second", {"a.json": greeter("a", "y")})
    async with bench(tmp_path) as (made, follower):
        await follow(made, follower)
        git(repo.work, "reset", "-q", "--hard", "HEAD~1")
        other = repo.push("Other", {"a.json": greeter("a", "z")}, "--force")
        for _ in range(3):
            await follow(made, follower)
        refusals = [event for event in made.world.state.history() if event.new == REFUSED]
        assert len(refusals) == 1
        assert second[:10] in refusals[0].because
        assert other[:10] in refusals[0].because
        assert made.world.record("a").revision == second
        follower.ask("test", allow_rewind=True, revision="abcdef1")
        await follow(made, follower)
        assert follower.state == REFUSED  # another commit than was allowed
        follower.ask("test", allow_rewind=True, revision=other[:7])
        await follow(made, follower)
        assert (follower.state, made.world.record("a").revision) == (SYNCED, other)


async def test_settings_that_list_another_folder_need_no_new_commit(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("First", {"one/a.json": greeter("a", "x"), "two/b.json": greeter("b", "x")})
    async with bench(tmp_path, subdir="one") as (made, follower):
        await follow(made, follower)
        assert made.world.record("a").source == "a.json"
    async with bench(tmp_path, subdir="two") as (made, follower):
        desired = await made.reconciler.source.read()
        assert (desired.complete, desired.wanted) == (False, ())  # not of these settings: nothing may be gone
        await follow(made, follower)
        assert made.world.record("b").status is Status.DEPLOYED


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1}', "\x00"])
async def test_a_damaged_note_of_what_is_followed_is_no_crash(tmp_path: Path, text: str) -> None:
    path = tmp_path / "adopted.json"
    path.write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011 - each says something else
        listing.load(path)


async def test_what_was_adopted_is_read_as_it_was_written(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("First", {"a.json": greeter("a", "x"), "b.json": greeter("b", "x")})
    (repo.work / "link.json").symlink_to("/etc/passwd")
    repo.push("Link", {})
    async with bench(tmp_path) as (made, follower):
        await follow(made, follower)
        assert follower.adopted is not None
        assert listing.load(tmp_path / "data" / "sources" / "main" / "adopted.json") == follower.adopted
        assert "link.json" in made.world.state.refused()


async def test_a_sparse_clone_has_only_what_it_needs(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    git(repo.bare, "config", "uploadpack.allowFilter", "true")
    (repo.work / "flows").mkdir()
    (repo.work / "flows" / "link.json").symlink_to("../shared/l.json")
    files = {"flows/a.json": greeter("a", "x"), "shared/l.json": greeter("l", "x"), "big.bin": "much" * 1000}
    repo.push("First", files)
    url = f"file://{repo.bare}"  # a path is copied as a whole, without asking the server
    async with bench(tmp_path, git=url, sparse=True, subdir="flows") as (made, follower):
        await follow(made, follower)
        assert (follower.problem, made.history("a")[-1], made.history("l")[-1]) == (
            "",
            "DEPLOYED",
            "DEPLOYED",
        )
        clone = follower.git
        assert follower.adopted is not None
        big = next(
            entry.oid
            for entry in await clone.tree(follower.adopted.commit.sha, sizes=False)
            if entry.path == "big.bin"
        )
        assert await clone.missing([big, follower.adopted.files["a.json"].oid]) == [big]
        second = repo.push("Second", {"flows/a.json": greeter("a", "y"), "big.bin": "more" * 1000})
        await follow(made, follower)
        assert (made.world.record("a").revision, follower.read) == (second, 1)
        follower.damaged()
        await follow(made, follower)
        assert follower.state == SYNCED
        assert await clone.missing(one.oid for one in follower.adopted.files.values()) == []
        assert await clone.missing([big]) == [big]
        third = repo.push("Third", {"flows/a.json": greeter("a", "z")})
        await follow(made, follower)
        assert made.world.record("a").revision == third


@pytest.mark.parametrize("sparse", [False, True])
async def test_what_a_link_leads_to_is_bounded_as_any_spec_is(tmp_path: Path, sparse: bool) -> None:
    repo = Repo(tmp_path)
    git(repo.bare, "config", "uploadpack.allowFilter", "true")
    (repo.work / "huge.json").symlink_to("data.bin")
    repo.push(
        "First", {"data.bin": "x" * 9_000_000, "a.json": greeter("a", "x"), "own.json": "y" * 9_000_000}
    )
    async with bench(tmp_path, git=f"file://{repo.bare}", sparse=sparse) as (made, follower):
        await follow(made, follower)
        refused = made.world.state.refused()
        assert set(refused) == {"huge.json", "own.json"}
        assert all("9,000,000 bytes" in failure.message for _, failure in refused.values())
        assert made.history("a")[-1] == "DEPLOYED"


async def test_a_commit_that_came_while_all_was_suspended_succeeds_when_it_is_resumed(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("First", {"a.json": greeter("a", "x")})
    async with bench(tmp_path) as (made, follower):
        await follow(made, follower)
        told: list[tuple[str, tuple[str, ...]]] = []

        def listen(_: Any, outcome: Outcome, commits: tuple[str, ...]) -> None:
            told.append((outcome.state, commits))

        made.reconciler.landings.listeners.append(listen)
        made.world.suspend(None, Suspension("ada", made.now), "ada", "freeze")
        sha = repo.push("Second", {"a.json": greeter("a", "y")})
        await follow(made, follower)
        assert told[-1][0] == Landing.FAILURE
        assert sha in told[-1][1]
        made.world.suspend(None, None, "ada", "")
        await follow(made, follower)
        assert told[-1][0] == Landing.SUCCESS
        assert sha in told[-1][1]


async def test_what_an_earlier_commit_broke_is_not_the_fault_of_the_next_one(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("Break", {"a.json": greeter("a", "x"), "bad.json": "{"})
    async with bench(tmp_path) as (made, follower):
        await follow(made, follower)
        made.now += 100  # the trial is over
        await follow(made, follower)
        sha = repo.push("Other", {"b.json": greeter("b", "x")})
        await follow(made, follower)
        outcome = made.reconciler.landings.outcome(follower)
        assert outcome is not None
        assert (outcome.state, outcome.workflows) == (Landing.SUCCESS, ("b",))
        assert follower.adopted is not None
        assert follower.adopted.landing == (sha,)
