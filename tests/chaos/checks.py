"""What must hold of a data directory: right after a death, and when all has come to rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from timewright.core.differences import Kind
from timewright.edge.pools import Pools
from timewright.edge.releases import Releases
from timewright.edge.statefile import Event, StateFile

#: A row of history as somebody was shown it.
Rows = dict[int, Event]


def damage(data: Path, *, full: bool = True) -> list[str]:
    """What of the tree isn't whole. `full`: every release is held against the digests of its receipt, and
    not only those that are live."""
    releases, pools, found = Releases(data), Pools(data), []
    live = {entry.name: releases.current(entry.name) for entry in _entries(releases.links)}
    for workflow_id, release in live.items():
        if release is None or releases.receipt(workflow_id, release) is None:
            found.append(f"the link of {workflow_id} leads to no whole release ({release})")
    for home in _entries(releases.root):
        for entry in _entries(Path(home)):
            if full or live.get(home.name) == entry.name:
                items = releases.differences(home.name, entry.name)
                bad = [item.line for item in items if item.kind is not Kind.ADDED]
                found += [f"release {home.name}/{entry.name}: {line}" for line in bad]
    found += [f"pool {key}: current lacks {lost}" for key in pools.keys() if (lost := pools.lost(key))]  # noqa: SIM118
    return found


def rows(data: Path) -> Rows:
    """The history as a reader sees it now: all of it is acknowledged."""
    state = StateFile(data / "state.db", read_only=True)
    try:
        return {event.id: event for event in state.history()}
    finally:
        state.close()


def lost_rows(before: Rows, after: Rows) -> list[str]:
    """Rows that were shown and aren't there any more, or say something else."""
    return [f"history row {key}: {row}" for key, row in before.items() if after.get(key) != row]


def leftovers(data: Path) -> list[str]:
    """Temporary names in what is published."""
    parts = [data / name for name in ("releases", "workflows", "pools", "holds")]
    return [
        os.path.relpath(Path(folder, name), data)
        for part in parts
        for folder, folders, names in os.walk(part)
        for name in (*folders, *names)
        if name.startswith(".tmp-")
    ]


# processes ---------------------------------------------------------------------------------------

#: A process for certain: its id may be another's by now, its id and start time never.
Process = tuple[int, str]


def family(pid: int) -> set[Process]:
    """A process's children and theirs."""
    parents = {int(entry.name): stat for entry in _entries(Path("/proc")) if (stat := _stat(entry.name))}
    found: set[Process] = set()
    heads = {pid}
    while heads:
        heads = {child for child, stat in parents.items() if int(stat[1]) in heads}
        found |= {(child, parents[child][19]) for child in heads}
    return found


def alive(processes: set[Process]) -> set[Process]:
    """Those that run still; a zombie doesn't."""
    return {
        (pid, started)
        for pid, started in processes
        if (stat := _stat(str(pid))) and stat[19] == started and stat[0] != "Z"
    }


def named(processes: set[Process]) -> dict[Process, str]:
    """Their command lines."""
    found = {}
    for pid, started in processes:
        try:
            found[pid, started] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def _stat(pid: str) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on (state, parent, …)."""
    if not pid.isdigit():
        return None
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _entries(path: Path) -> Iterator[os.DirEntry[str]]:
    try:
        found = list(os.scandir(path))
    except OSError:
        return
    yield from (entry for entry in found if not entry.name.startswith(".tmp-"))
