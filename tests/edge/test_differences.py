"""What becomes of a release in the hands of a tired operator, or of somebody worse."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from timewright.core.differences import MOST_LINES, Kind, added, changed, lines, missing, ordered
from timewright.edge import inspection
from timewright.edge.releases import RECEIPT, Releases
from timewright.edge.source import RACY_NS

from tests.support import make_receipt, publish

RELEASE = make_receipt().release


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    made = Releases(tmp_path / "data", twin=tmp_path / "twin")
    made.prepare()
    build = made.begin("hello")
    for name in ("src/workflow.ts", "src/lib/a.ts", "dist/workflow.js", "bundle/workflow.js", "package.json"):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text("// v1\n")
    (tmp_path / "data" / "dependencies" / "key" / "node_modules").mkdir(parents=True)
    (build / "node_modules").symlink_to("../../../dependencies/key/node_modules")
    made.publish(build, make_receipt())
    made.make_live("hello", RELEASE)
    return made


def found(releases: Releases, *, full: bool = True) -> list[str]:
    return [item.line for item in releases.differences("hello", RELEASE, full=full)]


def edit(home: Path) -> None:
    (home / "dist" / "workflow.js").write_text("// hotfix\n")


def edit_and_hide(home: Path) -> None:
    """As many bytes, and the old times put back."""
    path = home / "dist" / "workflow.js"
    before = path.stat()
    path.write_text("// v2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap_for_a_copy(home: Path) -> None:
    path = home / "dist" / "workflow.js"
    (home / "dist" / "new").write_text("// v2\n")
    (home / "dist" / "new").replace(path)


def remove(home: Path) -> None:
    (home / "src" / "workflow.ts").unlink()


def remove_folder(home: Path) -> None:
    shutil.rmtree(home / "dist")


def remove_two_folders(home: Path) -> None:
    shutil.rmtree(home / "src")


def add(home: Path) -> None:
    (home / "notes.txt").write_text("call Ann")


def add_hidden(home: Path) -> None:
    (home / "src" / ".workflow.ts.swp").touch()


def add_folder(home: Path) -> None:
    (home / "dist" / "node_modules" / "left-pad").mkdir(parents=True)
    (home / "dist" / "node_modules" / "left-pad" / "index.js").touch()


def add_pipe(home: Path) -> None:
    os.mkfifo(home / "pipe")


def add_evil_name(home: Path) -> None:
    (home / "x\n\x1b[31mDEPLOYED").touch()
    Path(os.fsdecode(os.fsencode(home) + b"/\xff")).touch()


def to_pipe(home: Path) -> None:
    (home / "dist" / "workflow.js").unlink()
    os.mkfifo(home / "dist" / "workflow.js")


def to_socket(home: Path) -> None:
    (home / "package.json").unlink()
    here = Path.cwd()
    os.chdir(home)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("package.json")
    finally:
        os.chdir(here)


def to_passwd(home: Path) -> None:
    (home / "dist" / "workflow.js").unlink()
    (home / "dist" / "workflow.js").symlink_to("/etc/passwd")


def to_loop(home: Path) -> None:
    (home / "dist" / "workflow.js").unlink()
    (home / "dist" / "workflow.js").symlink_to("workflow.js")


def to_link_of_the_same_bytes(home: Path) -> None:
    """The digest of a link is that of its target: here the same as the file's."""
    (home / "package.json").unlink()
    (home / "package.json").symlink_to("// v1\n")


def folder_to_link(home: Path) -> None:
    shutil.rmtree(home / "src")
    (home / "src").symlink_to("/etc")


def folder_to_file(home: Path) -> None:
    shutil.rmtree(home / "src" / "lib")
    (home / "src" / "lib").touch()


def file_to_folder(home: Path) -> None:
    (home / "package.json").unlink()
    (home / "package.json").mkdir()


def link_to_folder(home: Path) -> None:
    (home / "node_modules").unlink()
    (home / "node_modules" / "left-pad").mkdir(parents=True)


def link_to_file(home: Path) -> None:
    target = os.readlink(home / "node_modules")  # noqa: PTH115
    (home / "node_modules").unlink()
    (home / "node_modules").write_text(target)


def link_elsewhere(home: Path) -> None:
    (home / "node_modules").unlink()
    (home / "node_modules").symlink_to("/tmp")


def lose_packages(home: Path) -> None:
    shutil.rmtree(home.parents[2] / "dependencies")


def close_file(home: Path) -> None:
    (home / "dist" / "workflow.js").chmod(0)


def close_folder(home: Path) -> None:
    (home / "src").chmod(0)


def close_release(home: Path) -> None:
    home.chmod(0)


def cut_receipt(home: Path) -> None:
    data = (home / RECEIPT).read_bytes()
    (home / RECEIPT).write_bytes(data[: len(data) // 2])


def edit_receipt(home: Path) -> None:
    text = (home / RECEIPT).read_text()
    (home / RECEIPT).write_text(text.replace('task_queue = "default"', 'task_queue = "other"'))


def remove_receipt(home: Path) -> None:
    (home / RECEIPT).unlink()


def receipt_to_pipe(home: Path) -> None:
    (home / RECEIPT).unlink()
    os.mkfifo(home / RECEIPT)


def receipt_to_folder(home: Path) -> None:
    (home / RECEIPT).unlink()
    (home / RECEIPT).mkdir()


def remove_release(home: Path) -> None:
    shutil.rmtree(home)


def release_to_link(home: Path) -> None:
    home.rename(home.with_name("aside"))
    home.symlink_to("aside")


def touch_only(home: Path) -> None:
    for path in home.rglob("*"):
        os.utime(path, follow_symlinks=False)


def open_up(home: Path) -> None:
    (home / "dist" / "workflow.js").chmod(0o755)


def add_empty_folder(home: Path) -> None:
    (home / "empty" / "still").mkdir(parents=True)


HARMS: list[tuple[Callable[[Path], None], list[str]]] = [
    (edit, ["dist/workflow.js was changed"]),
    (edit_and_hide, ["dist/workflow.js was changed"]),
    (swap_for_a_copy, ["dist/workflow.js was changed"]),
    (remove, ["src/workflow.ts is missing"]),
    (remove_folder, ["dist/ is missing"]),
    (remove_two_folders, ["src/ is missing"]),
    (add, ["notes.txt was added"]),
    (add_hidden, ["src/.workflow.ts.swp was added"]),
    (add_folder, ["dist/node_modules/ was added"]),
    (add_pipe, ["pipe was added"]),
    (add_evil_name, [r"\xff was added", r"x\n\x1b[31mDEPLOYED was added"]),
    (to_pipe, ["dist/workflow.js was replaced by a pipe"]),
    (to_socket, ["package.json was replaced by a socket"]),
    (to_passwd, ["dist/workflow.js was replaced by a link"]),
    (to_loop, ["dist/workflow.js was replaced by a link"]),
    (to_link_of_the_same_bytes, ["package.json was replaced by a link"]),
    (folder_to_link, ["src/ was replaced by a link"]),
    (folder_to_file, ["src/lib/ was replaced by a file"]),
    (file_to_folder, ["package.json was replaced by a folder"]),
    (link_to_folder, ["node_modules was replaced by a folder"]),
    (link_to_file, ["node_modules was replaced by a file"]),
    (link_elsewhere, ["node_modules was changed"]),
    (lose_packages, ["the set of packages behind node_modules is missing"]),
    (close_file, ["dist/workflow.js can't be read: its mode is 000"]),
    (close_folder, ["src/ can't be read: its mode is 000"]),
    (close_release, [f"release {RELEASE} can't be read: its mode is 000"]),
    (cut_receipt, ["release.toml is damaged"]),
    (edit_receipt, ["release.toml was changed"]),
    (remove_receipt, ["release.toml is missing"]),
    (receipt_to_pipe, ["release.toml is damaged"]),
    (receipt_to_folder, ["release.toml is damaged"]),
    (remove_release, [f"release {RELEASE} is missing"]),
    (release_to_link, [f"release {RELEASE} was replaced by a link"]),
    (touch_only, []),
    (open_up, []),
    (add_empty_folder, []),
]


@pytest.mark.parametrize(("harm", "expected"), HARMS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_thing_done_to_a_release_is_named_and_mended_by_publishing_it_again(
    releases: Releases, harm: Callable[[Path], None], expected: list[str]
) -> None:
    home = releases.path("hello", RELEASE)
    assert found(releases) == []
    harm(home)
    assert found(releases, full=False) == expected
    assert found(releases, full=True) == expected
    assert releases.damage("hello", RELEASE).startswith(expected[0] if expected else "")
    if not expected or harm is lose_packages:
        return
    build = releases.begin("hello")
    for name in ("src/workflow.ts", "src/lib/a.ts", "dist/workflow.js", "bundle/workflow.js", "package.json"):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text("// v1\n")
    (build / "node_modules").symlink_to("../../../dependencies/key/node_modules")
    releases.publish(build, make_receipt())
    assert found(releases) == []
    assert (releases.links / "hello" / "dist" / "workflow.js").read_text() == "// v1\n"


def test_a_receipt_cut_before_anybody_saw_it_is_a_difference_and_no_surprise(releases: Releases) -> None:
    cut_receipt(releases.path("hello", RELEASE))
    assert found(Releases(releases.data)) == ["release.toml is damaged"]


def test_a_receipt_that_points_out_of_its_release_reads_nothing_there(releases: Releases) -> None:
    receipt = make_receipt(
        files={"../../../../secret": "0" * 64, "/etc/passwd": "0" * 64, "src//a": "0" * 64}
    )
    (releases.path("hello", RELEASE) / RECEIPT).write_bytes(receipt.to_toml())
    assert all("changed" not in line for line in found(Releases(releases.data))[1:])


def test_what_was_read_once_is_not_read_again_until_it_changes(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = releases.path("hello", RELEASE)
    later = max(path.lstat().st_ctime_ns for path in home.rglob("*")) + 10 * RACY_NS
    monkeypatch.setattr(time, "time_ns", lambda: later)
    read: list[str] = []
    real = inspection.digest_of

    def counted(root: Path, path: str) -> str:
        read.append(path)
        return real(root, path)

    monkeypatch.setattr(inspection, "digest_of", counted)
    found(releases, full=False)
    assert len(read) == 6
    found(releases, full=False)
    assert len(read) == 6
    found(releases, full=True)
    assert len(read) == 12
    edit_and_hide(home)
    assert found(releases, full=False) == ["dist/workflow.js was changed"]


def test_a_file_that_changed_within_the_tick_of_its_last_look_is_read_again(releases: Releases) -> None:
    """Its stamp may be the very same: the kernel's clock ticks every few milliseconds."""
    home = releases.path("hello", RELEASE)
    for number in range(50):
        (home / "dist" / "workflow.js").write_text(f"// {number:02}\n")
        assert found(releases, full=False) == ["dist/workflow.js was changed"]
        (home / "dist" / "workflow.js").write_text("// v1\n")
        assert found(releases, full=False) == []


# Links -----------------------------------------------------------------------------------------


def of_links(releases: Releases) -> list[str]:
    return [item.line for item in releases.link_differences("hello", RELEASE)]


def test_links_as_we_made_them_are_right(releases: Releases) -> None:
    assert of_links(releases) == []


def test_a_link_that_was_moved_by_hand_names_both_releases(releases: Releases) -> None:
    other = publish(releases, version="v2").release
    (releases.links / "hello").unlink()
    (releases.links / "hello").symlink_to(f"../releases/hello/{other}")
    assert of_links(releases) == [f"the link names release {other}, not {RELEASE}"]


def test_a_link_in_another_spelling_of_the_same_place_is_right(releases: Releases) -> None:
    (releases.links / "hello").unlink()
    (releases.links / "hello").symlink_to(releases.path("hello", RELEASE))
    assert of_links(releases) == []


@pytest.mark.parametrize("target", ["/etc", "/evil/hello/" + RELEASE, "hello"])
def test_a_link_that_leads_elsewhere_is_noticed_whatever_its_last_names(
    releases: Releases, target: str
) -> None:
    (releases.links / "hello").unlink()
    (releases.links / "hello").symlink_to(target)
    assert of_links(releases) == [f"the link leads elsewhere, not to release {RELEASE}"]


def test_what_lies_in_a_links_place_is_named(releases: Releases) -> None:
    (releases.links / "hello").unlink()
    assert of_links(releases) == ["the link is missing"]
    (releases.links / "hello").touch()
    assert of_links(releases) == ["the link was replaced by a file"]
    (releases.links / "hello").unlink()
    (releases.links / "hello").mkdir()
    assert of_links(releases) == ["the link was replaced by a folder"]


def test_the_second_tree_is_watched_too(releases: Releases, tmp_path: Path) -> None:
    (tmp_path / "twin" / "hello").unlink()
    assert of_links(releases) == ["the link in activities_dir is missing"]


# Lines -----------------------------------------------------------------------------------------


def test_what_was_changed_is_never_hidden_behind_what_is_missing() -> None:
    many = [*(missing(f"a{n}") for n in range(50)), added("b"), changed("z")]
    assert lines(many)[0] == "z was changed"
    assert len(lines(many)) == MOST_LINES
    assert lines(many)[-1] == "and 43 more"
    assert ordered(many)[-1].kind is Kind.ADDED


def test_a_summary_of_what_is_only_missing_says_that_it_is_missing() -> None:
    assert lines([missing(f"a{n}") for n in range(12)])[-1] == "each of 3 more files is missing"
    assert all(line.endswith(" is missing") for line in lines([missing(f"a{n}") for n in range(12)]))
