"""A restart with N specs deployed and nothing changed: how long until all is known to be as it should be?

    python -m bench.restart [--rounds 5] [--sizes 10000]

- ready: the daemon's start until its first pass has ended, with all specs and all releases looked at, and
  its API says that it follows its source;
- `git status`, tree: of a repository with the deployed releases in it (all their files), index fresh;
- `git status`, specs: of one with the source folder in it.

Each round does all three, one after the other, so all find the same warm page cache.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from bench.common import Options, Report, options, say
from bench.corpus import corpus_digest
from bench.processes import cpu_seconds, run, tree
from bench.stage import home, stocked, temporal
from bench.watching import moment
from tests.e2e.host import Host


class Repository:
    """A git repository beside a folder: nothing is written into the folder."""

    def __init__(self, git_dir: Path, folder: Path) -> None:
        self._git = ["git", f"--git-dir={git_dir}", f"--work-tree={folder}"]
        self._folder = folder

    def make(self) -> None:
        """Commit all that is there; one pack, for 100,000 loose objects would take minutes."""
        self._run("init", "--quiet")
        self._run("-c", "core.bigFileThreshold=1", "add", "--all")
        self._run("-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "--quiet", "-mAll")
        self._run("update-index", "--refresh")

    def status_s(self) -> float:
        start = time.perf_counter()
        said = self._run("status", "--porcelain")
        taken = time.perf_counter() - start
        if said:
            raise SystemExit(f"git status sees changes, so it did other work than ours: {said[:500]}")
        return taken

    def _run(self, *words: str) -> str:
        done = subprocess.run([*self._git, *words], cwd=self._folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"git {words[0]} failed: {done.stderr[-500:]}")
        return done.stdout


async def restarted(host: Host) -> dict[str, float]:
    start = time.perf_counter()
    host.start_daemon()
    assert host.daemon is not None
    ready = await moment(host.is_ready, "the daemon is ready", 600)
    used = cpu_seconds(tree(host.daemon.pid))
    host.stop_daemon()
    return {"ready_s": ready - start, "cpu_s": used}


async def measure(given: Options) -> None:
    report = Report("restart", {**given.as_json(), "corpus": corpus_digest()})
    with temporal() as server:
        for size in given.sizes:
            with stocked(size, server, report) as host, home("git") as place:
                repositories = {
                    "git status, tree": Repository(place / "tree.git", host.data / "releases"),
                    "git status, specs": Repository(place / "specs.git", host.specs),
                }
                with report.setting_up(f"commit {size} specs and their releases to git"):
                    for repository in repositories.values():
                        repository.make()
                await restarted(host)  # the first one finds cold caches
                for number in range(1, given.rounds + 1):
                    report.add(size, "timewright", await restarted(host))
                    for name, repository in repositories.items():
                        report.add(size, name, {"ready_s": repository.status_s()})
                    told = {k: v[-1] for k, v in report.samples.items() if k.startswith(f"{size}/")}
                    say(f"round {number}: " + ", ".join(f"{key} {v:.3f}" for key, v in told.items()))
    say(f"written: {report.write().name}")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=5, full_rounds=11, sizes=(10000,), full_sizes=(1000, 10000))
    run(lambda: measure(chosen))
