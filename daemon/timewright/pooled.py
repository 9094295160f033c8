"""What is known of a pool whose code has Versions in Temporal."""

from __future__ import annotations

from dataclasses import dataclass, field

from timewright.core.deployments import Deployment
from timewright.core.orders import Order, Progress


@dataclass(frozen=True)
class Told:
    """The last rollout of a pool: it is shown until the next one begins, also when it was taken back."""

    build_id: str
    order: Order | None
    progress: Progress


@dataclass
class Pooled:
    """What is known of a pool with Versions. `wish`: the Build ID whose rollout is ours to follow, '' for
    none. `back`: to code that was served before. `waits`: workflows whose new code it brings, until Temporal
    was asked: then `order` says it. `open`: Build ID → open executions; `empty`: Build ID →
    since when there were none. `problem`: why Temporal could not be asked."""

    wish: str = ""
    back: bool = False
    waits: set[str] = field(default_factory=set)
    seen: Deployment | None = None
    order: Order | None = None
    progress: Progress | None = None
    open: dict[str, int] = field(default_factory=dict)
    empty: dict[str, float] = field(default_factory=dict)
    problem: str = ""
    last: Told | None = None
    told: str = ""
    asked: float = 0.0  # when Temporal was last asked by `tend` (monotonic)
    looked: float = 0.0  # when it was last asked for by a face (monotonic)
    astray: float = 0.0  # since when executions go to another version than ours (seconds since the epoch)
