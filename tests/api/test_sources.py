"""Sources over the API: what whom is shown, and what is asked of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from timewright.control import Actor, Control, Role
from timewright.core.errors import Code, RequestError
from timewright.core.landing import Landing

from tests.e2e.specs import greeter
from tests.edge.test_git import git
from tests.test_following import Repo, bench, follow

ADA, BOB = (Actor(name, Role.DEPLOYER, frozenset({f"team-{name}"})) for name in ("ada", "bob"))
ROOT = Actor("root", Role.ADMIN)


@pytest.mark.parametrize("owner", ["team-ada", ""])
async def test_a_source_is_shown_to_those_who_see_its_owner(tmp_path: Path, owner: str) -> None:
    repo = Repo(tmp_path)
    specs = {"a.json": greeter("a", "x", owner="team-ada"), "b.json": greeter("b", "x", owner="team-bob")}
    repo.push("Secret plans", specs)
    async with bench(tmp_path, owner=owner) as (made, follower):
        control = Control(made.world, made.reconciler)
        await follow(made, follower)
        [view] = control.sources(ROOT)
        assert view["rollout"]["workflows"] == ["a", "b"]
        told = [event["because"] for event in control.events(BOB) if event["kind"] == "source"]
        if owner:
            assert control.sources(BOB) == []
            assert told == []
            with pytest.raises(RequestError) as caught:
                control.reconcile(BOB, "main")
            assert caught.value.code is Code.NOT_FOUND
        else:
            [view] = control.sources(BOB)
            assert (view["rollout"]["workflows"], view["rollout"]["description"]) == (["b"], Landing.SUCCESS)
            assert "Secret plans" in told[0]
        assert control.sources(ADA)[0]["commit"]["subject"] == "Secret plans"


async def test_events_that_are_left_out_are_not_taken_for_the_end(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.push("First", {"b.json": greeter("b", "x", owner="team-bob")})
    async with bench(tmp_path, owner="team-ada") as (made, follower):
        control = Control(made.world, made.reconciler)
        for number in range(5):
            made.world.tell_source("Synced", "Refused", f"source main: {number}", "", "main")
        await follow(made, follower)
        found = control.events(BOB, first=2)
        assert [event["new"] for event in found] == ["DEPLOYING", "DEPLOYED"]


async def test_only_an_admin_may_allow_a_rewind(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    sha = repo.push("First", {"a.json": greeter("a", "x")})
    async with bench(tmp_path) as (made, follower):
        control = Control(made.world, made.reconciler)
        await follow(made, follower)
        with pytest.raises(RequestError) as caught:
            control.reconcile(ADA, "main", allow_rewind=True)
        assert caught.value.code is Code.FORBIDDEN
        assert control.reconcile(ADA, "main") == {"source": "main", "fetches": 2}
        view = await control.source(ADA, "main", sha[:8])
        assert view["contains"] is True
        view = await control.source(ADA, "main", "1" * 40)
        assert view["contains"] is False
        with pytest.raises(RequestError) as caught:
            control.reconcile(ROOT, "nope")
        assert caught.value.hint == "sources: main"


async def test_a_spec_of_a_repository_is_not_written_by_the_api(tmp_path: Path) -> None:
    from tests.support import as_bytes

    repo = Repo(tmp_path)
    repo.push("First", {"a.json": greeter("a", "x")})
    async with bench(tmp_path) as (made, follower):
        control = Control(made.world, made.reconciler)
        await follow(made, follower)
        for name in ("a", "new"):
            with pytest.raises(RequestError) as caught:
                await control.put_spec(ROOT, name, as_bytes(greeter(name, "y")), is_yaml=False)
            assert caught.value.code is Code.CONFLICT
            assert "push it there" in caught.value.hint
        assert git(repo.work, "status", "--porcelain") == ""
