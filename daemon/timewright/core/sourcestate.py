"""Where a source stands, as a value that everything which shows it is made of."""

from __future__ import annotations

from dataclasses import dataclass

from timewright.core.commits import Commit
from timewright.core.landing import Outcome


@dataclass(frozen=True)
class SourceState:
    """One source. `kind`: git or folder. `state`: Synced, Unreachable, Refused; Never, Fetching before the
    first fetch has ended; Unknown where nobody follows it now. `behind`: commits that the remote has and we
    don't follow. `fetches`: tries that have ended; for a folder, passes. Times in seconds since the epoch."""

    name: str
    kind: str
    location: str
    state: str
    ref: str = ""
    tag: str = ""
    owner: str = ""
    problem: str = ""
    hint: str = ""
    commit: Commit | None = None
    remote: str = ""
    behind: int | None = None
    specs: int | None = None
    adopted: float | None = None
    fetched: float | None = None
    next_fetch: float | None = None
    fetches: int = 0
    outcome: Outcome | None = None
