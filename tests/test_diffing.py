"""What differs between releases of a real tree, and between the live one and what was built."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from timewright.core.errors import Code, RequestError
from timewright.diffing import diff_view
from timewright.drift import drift_view

from tests.e2e.specs import greeter
from tests.test_reconcile import Bench, _bench

HANDS = "made by hand"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        found.put("one", "x")
        await found.settle()
        yield found


async def second(bench: Bench, word: str = "y", **deploy: Any) -> None:
    """Deploy another content."""
    spec = greeter("one", word)
    spec["deploy"] = {**spec.get("deploy", {}), **deploy}
    (bench.specs / "one.json").write_text(json.dumps(spec))
    await bench.settle()


def home(bench: Bench) -> Path:
    return (bench.world.releases.links / "one").resolve()


def paths(view: dict[str, Any]) -> list[str]:
    return [file["path"] for file in view["files"]]


# Two releases ----------------------------------------------------------------------------------


async def test_a_change_of_a_source_is_shown_as_text_and_what_follows_as_names(bench: Bench) -> None:
    await second(bench)
    view = await diff_view(bench.world, "one", "previous", "live")
    assert not view["same"]
    (file,) = [file for file in view["files"] if file["diff"]]
    assert "\n-" in file["diff"]
    assert "\n+" in file["diff"]
    assert view["a"]["release"] == bench.world.record("one").previous[:12]
    assert view["b"]["release"] == home(bench).name
    assert all(path.startswith(("dist/", "bundle/")) for path in view["compiled"]["changed"])
    json.dumps(view)


async def test_a_release_and_itself_are_the_same(bench: Bench) -> None:
    view = await diff_view(bench.world, "one", "live", home(bench).name[:5])
    assert view["same"]
    assert (view["files"], view["placement"], view["options"], view["bundle"]) == ([], [], [], None)


async def test_a_move_to_another_queue_is_a_change_of_placement(bench: Bench) -> None:
    await second(bench, "x", taskQueue="elsewhere")
    view = await diff_view(bench.world, "one", "previous", "live")
    assert view["placement"] == [{"name": "taskQueue", "old": "one", "new": "elsewhere"}]


async def test_what_the_source_asks_for_is_compared_without_being_compiled(bench: Bench) -> None:
    jobs = bench.compiler.jobs
    view = await diff_view(bench.world, "one", "live", "wanted")
    assert view["same"]
    assert view["files"] == []
    bench.put("one", "z")
    view = await diff_view(bench.world, "one", "live", "wanted")
    assert view["b"]["wanted"]
    assert not view["same"]
    assert len(view["files"]) == 1
    assert view["compiled"] is None
    assert bench.compiler.jobs == jobs


@pytest.mark.parametrize("text", ["{", "{}", None])
async def test_a_spec_that_makes_no_release_is_a_conflict_that_says_why(
    bench: Bench, text: str | None
) -> None:
    path = bench.specs / "one.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(RequestError) as caught:
        await diff_view(bench.world, "one", "wanted", "live")
    assert caught.value.code is Code.CONFLICT


@pytest.mark.parametrize("name", ["ffffffffffff", "", "abc", "proven", "previous", "../../etc", "Live"])
async def test_a_release_that_is_not_kept_is_not_found_and_those_that_are_are_listed(
    bench: Bench, name: str
) -> None:
    with pytest.raises(RequestError) as caught:
        await diff_view(bench.world, "one", name, "live")
    assert caught.value.code is Code.NOT_FOUND
    assert home(bench).name in caught.value.hint


async def test_a_file_that_was_changed_by_hand_is_not_taken_for_the_release(bench: Bench) -> None:
    await second(bench)
    (home(bench) / "src" / "workflow.ts").write_text(HANDS)
    view = await diff_view(bench.world, "one", "previous", "live")
    assert HANDS not in json.dumps(view)
    assert "it is not as it was built: see its drift" in [file["note"] for file in view["files"]]


# What was built --------------------------------------------------------------------------------


def changed(view: dict[str, Any], path: str) -> dict[str, Any]:
    (found,) = [item for item in view["differences"] if item["path"] == path]
    return dict(found)


async def test_a_tree_as_it_was_built_has_no_drift_to_show(bench: Bench) -> None:
    view = await drift_view(bench.world, "one")
    assert (view["drifted"], view["drift"], view["differences"]) == (False, [], [])


@pytest.mark.parametrize("path", ["src/workflow.ts", "dist/workflow.js", "package.json", "tsconfig.json"])
async def test_an_edit_is_shown_against_what_was_built(bench: Bench, path: str) -> None:
    """Sources from the spec, compiled files from the cache."""
    file = home(bench) / path
    file.write_text(file.read_text() + HANDS + "\n")
    found = changed(await drift_view(bench.world, "one"), path)
    assert found["line"] == f"{path} was changed"
    assert f"\n+{HANDS}" in found["diff"]
    assert "\n-" not in found["diff"].split("@@", 1)[1]


async def test_an_edit_is_shown_against_another_release_when_the_spec_has_changed(bench: Bench) -> None:
    (bench.specs / "one.json").write_text(json.dumps(greeter("one", "y")))
    await bench.settle()
    path = home(bench) / "package.json"
    path.write_text(HANDS)
    (bench.specs / "one.json").write_text("{")
    assert HANDS in changed(await drift_view(bench.world, "one"), "package.json")["diff"]


async def test_what_was_built_and_cannot_be_had_again_is_said(bench: Bench) -> None:
    (home(bench) / "src" / "workflow.ts").write_text(HANDS)
    (bench.specs / "one.json").unlink()
    found = changed(await drift_view(bench.world, "one"), "src/workflow.ts")
    assert found["diff"] is None
    assert "can't be had again" in found["note"]


async def test_a_spec_that_changed_is_not_taken_for_what_was_built(bench: Bench) -> None:
    (home(bench) / "src" / "workflow.ts").write_text(HANDS)
    bench.put("one", "another")
    assert changed(await drift_view(bench.world, "one"), "src/workflow.ts")["diff"] is None


SECRET = "hunter22-of-somebody-else"


def link_to_secret(home: Path, secret: Path) -> None:
    (home / "src" / "workflow.ts").unlink()
    (home / "src" / "workflow.ts").symlink_to(secret)


def folder_of_secrets(home: Path, secret: Path) -> None:
    shutil.rmtree(home / "src")
    (secret.parent / "workflow.ts").write_text(SECRET)
    (home / "src").symlink_to(secret.parent)


def hard_link_to_secret(home: Path, secret: Path) -> None:
    (home / "src" / "workflow.ts").unlink()
    os.link(secret, home / "src" / "workflow.ts")


def added_secret(home: Path, secret: Path) -> None:
    (home / ".env").write_text(SECRET)


def password_in_code(home: Path, secret: Path) -> None:
    (home / "src" / "workflow.ts").write_text(f"const password = '{SECRET}';\n")


def env_in_receipt(home: Path, secret: Path) -> None:
    with (home / "release.toml").open("a") as file:
        file.write(f'\nKEY = "{SECRET}"\n')


def link_for_packages(home: Path, secret: Path) -> None:
    (home / "node_modules").unlink()
    (home / "node_modules").symlink_to(secret)


@pytest.mark.parametrize(
    "harm",
    [
        link_to_secret,
        folder_of_secrets,
        hard_link_to_secret,
        added_secret,
        password_in_code,
        env_in_receipt,
        link_for_packages,
    ],
)
async def test_no_way_leads_from_a_changed_tree_to_a_secret(bench: Bench, tmp_path: Path, harm: Any) -> None:
    (tmp_path / "outside").mkdir()
    secret = tmp_path / "outside" / "id_rsa"
    secret.write_text(SECRET)
    harm(home(bench), secret)
    await second(bench, "y")
    for view in (
        await drift_view(bench.world, "one"),
        await diff_view(bench.world, "one", "previous", "live"),
    ):
        assert SECRET not in json.dumps(view)


async def test_a_changed_tree_shows_no_secret_while_it_is_live(bench: Bench, tmp_path: Path) -> None:
    for number, harm in enumerate(
        (password_in_code, hard_link_to_secret, link_to_secret, folder_of_secrets, added_secret)
    ):
        outside = tmp_path / f"outside{number}"
        outside.mkdir()
        (outside / "id_rsa").write_text(SECRET)
        harm(home(bench), outside / "id_rsa")
        view = await drift_view(bench.world, "one")
        assert view["drifted"]
        assert SECRET not in json.dumps(view)


async def test_a_binary_or_huge_file_is_said_to_be_one(bench: Bench) -> None:
    (home(bench) / "src" / "workflow.ts").write_bytes(b"\0\xff")
    (home(bench) / "package.json").write_text("x" * 1_000_000)
    view = await drift_view(bench.world, "one")
    assert changed(view, "src/workflow.ts")["note"] == "binary: not shown"
    assert changed(view, "package.json")["note"] == "more than 256 KiB: not shown"


async def test_what_is_not_live_has_no_drift(bench: Bench) -> None:
    with pytest.raises(RequestError, match="nothing of nobody is live"):
        await drift_view(bench.world, "nobody")
