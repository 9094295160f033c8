"""The kill loop, short: ten changes with ten deaths. `make soak` has a thousand.

OPS=200 SEED=7 pytest tests/e2e/test_kill_loop.py      what SEED did in 200 operations
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.client import Client
from timewright.edge.failpoint import POINTS

from tests.chaos.loop import REACHED_BY, Loop, run
from tests.e2e.host import Host, TemporalServer, quickly_drained, running_host

#: Points of other parts, with kill tests of their own: who follows a repository (test_git_faults), who tells
#: (tests/test_notify.py), a revert after a crash (test_operate). `parse-` is followed by a file's name.
ELSEWHERE = {
    *POINTS["adopt"],
    *POINTS["tell"],
    "before-revert-pin",
    "parse-",
}


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    with quickly_drained(tmp_path_factory.mktemp("temporal")) as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, temporal: TemporalServer) -> Iterator[Host]:
    with running_host(tmp_path, temporal.address) as running:
        yield running


def test_the_kill_loop_knows_every_fault_point() -> None:
    every = {point for group in POINTS.values() for point in group}
    assert every == (set(REACHED_BY) - {"parse-ada"}) | ELSEWHERE


@pytest.mark.timeout(14400)
async def test_a_host_whose_processes_are_killed_all_the_time_ends_where_the_source_is(
    host: Host, client: Client
) -> None:
    today = str(datetime.now(UTC).toordinal())  # other points each day; what failed is printed
    seed, operations = int(os.environ.get("SEED", today)), int(os.environ.get("OPS", "10"))
    loop = Loop(host, client, seed)
    try:
        await run(loop, operations)
    finally:
        print(f"SEED={seed} OPS={operations}, {len(loop.story)} done; deaths: {loop.deaths}")
