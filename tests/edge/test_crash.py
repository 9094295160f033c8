"""Death and refusal at every file system call (faults.md A1, A2, A4, C1, C3), injected by strace.

A child does the work while strace kills it (or fails the call) at the Nth call of one kind, for every N
until a run gets through. After each run a reader sees the old release or the new one, whole; the next
run gets to the end by itself; and nothing is left over.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from timewright.core.state import Record, Status
from timewright.edge.releases import Releases
from timewright.edge.statefile import StateFile

from tests.support import child_env, leftovers, make_receipt, publish, python

# Loads everything once, then forks a child for each line `WORK DIRECTORY`; the child begins when strace
# has it, so that only the calls of its work are counted. Says the child's pid, then how it ended.
NURSERY = """
import os, sys, time
from pathlib import Path
from tests.support import publish
from timewright.core.state import Record, Status
from timewright.edge.releases import Releases
from timewright.edge.statefile import StateFile

def releases(data):
    tree = Releases(data)
    tree.prepare()
    tree.make_live("hello", publish(tree, version="v2").release)

def mend(data):
    tree = Releases(data)
    tree.prepare()
    tree.make_live("hello", publish(tree, version="v1").release)

def state(data):
    file = StateFile(data / "state.db")
    file.transition(Record("hello"), Status.DEPLOYING, because="new", now=1.0)
    file.close()

def child(work, data):
    status = os.open("/proc/self/status", os.O_RDONLY)
    while b"TracerPid:\\t0\\n" in os.pread(status, 4096, 0):
        time.sleep(0.002)
    time.sleep(0.02)
    try:
        globals()[work](Path(data))
    except OSError:
        os._exit(1)
    except BaseException:
        os._exit(2)
    os._exit(0)

for line in sys.stdin:
    work, data = line.split()
    pid = os.fork()
    if pid == 0:
        child(work, data)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

V1, V2 = make_receipt(version="v1"), make_receipt(version="v2")
MOST = 150  # calls of one kind: far more than there are
KILLED = -signal.SIGKILL
CALLS = {
    "rename": "?rename,?renameat,?renameat2",
    "exchange": "?renameat2",
    "fsync": "?fsync,?fdatasync",
    "symlink": "?symlink,?symlinkat",
    "openat": "?open,?openat",
    "mkdir": "?mkdir,?mkdirat",
    "unlink": "?unlink,?unlinkat",
    "rmdir": "?rmdir",
    "write": "?write,?pwrite64,?ftruncate",
}


@cache
def why_no_strace() -> str:
    """Why faults can't be injected here; '' when they can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:error=EIO",
        "true",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace is not permitted here: {done.stderr.strip()[:200]}"


injected = pytest.mark.skipif(bool(why_no_strace()), reason=why_no_strace() or "strace works")


@dataclass
class Nursery:
    """Starts children that do one work each, under a fault."""

    process: subprocess.Popen[str]

    def run(self, work: str, data: Path, calls: str, fault: str, number: int) -> int:
        """Do `work` in `data` with `fault` at call `number`; returns the exit code, negative for a signal."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(work, data, file=self.process.stdin, flush=True)
        pid = self.process.stdout.readline().strip()
        inject = f"inject={CALLS[calls]}:{fault}:when={number}"
        command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS[calls]}", "-e", inject, "-p", pid]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
            code = int(self.process.stdout.readline())
            tracer.wait(30)
        return code


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    pipe = subprocess.PIPE
    with subprocess.Popen(python(NURSERY), env=child_env(), stdin=pipe, stdout=pipe, text=True) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A tree in which v1 is live."""
    releases = Releases(tmp_path / "template")
    releases.prepare()
    releases.make_live("hello", publish(releases, version="v1").release)
    return releases.data


@dataclass(frozen=True)
class Seen:
    """What a reader finds after a run: which version is live, and whether v2 is published, whole."""

    live: str
    published: bool


def look(data: Path) -> Seen:
    """Fails when what is live, or what is published, is not whole."""
    releases = Releases(data)
    release = releases.current("hello")
    assert release in (V1.release, V2.release)
    assert releases.damage("hello", release) == ""
    version = "v1" if release == V1.release else "v2"
    for file in ("src/workflow.ts", "dist/workflow.js", "bundle/workflow.js"):
        assert (data / "workflows" / "hello" / file).read_text() == f"// {version}\n"
    published = releases.path("hello", V2.release).exists()
    assert not published or releases.damage("hello", V2.release) == ""
    return Seen(version, published)


def check_mended(data: Path) -> None:
    """The next start sweeps and gets to v2."""
    releases = Releases(data)
    releases.prepare()
    assert leftovers(data) == []
    releases.make_live("hello", publish(releases, version="v2").release)
    assert look(data) == Seen("v2", True)
    assert leftovers(data) == []


def outcomes(nursery: Nursery, template: Path, calls: str, fault: str, code: int) -> list[Seen]:
    """What was seen after a fault at each call in turn, until a run got through; each mended after."""
    seen: list[Seen] = []
    for number in range(1, MOST):
        data = template.with_name(f"{calls}{number}")
        shutil.copytree(template, data, symlinks=True)
        ended = nursery.run("releases", data, calls, fault, number)
        seen.append(look(data))
        if ended == 0:
            assert seen[-1] == Seen("v2", True)
            return seen
        assert ended == code
        check_mended(data)
    raise AssertionError("no run got through")


@injected
@pytest.mark.parametrize(
    ("calls", "least"),
    [("rename", 3), ("fsync", 9), ("symlink", 2), ("openat", 9), ("mkdir", 5), ("write", 5)],
)
def test_a_publish_killed_at_any_call_leaves_the_old_or_the_new_and_is_mended(
    nursery: Nursery, template: Path, calls: str, least: int
) -> None:
    seen = outcomes(nursery, template, calls, "signal=KILL", KILLED)
    assert len(seen) >= least
    assert seen == sorted(seen, key=lambda item: (item.live, item.published)), "it never goes back"


@injected
@pytest.mark.parametrize("calls", ["unlink", "rmdir", "rename"])
def test_replacing_a_damaged_release_can_be_killed_at_any_call(
    nursery: Nursery, template: Path, calls: str
) -> None:
    releases = Releases(template)
    publish(releases, version="v2")
    (releases.path("hello", V2.release) / "dist" / "workflow.js").unlink()
    (releases.begin("hello") / "half").touch()
    for number in range(1, MOST):
        data = template.with_name(f"{calls}{number}")
        shutil.copytree(template, data, symlinks=True)
        ended = nursery.run("releases", data, calls, "signal=KILL", number)
        if ended == 0:
            assert look(data) == Seen("v2", True)
            assert number > 1
            return
        assert ended == KILLED
        assert (data / "workflows" / "hello" / "dist" / "workflow.js").read_text() == "// v1\n"
        check_mended(data)
    raise AssertionError("no run got through")


@injected
@pytest.mark.parametrize("calls", ["unlink", "rmdir", "rename", "fsync"])
def test_a_reader_of_a_live_release_that_is_restored_never_finds_nothing(
    nursery: Nursery, template: Path, calls: str
) -> None:
    """Killed at any call: what was changed by hand, or what was built; the link never leads to nothing."""
    (template / "workflows" / "hello" / "dist" / "workflow.js").write_text("by hand")
    seen = []
    for number in range(1, MOST):
        data = template.with_name(f"{calls}{number}")
        shutil.copytree(template, data, symlinks=True)
        ended = nursery.run("mend", data, calls, "signal=KILL", number)
        live = data / "workflows" / "hello"
        seen.append((live / "dist" / "workflow.js").read_text())
        assert (live / "src" / "workflow.ts").read_text() == "// v1\n"
        releases = Releases(data)
        releases.prepare()
        assert leftovers(data) == []
        assert (live / "dist" / "workflow.js").read_text() == seen[-1]
        if ended == 0:
            assert number > 1
            assert seen == sorted(seen, key=["by hand", "// v1\n"].index)
            assert seen[-1] == "// v1\n"
            return
        assert ended == KILLED
        publish(releases, version="v1")
        assert look(data) == Seen("v1", False)
    raise AssertionError("no run got through")


@injected
@pytest.mark.parametrize(
    ("calls", "fault"), [("write", "error=ENOSPC"), ("fsync", "error=EIO"), ("fsync", "error=ENOSPC")]
)
def test_a_disk_that_refuses_publishes_nothing_and_the_old_release_goes_on(
    nursery: Nursery, template: Path, calls: str, fault: str
) -> None:
    seen = outcomes(nursery, template, calls, fault, 1)[:-1]
    sealing = 4 if calls == "write" else 8  # the files, and with them the directories, of a release
    assert seen[:sealing] == [Seen("v1", False)] * sealing
    assert seen == sorted(seen, key=lambda item: (item.live, item.published))


@injected
@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EPERM", "EOPNOTSUPP"])
def test_where_two_names_cannot_be_exchanged_the_release_is_restored_all_the_same(
    nursery: Nursery, template: Path, error: str
) -> None:
    (template / "workflows" / "hello" / "dist" / "workflow.js").write_text("by hand")
    assert nursery.run("mend", template, "exchange", f"error={error}", 1) == 0
    assert look(template) == Seen("v1", False)
    assert leftovers(template) == []


@injected
@pytest.mark.parametrize("calls", ["openat", "write", "fsync"])
def test_a_state_file_killed_at_any_call_holds_the_whole_transition_or_none(
    nursery: Nursery, tmp_path: Path, calls: str
) -> None:
    for number in range(1, MOST):
        data = tmp_path / f"{calls}{number}"
        data.mkdir()
        ended = nursery.run("state", data, calls, "signal=KILL", number)
        state = StateFile(data / "state.db")
        records, history = state.records(), state.history()
        assert len(records) == len(history) <= 1
        if not records:
            state.transition(Record("hello"), Status.DEPLOYING, because="new", now=1.0)
        assert state.records()["hello"].status is Status.DEPLOYING
        state.close()
        if ended == 0:
            assert number > 3
            assert history
            return
        assert ended == KILLED
    raise AssertionError("no run got through")


def test_the_leftover_link_of_a_killed_swap_does_not_stop_the_next(template: Path) -> None:
    """What git-sync hangs on for ever: the temporary link of the same workflow is already there."""
    (template / "workflows" / ".tmp-hello-000000000000").symlink_to("nowhere")
    check_mended(template)
