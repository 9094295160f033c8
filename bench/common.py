"""What all parts share: where results go, the machine they were got on, and what is said of samples.

A result file has the same shape for every part:

    {"part", "commit", "changed", "date", "took_s", "machine": {...}, "versions": {...}, "settings": {...},
     "left_out": {peer: why}, "setup_s": {step: seconds}, "samples": {series: [values]},
     "figures": {series: {"median", "mad", "low", "high", "n"}}}

A series is named `size/peer/measure`, "1000/timewright/bundle_s"; the measure ends in its unit. All but the
samples is for reading; every figure on the page is made of `figures`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / "bench" / "results"


@dataclass
class Report:
    """What one part found. `settings`: what it was asked for."""

    part: str
    settings: dict[str, Any]
    samples: dict[str, list[float]] = field(default_factory=dict)
    setup_s: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _load: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(self, size: int | str, peer: str, measures: Mapping[str, float]) -> None:
        """Note one sample of each measure."""
        for measure, value in measures.items():
            self.samples.setdefault(f"{size}/{peer}/{measure}", []).append(value)

    def leave_out(self, peer: str, why: str) -> None:
        self.left_out[peer] = why
        say(f"left out: {peer}: {why}")

    @contextmanager
    def setting_up(self, what: str) -> Iterator[None]:
        """Time one step that is no measurement, and say so: at 10,000 specs it can be minutes."""
        say(f"{what} …")
        began = time.monotonic()
        yield
        self.setup_s[what] = round(time.monotonic() - began, 1)
        say(f"{what}: {self.setup_s[what]} s")

    def as_json(self) -> dict[str, Any]:
        return {
            "part": self.part,
            **checkout(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "took_s": round(time.monotonic() - self._began),
            "machine": {**machine(), "load_before": round(self._load, 2)},
            "versions": versions(),
            "settings": self.settings,
            "left_out": self.left_out,
            "setup_s": self.setup_s,
            "figures": {name: summary(values) for name, values in sorted(self.samples.items())},
            "samples": {name: [exact(v) for v in values] for name, values in sorted(self.samples.items())},
        }

    def write(self, folder: Path = RESULTS) -> Path:
        """Write the result file: the old one or the new one, never half of it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.part}.json"
        aside = path.with_suffix(f".{os.getpid()}.part")
        aside.write_text(json.dumps(self.as_json(), indent=1) + "\n")
        aside.replace(path)
        return path


def summary(values: list[float]) -> dict[str, float]:
    """Median, median absolute deviation from it, and the quartiles (with less than four: the extremes)."""
    median = statistics.median(values)
    spread = statistics.median(abs(value - median) for value in values)
    low, high = min(values), max(values)
    if len(values) >= 4:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    found = {"median": median, "mad": spread, "low": low, "high": high}
    return {**{name: exact(value) for name, value in found.items()}, "n": len(values)}


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of all are not above: quantile(v, 0.99)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def exact(value: float) -> float:
    """Four figures: more is noise."""
    return float(f"{value:.4g}")


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


# where it was measured ---------------------------------------------------------------------------


def checkout() -> dict[str, Any]:
    """The commit that was measured, and whether files of it were changed since (results and pages aside)."""
    changed = _said("git", "-C", str(REPO), "status", "--porcelain", "--", "daemon", "worker", "bench/*.py")
    return {"commit": _said("git", "-C", str(REPO), "rev-parse", "HEAD")[:12], "changed": bool(changed)}


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0] if models else platform.processor(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    modules = REPO / "worker" / "node_modules"
    return {
        "python": platform.python_version(),
        "node": _said("node", "--version").lstrip("v"),
        "typescript": _package(modules / "typescript"),
        "typescript_5": _package(modules / "typescript-5"),
        "temporal_sdk": _package(modules / "@temporalio" / "worker"),
        "esbuild": _package(modules / "esbuild"),
        "temporal": _said(os.environ.get("TEMPORAL_CLI") or "temporal", "--version").partition(" (")[0],
        "git": _said("git", "--version").removeprefix("git version "),
        "timewright": version("timewright"),
    }


def _package(home: Path) -> str:
    path = home / "package.json"
    return str(json.loads(path.read_text())["version"]) if path.is_file() else ""


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


# the command line --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """How much is measured. `full`: more sizes and rounds than fit into half an hour."""

    rounds: int
    sizes: tuple[int, ...]
    full: bool

    def as_json(self) -> dict[str, Any]:
        return {"rounds": self.rounds, "sizes": list(self.sizes), "full": self.full}


def options(
    about: str | None,
    *,
    rounds: int,
    sizes: tuple[int, ...] = (),
    full_rounds: int | None = None,
    full_sizes: tuple[int, ...] | None = None,
) -> Options:
    """Read --rounds, --sizes and --full. What is given wins over what --full stands for."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help=f"how often each is measured (default {rounds})")
    if sizes:
        words = ",".join(str(size) for size in sizes)
        parser.add_argument("--sizes", type=_sizes, help=f"numbers of specs (default {words})")
    parser.add_argument("--full", action="store_true", help="more of it, for as long as it takes")
    given = parser.parse_args()
    most = (full_rounds or 2 * rounds + 1, full_sizes or sizes) if given.full else (rounds, sizes)
    chosen = getattr(given, "sizes", None) or most[1]
    return Options(given.rounds or most[0], chosen, given.full)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))
