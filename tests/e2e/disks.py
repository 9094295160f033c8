"""Small file systems for tests, mounted at a folder of the test and gone after it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest


@cache
def why_no_mount() -> str:
    """Why no file system can be mounted here; '' when one can."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if tried.returncode == 0 else f"nothing can be mounted here: {tried.stderr.strip()[:200]}"


mountable = pytest.mark.skipif(bool(why_no_mount()), reason=why_no_mount() or "mount works")


def mount(path: Path, *options: str | Path) -> None:
    done = subprocess.run(["mount", *options, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def unmount(path: Path) -> None:
    """Also where somebody still has a file of it open."""
    subprocess.run(["umount", "--lazy", path], check=True, capture_output=True)


class Disk:
    """A small tmpfs at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast, self._names = path / "ballast", path / "names"

    def fill(self, spare: int = 0) -> None:
        """Leave `spare` bytes at most."""
        free = shutil.disk_usage(self.path).free
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), file.tell(), max(0, free - spare))

    def take_all_names(self) -> None:
        """Leave no inode."""
        self._names.mkdir()
        with suppress(OSError):
            for number in range(100_000):
                (self._names / str(number)).touch()

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)
        shutil.rmtree(self._names, ignore_errors=True)


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    path.mkdir(parents=True)
    mount(path, "-t", "tmpfs", "-o", "size=64m,nr_inodes=4000", "none")
    try:
        yield Disk(path)
    finally:
        unmount(path)


class Image:
    """An ext4 in a file, at `path`."""

    def __init__(self, file: Path, path: Path) -> None:
        self.file, self.path = file, path

    def mount(self) -> None:
        mount(self.path, "-o", "loop", self.file)

    def fail(self) -> None:
        """What the kernel does when the disk tells of an error: nothing can be written any more."""
        mount(self.path, "-o", "remount,abort")

    def repair(self) -> None:
        """What an operator does then. Nobody may have a file of it open."""
        subprocess.run(["umount", self.path], check=True, capture_output=True)
        done = subprocess.run(["e2fsck", "-fy", self.file], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout  # 1: mended
        self.mount()


@contextmanager
def ext4_image(file: Path, path: Path) -> Iterator[Image]:
    """Skips the test where there are no loop devices, or no ext4."""
    path.mkdir(parents=True)
    with file.open("wb") as empty:
        empty.truncate(96 << 20)
    image = Image(file, path)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", file], check=True, capture_output=True)
        image.mount()
    except (OSError, subprocess.CalledProcessError, AssertionError) as error:
        pytest.skip(f"no ext4 on a loop device here: {error}")
    try:
        yield image
    finally:
        unmount(path)
