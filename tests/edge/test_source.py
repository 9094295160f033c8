"""The source folder, with the faults made for real. Rows of the fault matrix are named in brackets."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timewright.core.document import Limits
from timewright.edge import source
from timewright.edge.source import Scan, Seen, read_file, scan

T = TypeVar("T")
NOBODY = 65534
LATER = 10_000_000_000  # ns; a scan "now + LATER" finds nothing racy


def promptly(work: Callable[[], T]) -> T:
    """Run in a thread; whoever hangs (on a FIFO, say) fails the test instead of stopping it."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(10)
    assert results, "it hangs, or raised"
    return results[0]


def look(
    root: Path, known: Scan | None = None, *, at: int = 0, limits: Limits | None = None, max_specs: int = 1000
) -> Scan:
    cache = {seen.path: seen for seen in known.files} if known else {}
    now = at or time.time_ns() + LATER
    return promptly(lambda: scan(root, cache, limits=limits or Limits(), now_ns=now, max_specs=max_specs))


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digests(result: Scan) -> dict[str, str | None]:
    return {seen.path: seen.digest for seen in result.files}


def problems(result: Scan) -> dict[str, str]:
    return {seen.path: seen.problem.message for seen in result.files if seen.problem}


def only(result: Scan) -> Seen:
    assert len(result.files) == 1, result.files
    return result.files[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "specs"
    path.mkdir()
    return path


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that an unprivileged user may enter (pytest's own is for its owner only)."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    for directory in [path, *(p for p in path.iterdir() if p.is_dir())]:
        directory.chmod(0o755)
    shutil.rmtree(path)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """For root, file modes mean nothing: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# What is read ------------------------------------------------------------------------------------


def test_specs_are_found_at_every_depth_and_come_sorted(root: Path) -> None:
    for name in ("b.json", "a/z.yaml", "a/deep/er/y.yml", "B.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    result = look(root)
    assert result.complete
    assert result.problem == ""
    assert [seen.path for seen in result.files] == ["B.json", "a/deep/er/y.yml", "a/z.yaml", "b.json"]
    assert digests(result) == {seen.path: sha(seen.path) for seen in result.files}
    assert result.read == 4


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.json", "..data.json", ".x.json.swp", "x.json~", "#x.json#", ".#x.json", "4913",
        "x.json.tmp", "x.json.part", "x.json.crdownload", "x.json.Ab12Cd", "x.json.bak",
        "README.md", "package.json", "tsconfig.json",
        ".git/x.json", "node_modules/pkg/x.json", "..2026_01_01/x.json", ".cache/deep/x.json",
    ],
)  # fmt: skip
def test_what_is_no_spec_is_not_looked_at(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("{}")
    (root / "real.json").write_text("{}")
    assert digests(look(root)) == {"real.json": sha("{}")}


def test_an_empty_folder_is_complete_and_empty(root: Path) -> None:
    """[D8] That an empty source may not undeploy everything is the planner's guard, not ours."""
    assert look(root) == Scan(True, "", (), 0, ())


def test_a_file_beyond_the_size_limit_is_refused_unread(root: Path) -> None:
    (root / "big.json").write_text("x" * 101)
    (root / "fits.json").write_text("x" * 100)
    result = look(root, limits=Limits(bytes=100))
    assert problems(result) == {"big.json": "has 101 bytes, the limit is 100"}
    assert result.read == 1


def test_a_lower_limit_refuses_what_an_earlier_scan_took(root: Path) -> None:
    (root / "x.json").write_text("x" * 101)
    assert problems(look(root, look(root), limits=Limits(bytes=100)))


def test_too_many_specs_make_the_scan_incomplete(root: Path) -> None:
    for number in range(6):
        (root / f"{number}.json").touch()
    assert look(root, max_specs=6).complete
    result = look(root, max_specs=5)
    assert not result.complete
    assert "more than 5 specs" in result.problem


def test_directories_too_deep_make_the_scan_incomplete(root: Path) -> None:
    deep = root.joinpath(*["d"] * (source.MAX_DEPTH - 1))
    deep.mkdir(parents=True)
    assert look(root).complete
    (deep / "d").mkdir()
    assert "directories deep" in look(root).problem


# The stat cache ----------------------------------------------------------------------------------


def test_an_unchanged_file_is_not_read_again(root: Path) -> None:
    (root / "x.json").write_text("one")
    first = look(root)
    second = look(root, first)
    assert (first.read, second.read) == (1, 0)
    assert only(second) is only(first)


def test_a_changed_a_new_and_a_deleted_file_are_seen_without_any_event(root: Path) -> None:
    """[D10] NFS, FUSE and overlays send no events: the scan needs none."""
    for name in ("same", "edited", "deleted"):
        (root / f"{name}.json").write_text(name)
    first = look(root)
    (root / "edited.json").write_text("EDITED")
    (root / "deleted.json").unlink()
    (root / "new.json").write_text("new")
    second = look(root, first)
    assert second.read == 2
    expected = {"same.json": sha("same"), "edited.json": sha("EDITED"), "new.json": sha("new")}
    assert digests(second) == expected


def test_touch_and_chmod_change_no_digest(root: Path) -> None:
    """[D12]"""
    (root / "x.json").write_text("one")
    first = look(root)
    (root / "x.json").touch()
    (root / "x.json").chmod(0o600)
    second = look(root, first)
    assert only(second).stamp != only(first).stamp
    assert digests(second) == digests(first)


def test_a_case_only_rename_is_the_same_content_under_another_path(root: Path) -> None:
    """[D11]"""
    (root / "a.json").write_text("one")
    first = look(root)
    (root / "a.json").rename(root / "A.json")
    assert digests(look(root, first)) == {"A.json": sha("one")}


def test_other_content_of_the_same_size_and_mtime_is_seen(root: Path) -> None:
    """[F8] mtime can be set to anything; ctime can't."""
    path = root / "x.json"
    path.write_text("one")
    before = path.stat()
    first = look(root)
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests(look(root, first)) == {"x.json": sha("two")}


def test_an_mtime_in_the_future_costs_no_second_read(root: Path) -> None:
    """[F8]"""
    (root / "x.json").write_text("one")
    os.utime(root / "x.json", (4e9, 4e9))
    assert look(root, look(root)).read == 0


@pytest.mark.parametrize(("age_ms", "reads"), [(-5000, 1), (0, 1), (19, 1), (21, 0)])
def test_a_file_read_within_a_clock_tick_of_its_change_is_read_again(
    root: Path, age_ms: int, reads: int
) -> None:
    """[F8] Racy git: the second of two writes in one tick has the first one's ctime."""
    (root / "x.json").write_text("two")
    seen = only(look(root))
    assert seen.stamp is not None
    old = seen._replace(digest=sha("one"), read_at_ns=seen.stamp.ctime_ns + age_ms * 1_000_000)
    result = look(root, Scan(True, "", (old,), 0, ()))
    assert result.read == reads
    assert only(result).digest == (sha("two") if reads else sha("one"))


@pytest.mark.parametrize(("age_ms", "reads"), [(1900, 1), (2100, 0)])
def test_a_file_system_that_counts_in_seconds_is_trusted_later(
    root: Path, monkeypatch: pytest.MonkeyPatch, age_ms: int, reads: int
) -> None:
    """[F8] FAT and old ext: simulated by a clock cut to seconds, as neither can be mounted here."""
    exact = source._STAMP_OF

    def cut(status: os.stat_result) -> tuple[int, ...]:
        size, mtime, ctime, inode, device = exact(status)
        return (size, mtime // 10**9 * 10**9, ctime // 10**9 * 10**9, inode, device)

    monkeypatch.setattr(source, "_STAMP_OF", cut)
    (root / "x.json").write_text("one")
    seen = only(look(root))
    assert seen.stamp is not None
    old = seen._replace(read_at_ns=seen.stamp.ctime_ns + age_ms * 1_000_000)
    assert look(root, Scan(True, "", (old,), 0, ())).read == reads


def test_a_file_that_failed_is_looked_at_again_each_time(root: Path) -> None:
    (root / "x.json").write_text("x" * 101)
    first = look(root, limits=Limits(bytes=100))
    assert problems(first)
    assert digests(look(root, first)) == {"x.json": sha("x" * 101)}


# Editors and writers -----------------------------------------------------------------------------


def _save_by_rename(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _save_like_vim(path: Path, text: str) -> None:
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def _save_in_place(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize("save", [_save_by_rename, _save_like_vim, _save_in_place])
def test_after_an_editors_save_exactly_the_final_content_is_seen(
    root: Path, save: Callable[[Path, str], None]
) -> None:
    """[D3]"""
    (root / "x.json").write_text("old")
    first = look(root)
    save(root / "x.json", "new")
    assert digests(look(root, first)) == {"x.json": sha("new")}


def _changed_in_mid_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], None]) -> None:
    """`change(n)` happens after the n-th time that a file's bytes were read, before anyone looks again."""
    calls: list[int] = []
    slurp = source._slurp

    def wrapped(descriptor: int, limit: int) -> bytes:
        data = slurp(descriptor, limit)
        calls.append(1)
        change(len(calls))
        return data

    monkeypatch.setattr(source, "_slurp", wrapped)


def test_a_file_that_keeps_changing_while_it_is_read_is_busy_and_has_no_digest(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[D4]"""
    path = root / "x.json"
    path.write_text("half")
    _changed_in_mid_read(monkeypatch, lambda n: _append(path, "more"))
    result = look(root)
    assert result.complete
    assert only(result).busy
    assert only(result).digest is None
    with pytest.raises(source.UnreadableError) as caught:
        read_file(root, "x.json", Limits())
    assert caught.value.busy


def test_a_file_that_changes_once_while_it_is_read_is_read_again_at_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "x.json"
    path.write_text("half")
    _changed_in_mid_read(monkeypatch, lambda n: _append(path, " whole") if n == 1 else None)
    assert digests(look(root)) == {"x.json": sha("half whole")}


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def _listed_then(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], None]) -> None:
    """`change(n)` happens when a directory was listed for the n-th time."""
    calls: list[int] = []
    scandir = os.scandir

    def wrapped(where: int) -> contextlib.AbstractContextManager[list[os.DirEntry[str]]]:
        with scandir(where) as found:
            entries = list(found)
        calls.append(1)
        change(len(calls))
        return contextlib.nullcontext(entries)

    monkeypatch.setattr(os, "scandir", wrapped)


def test_a_file_that_vanishes_after_it_was_listed_is_busy_and_not_gone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[D17] rm and cp: the scan in between must not call the spec deleted."""
    (root / "x.json").write_text("one")
    first = look(root)
    monkeypatch.setattr(source, "_list", _after(source._list, (root / "x.json").unlink))
    second = look(root, first)
    assert only(second).busy
    assert problems(second) == {"x.json": "vanished while it was read"}


def _after(work: Callable[[int], T], then: Callable[[], object]) -> Callable[[int], T]:
    def wrapped(descriptor: int) -> T:
        result = work(descriptor)
        then()
        return result

    return wrapped


def test_a_directory_that_keeps_changing_while_it_is_listed_makes_the_scan_incomplete(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "x.json").write_text("one")
    _listed_then(monkeypatch, lambda n: (root / f"{n}.json").touch())
    result = look(root)
    assert not result.complete
    assert "kept changing" in result.problem


def test_a_directory_that_changes_once_while_it_is_listed_is_listed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "x.json").write_text("one")
    _listed_then(monkeypatch, lambda n: (root / "late.json").touch() if n == 1 else None)
    result = look(root)
    assert result.complete
    assert set(digests(result)) == {"late.json", "x.json"}


# Incomplete reads --------------------------------------------------------------------------------


def test_a_missing_root_is_incomplete(tmp_path: Path) -> None:
    """[D7]"""
    result = look(tmp_path / "gone")
    assert not result.complete
    assert "no such file" in result.problem
    assert result.files == ()


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_a_root_that_is_no_directory_is_incomplete(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "root")
    assert not look(tmp_path / "root").complete


def test_an_unreadable_root_is_incomplete(public: Path) -> None:
    public.chmod(0o700 if os.geteuid() == 0 else 0)
    with unprivileged():
        result = look(public)
    assert not result.complete
    assert "permission denied" in result.problem


def test_an_unreadable_directory_is_named_and_the_rest_is_read(public: Path) -> None:
    (public / "x.json").write_text("one")
    (public / "locked").mkdir(mode=0)
    with unprivileged():
        result = look(public)
    assert not result.complete
    assert [problem.where for problem in result.incomplete] == ["locked"]
    assert digests(result) == {"x.json": sha("one")}


def test_an_unreadable_file_is_a_problem_and_not_gone(public: Path) -> None:
    """[D18]"""
    (public / "x.json").write_text("one")
    (public / "x.json").chmod(0)
    with unprivileged():
        result = look(public)
    assert result.complete
    assert problems(result) == {"x.json": "can't be read: permission denied"}


def test_a_root_replaced_in_mid_scan_is_incomplete(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[D7] Half of the old tree must not pass for the new one."""
    (root / "x.json").write_text("one")

    def swap() -> None:
        root.rename(tmp_path / "old")
        root.mkdir()

    monkeypatch.setattr(source, "_list", _after(source._list, swap))
    result = look(root)
    assert not result.complete
    assert "replaced while it was read" in result.problem


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open `count` more files and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/", os.O_RDONLY))
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_a_spec_is_busy_or_the_scan_incomplete_but_never_gone(root: Path) -> None:
    """[C6]"""
    (root / "a").mkdir()
    (root / "a" / "x.json").write_text("one")
    outcomes: list[Scan] = []
    for count in range(6):
        with descriptors_left(count):
            outcomes.append(scan(root, {}, limits=Limits(), now_ns=time.time_ns()))
    assert not outcomes[0].complete
    assert digests(outcomes[-1]) == {"a/x.json": sha("one")}
    for outcome in outcomes:
        assert not outcome.complete or [seen.path for seen in outcome.files] == ["a/x.json"]
        assert all(seen.digest == sha("one") or seen.busy for seen in outcome.files)


# Odd things --------------------------------------------------------------------------------------


def _make_fifo(path: Path) -> None:
    os.mkfifo(path)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


def _make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device takes CAP_MKNOD")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_make_fifo, "is a named pipe, not a file"),
        (_make_socket, "is a socket, not a file"),
        (_make_device, "is a device, not a file"),
        (Path.mkdir, "is a directory, not a file"),
        (lambda path: path.symlink_to(path.name), "is a link that leads in a circle"),
        (lambda path: path.symlink_to("nothing.json"), "is a link that leads nowhere"),
        (lambda path: path.symlink_to("."), "is a directory, not a file"),
    ],
)
def test_what_is_no_regular_file_is_a_problem_and_never_a_hang(
    root: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], message: str
) -> None:
    """[D18]"""
    monkeypatch.chdir(root)
    make(root / "x.json")
    (root / "good.json").write_text("one")
    result = look(root)
    assert result.complete
    assert problems(result) == {"x.json": message}
    assert digests(result)["good.json"] == sha("one")
    with pytest.raises(source.UnreadableError, match=message):
        promptly_read(root, "x.json")


def promptly_read(root: Path, path: str) -> bytes:
    def attempt() -> bytes | source.UnreadableError:
        try:
            return read_file(root, path, Limits()).data
        except source.UnreadableError as error:
            return error

    result = promptly(attempt)
    if isinstance(result, source.UnreadableError):
        raise result
    return result


def test_a_link_to_a_fifo_is_a_problem_and_never_a_hang(root: Path) -> None:
    """[D18]"""
    os.mkfifo(root / "pipe")
    (root / "x.json").symlink_to("pipe")
    assert problems(look(root)) == {"x.json": "is a named pipe, not a file"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"bad\xff.json", "bad\\xff.json"),
        (b"two\nlines.json", "two\\nlines.json"),
        (b"\x1b[31mred.json", "\\x1b[31mred.json"),
        ("a\u202enosj.json".encode(), "a\\u202enosj.json"),
        (b"back\\slash.json", "back\\slash.json"),
    ],
)
def test_a_name_that_cannot_be_shown_is_one_escaped_problem(root: Path, name: bytes, shown: str) -> None:
    """[D13]"""
    Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_text("{}")
    (root / "good.json").write_text("one")
    result = look(root)
    assert result.complete
    assert list(problems(result)) == [shown]
    assert digests(result)["good.json"] == sha("one")


def test_a_directory_with_such_a_name_is_one_escaped_problem(root: Path) -> None:
    """[D13]"""
    directory = Path(os.fsdecode(os.fsencode(root) + b"/bad\xff"))
    directory.mkdir()
    (directory / "x.json").write_text("{}")
    assert list(problems(look(root))) == ["bad\\xff"]


def test_a_name_of_255_bytes_is_fine(root: Path) -> None:
    """[D13]"""
    name = "x" * 250 + ".json"
    (root / name).write_text("one")
    assert digests(look(root)) == {name: sha("one")}


@settings(max_examples=60, deadline=None)
@given(st.sets(st.binary(min_size=1, max_size=40).filter(lambda b: not set(b) & {0, 47}), max_size=8))
def test_any_names_give_one_printable_entry_each(names: set[bytes]) -> None:
    """[D13]"""
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            os.close(os.open(os.fsencode(directory) + b"/" + name + b".json", os.O_CREAT | os.O_WRONLY))
        result = scan(Path(directory), {}, limits=Limits(), now_ns=time.time_ns())
    expected = {name for name in names if name[:1] not in (b".", b"#")}
    assert result.complete
    assert len({seen.path for seen in result.files}) == len(result.files) == len(expected)
    assert all(seen.path.isprintable() for seen in result.files)


# Links -------------------------------------------------------------------------------------------


def test_a_configmap_volume_is_read_through_its_links_and_swaps_at_once(root: Path) -> None:
    """[D5] name.json -> ..data/name.json, ..data -> ..2026_x; the hidden names are never specs."""
    for version, text in (("..2026_1", "one"), ("..2026_2", "two")):
        (root / version).mkdir()
        (root / version / "x.json").write_text(text)
    (root / "..data").symlink_to("..2026_1")
    (root / "x.json").symlink_to("..data/x.json")
    first = look(root)
    assert digests(first) == {"x.json": sha("one")}
    assert look(root, first).read == 0
    (root / "..data_tmp").symlink_to("..2026_2")
    (root / "..data_tmp").rename(root / "..data")
    assert digests(look(root, first)) == {"x.json": sha("two")}
    assert read_file(root, "x.json", Limits()).data == b"two"


def test_a_root_that_is_a_link_is_followed_anew_at_each_scan(tmp_path: Path) -> None:
    """[D6] git-sync's swap."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_text(name)
    root = tmp_path / "current"
    root.symlink_to("one")
    first = look(root)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(root)
    second = look(root, first)
    assert second.complete
    assert (digests(first), digests(second)) == ({"x.json": sha("one")}, {"x.json": sha("two")})


def test_a_link_inside_of_the_source_is_followed(root: Path) -> None:
    """[E15]"""
    (root / "a").mkdir()
    (root / "a" / "x.json").write_text("one")
    (root / "y.json").symlink_to("a/x.json")
    assert digests(look(root)) == {"a/x.json": sha("one"), "y.json": sha("one")}


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret.json", "a/../../secret.json"])
def test_a_link_that_leads_outside_is_refused_and_named(root: Path, target: str) -> None:
    """[E15]"""
    (root / "a").mkdir()
    (root.parent / "secret.json").write_text("secret")
    (root / "x.json").symlink_to(target)
    message = problems(look(root))["x.json"]
    assert "leads outside of the source, to /" in message
    with pytest.raises(source.UnreadableError, match="leads outside"):
        read_file(root, "x.json", Limits())


def test_a_sibling_whose_name_begins_like_the_root_is_outside(root: Path) -> None:
    """[E15]"""
    (root.parent / "specs2").mkdir()
    (root.parent / "specs2" / "x.json").write_text("secret")
    (root / "x.json").symlink_to("../specs2/x.json")
    assert "leads outside" in problems(look(root))["x.json"]


def test_a_known_file_replaced_by_a_link_outside_loses_its_digest(root: Path) -> None:
    """[E15]"""
    (root / "x.json").write_text("one")
    first = look(root)
    (root / "x.json").rename(root.parent / "moved.json")  # the very same inode, but outside now
    (root / "x.json").symlink_to("../moved.json")
    assert digests(look(root, first)) == {"x.json": None}


def test_a_link_to_a_directory_outside_is_a_problem_and_one_inside_is_ignored(root: Path) -> None:
    """[E15] Its specs would be missed in silence; those of the inner one are seen where they are."""
    (root.parent / "team").mkdir()
    (root.parent / "team" / "x.json").write_text("secret")
    (root / "real").mkdir()
    (root / "team").symlink_to("../team")
    (root / "alias").symlink_to("real")
    result = look(root)
    assert list(problems(result)) == ["team"]
    assert digests(result) == {"team": None}


@pytest.mark.parametrize(
    "path", ["../secret.json", "/etc/passwd", "a/../../secret.json", "", ".", "a//x", "x\0"]
)
def test_read_file_takes_no_path_that_leads_out(root: Path, path: str) -> None:
    (root.parent / "secret.json").write_text("secret")
    with pytest.raises(source.UnreadableError, match="not a path inside"):
        read_file(root, path, Limits())


def test_read_file_goes_through_no_directory_link(root: Path) -> None:
    """[E16]"""
    (root.parent / "team").mkdir()
    (root.parent / "team" / "x.json").write_text("secret")
    (root / "team").symlink_to("../team")
    with pytest.raises(source.UnreadableError):
        read_file(root, "team/x.json", Limits())


def test_a_directory_swapped_for_a_link_after_it_was_seen_is_not_entered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[E16] Not even the names outside are shown."""
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "private.json").touch()
    (root / "d").mkdir()

    def swap() -> None:
        if not (root / "d").is_symlink():
            (root / "d").rmdir()
            (root / "d").symlink_to("../outside")

    monkeypatch.setattr(source, "_list", _after(source._list, swap))
    result = look(root)
    assert result.files == ()
    assert not result.complete


def test_racing_swaps_never_lead_a_read_outside(root: Path, tmp_path: Path) -> None:
    """[E16] A file and its directory turn into links to the outside and back, as fast as can be."""
    outside = tmp_path / "outside"
    for directory in (outside, root / "d", root):
        directory.mkdir(exist_ok=True)
        (directory / "x.json").write_text("secret" if directory == outside else "good")
    (tmp_path / "to-directory").symlink_to(outside)
    (tmp_path / "to-file").symlink_to(outside / "x.json")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for real, link in ((root / "d", "to-directory"), (root / "x.json", "to-file")):
                real.rename(tmp_path / "aside")
                (tmp_path / link).rename(real)
                real.rename(tmp_path / link)
                (tmp_path / "aside").rename(real)

    thread = threading.Thread(target=swap)
    thread.start()
    found: set[str | None] = set()
    try:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            result = scan(root, {}, limits=Limits(), now_ns=time.time_ns())
            found.update(seen.digest for seen in result.files)
            for path in ("x.json", "d/x.json"):
                with contextlib.suppress(source.UnreadableError):
                    found.add(hashlib.sha256(read_file(root, path, Limits()).data).hexdigest())
    finally:
        stop.set()
        thread.join()
    assert sha("good") in found
    assert sha("secret") not in found


def test_read_file_returns_the_bytes_with_their_stamp(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "x.json").write_text("one")
    data, stamp = read_file(root, "a/x.json", Limits())
    assert data == b"one"
    assert stamp == only(look(root)).stamp


def test_scans_leave_no_descriptor_open(root: Path) -> None:
    os.mkfifo(root / "pipe.json")
    (root / "loop.json").symlink_to("loop.json")
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "x.json").write_text("one")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        scan(root, {}, limits=Limits(), now_ns=time.time_ns())
        with contextlib.suppress(source.UnreadableError):
            read_file(root, "a/b/gone.json", Limits())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
