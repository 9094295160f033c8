from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timewright.core.errors import DeployError, Reason
from timewright.edge.releases import RECEIPT, Receipt, Releases

from tests.support import NOW, digest, leftovers, make_receipt, publish


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    made = Releases(tmp_path)
    made.prepare()
    return made


def read_live(releases: Releases, workflow_id: str = "hello") -> str:
    """What a reader of the tree sees."""
    return (releases.links / workflow_id / "dist" / "workflow.js").read_text()


# Receipts --------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
labels = st.text("abc 0ä%", min_size=1, max_size=9).filter(str.strip)
inside = st.lists(st.sampled_from(["src", "a.ts", "ü", "...", "-"]), min_size=1, max_size=3).map(
    lambda parts: "/".join(["src", *parts])
)


@given(
    st.builds(
        Receipt,
        workflow_id=st.from_regex(r"[a-b][a-z._-]{0,9}[a-z]", fullmatch=True),
        digest=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        name=texts,
        source=texts,
        revision=texts,
        created=st.floats(0, 1e10),
        namespace=labels,
        task_queue=labels,
        isolation=st.sampled_from(["shared", "process"]),
        compiler=texts,
        sdk=texts,
        workflow_types=st.lists(texts, max_size=3).map(tuple),
        worker=st.none() | inside,
        prune=st.none() | st.booleans(),
        env=st.dictionaries(texts, texts, max_size=3),
        files=st.dictionaries(inside, texts, max_size=3),
    )
)
def test_a_receipt_is_read_as_it_was_written(receipt: Receipt) -> None:
    assert Receipt.from_toml(receipt.to_toml()) == receipt


@given(st.binary(max_size=50), st.integers(0, 2000))
def test_a_damaged_receipt_is_no_receipt_and_no_surprise(noise: bytes, at: int) -> None:
    data = make_receipt().to_toml()
    for damaged in (data[:at], data[:at] + noise + data[at + len(noise) :], noise):
        try:
            found = Receipt.from_toml(damaged)
        except ValueError:
            continue
        assert isinstance(found.digest[:12], str)


@pytest.mark.parametrize(
    "line",
    [
        "digest = 5",
        "files = 5",
        "files = {a = 5}",
        "workflow_types = 5",
        "workflow_types = [5]",
        "created = 'x'",
        "prune = 'x'",
        "unknown = 'x'",
        "env = []",
    ],
)
def test_a_receipt_of_wrong_types_is_no_receipt(line: str) -> None:
    key = line.split(" ")[0]
    text = make_receipt().to_toml().decode()
    kept = [row for row in text.splitlines() if not row.startswith((f"{key} =", f"[{key}]", "]", '    "'))]
    kept = [row for row in kept if not row.endswith("[")]
    with pytest.raises(ValueError, match=f"{key}"):
        Receipt.from_toml("\n".join([line, *kept]).encode())


@pytest.mark.parametrize("text", ["", "format = 2", "format = 1", "x", "\udcff"])
def test_what_is_no_receipt_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Receipt.from_toml(text.encode("utf-8", "surrogateescape"))


# Publishing ------------------------------------------------------------------------------------


def test_a_published_release_is_whole_and_live_after_its_link(releases: Releases) -> None:
    receipt = publish(releases)
    assert releases.current("hello") is None
    releases.make_live("hello", receipt.release)
    assert read_live(releases) == "// v1\n"
    assert releases.current("hello") == receipt.release
    assert [live.digest for live in releases.live()] == [receipt.digest]
    assert releases.damage("hello", receipt.release) == ""
    assert str((releases.links / "hello").readlink()) == f"../releases/hello/{receipt.release}"
    assert leftovers(releases.data) == []


def test_the_live_release_is_swapped_and_the_old_one_stays(releases: Releases) -> None:
    old = publish(releases, version="v1")
    releases.make_live("hello", old.release)
    new = publish(releases, version="v2")
    assert read_live(releases) == "// v1\n"
    releases.make_live("hello", new.release)
    assert read_live(releases) == "// v2\n"
    assert releases.damage("hello", old.release) == ""


def test_a_whole_release_of_the_same_digest_is_kept(releases: Releases) -> None:
    receipt = publish(releases)
    inode = releases.path("hello", receipt.release).stat().st_ino
    publish(releases)
    assert releases.path("hello", receipt.release).stat().st_ino == inode
    assert leftovers(releases.data) == []


def remove_file(release: Path) -> None:
    (release / "dist" / "workflow.js").unlink()


def change_file(release: Path) -> None:
    with (release / "dist" / "workflow.js").open("a") as file:
        file.write(" ")


def remove_receipt(release: Path) -> None:
    (release / RECEIPT).unlink()


def garble_receipt(release: Path) -> None:
    (release / RECEIPT).write_bytes(b"\xff")


def point_elsewhere(release: Path) -> None:
    (release / "dist" / "workflow.js").unlink()
    (release / "dist" / "workflow.js").symlink_to("/etc/passwd")


def empty_it(release: Path) -> None:
    shutil.rmtree(release)
    release.mkdir()


@pytest.mark.parametrize(
    "harm", [remove_file, change_file, remove_receipt, garble_receipt, point_elsewhere, empty_it]
)
def test_a_damaged_release_is_noticed_and_replaced(releases: Releases, harm: object) -> None:
    receipt = publish(releases)
    releases.make_live("hello", receipt.release)
    harm(releases.path("hello", receipt.release))  # type: ignore[operator]
    assert releases.damage("hello", receipt.release)
    publish(releases)
    assert releases.damage("hello", receipt.release) == ""
    assert read_live(releases) == "// v1\n"
    assert leftovers(releases.data) == []


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_under_a_releases_name_is_replaced(releases: Releases, kind: str) -> None:
    final = releases.path("hello", make_receipt().release)
    final.parent.mkdir()
    if kind == "file":
        final.touch()
    else:
        final.symlink_to(releases.data)
    receipt = publish(releases)
    assert releases.damage("hello", receipt.release) == ""
    assert releases.links.is_dir(), "what a link pointed at is not touched"


def test_a_release_that_lies_under_anothers_name_is_not_believed(releases: Releases) -> None:
    receipt = publish(releases)
    shutil.copytree(releases.path("hello", receipt.release), releases.path("hello", "0" * 12))
    shutil.copytree(releases.root / "hello", releases.root / "other")
    assert releases.receipt("hello", "0" * 12) is None
    assert releases.receipt("other", receipt.release) is None


def test_a_folder_that_somebody_made_in_the_tree_is_named_and_not_removed(releases: Releases) -> None:
    (releases.links / "hello" / "precious").mkdir(parents=True)
    receipt = publish(releases)
    with pytest.raises(DeployError, match="is a directory that timewright did not make") as caught:
        releases.make_live("hello", receipt.release)
    assert caught.value.reason is Reason.STORAGE_FAILED
    assert caught.value.hint.startswith("move it away")
    assert (releases.links / "hello" / "precious").is_dir()


def test_a_link_that_is_not_ours_names_no_release(releases: Releases) -> None:
    (releases.links / "hello").symlink_to("/etc/passwd")
    assert releases.current("hello") is None
    assert list(releases.live()) == []


def test_a_second_tree_gets_the_same_links_from_wherever_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "far" / "away"
    releases = Releases(tmp_path / "data", tmp_path / "live", elsewhere)
    releases.prepare()
    receipt = publish(releases)
    releases.make_live("hello", receipt.release)
    for tree in (tmp_path / "live", elsewhere):
        assert (tree / "hello" / "dist" / "workflow.js").read_text() == "// v1\n"
    releases.take_down("hello")
    assert not any(path.is_symlink() for tree in (tmp_path / "live", elsewhere) for path in tree.iterdir())


def test_taking_down_what_is_not_there_is_fine(releases: Releases) -> None:
    releases.take_down("hello")
    releases.links.rmdir()
    releases.take_down("hello")


def test_leftovers_of_a_crash_are_swept_at_the_start(releases: Releases) -> None:
    receipt = publish(releases)
    releases.make_live("hello", receipt.release)
    (releases.begin("hello") / "half").touch()
    (releases.links / ".tmp-hello-1").symlink_to("x")
    (releases.root / ".tmp-gone-1" / "x").mkdir(parents=True)
    assert releases.prepare() == 3
    assert leftovers(releases.data) == []
    assert read_live(releases) == "// v1\n"


# Retention -------------------------------------------------------------------------------------


def publish_many(releases: Releases, count: int) -> list[str]:
    """Releases of one workflow, an hour apart, the oldest first."""
    return [publish(releases, version=f"v{n}", created=NOW + n * 3600).release for n in range(count)]


def names(releases: Releases) -> set[str]:
    return {path.name for path in (releases.root / "hello").iterdir()}


def test_the_newest_and_the_young_and_the_named_are_kept(releases: Releases) -> None:
    made = publish_many(releases, 6)
    gone = releases.collect("hello", {made[0]}, most=2, older_than=NOW + 2.5 * 3600)
    assert set(gone) == {made[1], made[2]}
    assert names(releases) == {made[0], *made[3:]}


def test_what_somebody_may_go_back_to_is_kept_whether_named_by_id_or_by_digest(releases: Releases) -> None:
    """The release before, the proven one, a pinned one: however old, and whatever else is kept."""
    made = publish_many(releases, 6)
    releases.make_live("hello", made[5])
    keep = {made[1], digest("hello v2")}
    releases.collect("hello", keep, most=1, older_than=NOW * 2)
    assert names(releases) == {made[1], made[2], made[5]}
    assert [receipt.release for receipt in releases.kept("hello")] == [made[5], made[2], made[1]]


def test_a_release_without_a_readable_receipt_is_none_to_go_back_to(releases: Releases) -> None:
    made = publish_many(releases, 3)
    (releases.path("hello", made[1]) / RECEIPT).write_text("x")
    (releases.root / "hello" / "0123456789ab").symlink_to(made[0])
    assert [receipt.release for receipt in releases.kept("hello")] == [made[2], made[0]]
    assert releases.kept("nobody") == []


def test_the_live_release_is_never_collected(releases: Releases) -> None:
    made = publish_many(releases, 3)
    releases.make_live("hello", made[0])
    releases.collect("hello", (), most=1, older_than=NOW * 2)
    assert names(releases) == {made[0], made[2]}
    assert read_live(releases) == "// v0\n"


def test_collecting_leaves_alone_what_is_being_built(releases: Releases) -> None:
    publish_many(releases, 1)
    build = releases.begin("hello")
    releases.collect("hello", (), most=0, older_than=NOW * 2)
    assert names(releases) == {build.name}
    assert releases.collect("nobody", (), most=0, older_than=NOW) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(st.sets(st.integers(0, 5)), st.integers(0, 6), st.integers(0, 12), st.integers(0, 5))
def test_whatever_the_policy_what_must_stay_stays(
    tmp_path_factory: pytest.TempPathFactory, keep: set[int], most: int, halves: int, live: int
) -> None:
    releases = Releases(tmp_path_factory.mktemp("tree"))
    releases.prepare()
    made = publish_many(releases, 6)
    releases.make_live("hello", made[live])
    hours = halves / 2
    gone = set(releases.collect("hello", {made[n] for n in keep}, most=most, older_than=NOW + hours * 3600))
    must_stay = {made[n] for n in keep} | {made[live]} | set(made[6 - most :])
    must_stay |= {name for n, name in enumerate(made) if n >= hours}
    assert gone == set(made) - must_stay
    assert names(releases) == must_stay


def test_the_receipts_digest_names_the_release() -> None:
    assert make_receipt().release == digest("hello v1")[:12]
    assert replace(make_receipt(), task_queue="q").placement.pool == "default/q"
