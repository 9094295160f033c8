"""The power fails: a real ext4 loses what was not made durable (faults.md B9).

The work goes on on a small ext4 on a loop device. A child is killed at the Nth call of one kind, for every
N; at once the file system is shut down as a power cut would, by the ioctl that its own tests use: neither
data nor journal are flushed. Mounted again it has what had reached the disk. The mount options leave out
all that ext4 does to save careless programs: no flush at a rename, no commit by itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from timewright.edge.releases import Releases
from timewright.edge.statefile import StateFile

from tests.e2e.disks import mount, mountable
from tests.edge import test_crash
from tests.edge.test_crash import KILLED, MOST, Nursery, Seen, check_mended, injected, look
from tests.support import publish

_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
_NO_FLUSH = 2
_OPTIONS = "loop,noauto_da_alloc,commit=900"

nursery = test_crash.nursery
pytestmark = mountable


class Disk:
    """An ext4 in a file, of which each test run gets a copy."""

    def __init__(self, home: Path) -> None:
        self.file, self.path, self.copy = home / "disk.img", home / "disk", home / "copy.img"
        self.path.mkdir()
        with self.file.open("wb") as empty:
            empty.truncate(12 << 20)

    @contextmanager
    def mounted(self, file: Path) -> Iterator[Path]:
        mount(self.path, "-o", _OPTIONS, file)
        try:
            yield self.path / "data"
        finally:
            subprocess.run(["umount", self.path], check=True, capture_output=True)

    @contextmanager
    def until_the_power_fails(self) -> Iterator[Path]:
        """The data directory of a copy; what was done there is cut off at the end."""
        shutil.copyfile(self.file, self.copy)
        with self.mounted(self.copy) as data:
            yield data
            descriptor = os.open(self.path, os.O_RDONLY)
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
            os.close(descriptor)

    def afterwards(self) -> AbstractContextManager[Path]:
        """The same directory, with the power back."""
        return self.mounted(self.copy)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A disk on which release v1 is live."""
    made = Disk(tmp_path)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "1024", made.file], check=True, capture_output=True)
        with made.mounted(made.file) as data:
            releases = Releases(data)
            releases.prepare()
            releases.make_live("hello", publish(releases, version="v1").release)
    except (OSError, subprocess.CalledProcessError, AssertionError) as error:
        pytest.skip(f"no ext4 on a loop device here: {error}")
    return made


@injected
@pytest.mark.parametrize("calls", ["fsync", "rename", "symlink"])
def test_a_power_cut_at_any_moment_of_a_publish_leaves_the_old_or_the_new_release(
    nursery: Nursery, disk: Disk, calls: str
) -> None:
    for number in range(1, MOST):
        with disk.until_the_power_fails() as data:
            ended = nursery.run("releases", data, calls, "signal=KILL", number)
        with disk.afterwards() as data:
            seen = look(data)
            if ended == 0:
                assert seen == Seen("v2", True), "what is done stays done"
                return
            assert ended == KILLED
            check_mended(data)
    raise AssertionError("no run got through")


@injected
@pytest.mark.parametrize("calls", ["fsync", "write"])
def test_a_power_cut_at_any_moment_of_a_transition_leaves_it_whole_or_out(
    nursery: Nursery, disk: Disk, calls: str
) -> None:
    for number in range(1, MOST):
        with disk.until_the_power_fails() as data:
            ended = nursery.run("state", data, calls, "signal=KILL", number)
        with disk.afterwards() as data:
            state = StateFile(data / "state.db")
            records, history = state.records(), state.history()
            state.close()
            assert len(records) == len(history) <= 1
            if ended == 0:
                assert history, "what was acknowledged is kept"
                return
            assert ended == KILLED
    raise AssertionError("no run got through")


def test_what_is_not_made_durable_is_lost_here(disk: Disk) -> None:
    """Without this the tests above would pass whatever we do."""
    with disk.until_the_power_fails() as data:
        (data / "new").write_text("new")
        (data / "new").rename(data / "renamed")
        (data / "kept").write_text("kept")
        with (data / "kept").open("rb+") as file:
            os.fsync(file.fileno())
        (data / "late").write_text("late")
    with disk.afterwards() as data:
        assert (data / "kept").read_text() == "kept"
        assert not (data / "late").exists() or (data / "late").read_text() == ""
        assert not (data / "renamed").exists() or (data / "renamed").read_text() == ""
