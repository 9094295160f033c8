"""What a run takes of its machine: samples of the processes and the disk, and whether they grow."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import checks

Sample = Mapping[str, float]
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20

#: What may be more in the last third of a run than in its second, whatever its length: flat means flat. The
#: compiler's and Node's garbage collectors breathe; a pool that is swapped has two processes for a moment.
BOUNDS: Mapping[str, float] = {
    "daemon MiB": 8,
    "daemon files": 6,
    "daemon threads": 4,
    "compiler MiB": 96,
    "compiler processes": 1,
    "host MiB": 24,
    "host files": 8,
    "host threads": 2,
    "worker processes": 2,
    "disk MiB": 24,
    "disk files": 1500,
}


def sample(daemon: int, host: int, data: Path) -> Sample:
    """One look. The state file's history is what is meant to grow, and is not counted."""
    compilers = [pid for pid, _ in checks.family(daemon)]
    workers = [pid for pid, _ in checks.family(host)]
    files = [path for path in _walk(data) if not path.name.startswith("state.db")]
    return {
        "daemon MiB": _rss(daemon),
        "daemon files": _count(daemon, "fd"),
        "daemon threads": _count(daemon, "task"),
        "compiler MiB": sum(map(_rss, compilers)),
        "compiler processes": len(compilers),
        "host MiB": _rss(host),
        "host files": _count(host, "fd"),
        "host threads": _count(host, "task"),
        "worker processes": len(workers),
        "workers MiB": sum(map(_rss, workers)),
        "disk MiB": sum(map(_size, files)) / 2**20,
        "disk files": len(files),
    }


def medians(samples: Sequence[Sample]) -> Sample:
    return {key: statistics.median(one[key] for one in samples) for key in samples[0]}


@dataclass(frozen=True)
class Verdict:
    """How one figure went. `before`, `after`: medians of the second and the last third of the run."""

    name: str
    before: float
    after: float
    bound: float

    @property
    def holds(self) -> bool:
        return self.after - self.before <= self.bound


def judge(samples: Sequence[Sample], bounds: Mapping[str, float] = BOUNDS) -> list[Verdict]:
    """Whether the figures are flat; the first third is for warming up. Wants three samples."""
    third = len(samples) // 3
    before, after = medians(samples[third : 2 * third]), medians(samples[-third:])
    return [Verdict(name, before[name], after[name], bound) for name, bound in bounds.items()]


def _rss(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MIB
    except OSError:
        return 0.0


def _count(pid: int, what: str) -> float:
    try:
        return len(os.listdir(f"/proc/{pid}/{what}"))  # noqa: PTH208 - names only
    except OSError:
        return 0.0


def _walk(root: Path) -> list[Path]:
    return [Path(folder, name) for folder, _, names in os.walk(root) for name in names]


def _size(path: Path) -> float:
    try:
        return path.lstat().st_size
    except OSError:
        return 0.0
