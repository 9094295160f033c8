"""A wall clock that is set back or forth (faults.md F7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from timewright.core.errors import DeployError, Reason
from timewright.core.state import Status

from tests.test_reconcile import _bench

DAYS = 86_400.0


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_retry_is_not_lost_when_the_clock_is_set_back(tmp_path: Path, restarted: bool) -> None:
    """Its time was 400 days away."""
    start = 1_000_000_000.0
    async with _bench(tmp_path) as bench:
        bench.now = start
        bench.put("one", "x")
        bench.compiler.failures = [DeployError(Reason.COMPILER_UNAVAILABLE, "it was killed")]
        await bench.settle()
        retry_at = bench.world.record("one").retry_at
        assert retry_at is not None
        if not restarted:
            bench.now = start - 400 * DAYS
            await bench.settle()
            assert bench.compiler.jobs == 1, "not before its wait is over"
            bench.now += retry_at - start + 0.01
            await bench.settle()
            assert bench.world.record("one").status is Status.DEPLOYED
    if restarted:
        async with _bench(tmp_path) as bench:
            bench.now = start - 400 * DAYS
            await bench.settle()
            bench.now += retry_at - start + 0.01
            await bench.settle()
            assert bench.world.record("one").status is Status.DEPLOYED


@pytest.mark.parametrize("days", [-400, 400])
async def test_nothing_is_done_for_a_clock_that_jumps(tmp_path: Path, days: int) -> None:
    async with _bench(tmp_path) as bench:
        bench.now = 1_000_000_000.0
        for word in ("one", "two", "three"):
            bench.put("one", word)
            await bench.settle()
            bench.now += 60
        kept = bench.world.releases.kept("one")
        before = bench.history("one")
        bench.now += days * DAYS
        await bench.settle()
        await bench.reconciler.health.check()
        assert bench.history("one") == before
        assert bench.world.releases.kept("one") == kept
        bench.put("one", "four")
        await bench.settle()
        assert bench.world.record("one").status is Status.DEPLOYED
        assert len(bench.world.releases.kept("one")) == len(kept) + 1
        assert bench.world.earlier(bench.world.record("one")) == kept[0].digest


async def test_passes_that_fail_after_a_clock_was_set_back_do_not_set_waits_back_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _bench(tmp_path) as bench:
        bench.now = 1_000_000_000.0
        bench.put("one", "x")
        await bench.settle()
        bench.world.note(bench.world.record("one"), trial_until=bench.now + 600)
        await bench.settle()
        bench.now -= 3600

        async def refuse() -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(bench.reconciler.source, "read", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="Input"):
                await bench.reconciler.run_pass()
            trial = bench.world.record("one").trial_until
            assert trial is not None
            assert trial - bench.now == 600
