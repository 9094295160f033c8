"""A data directory in which anything may have been damaged: the next start tells it, and converges."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from timewright.core.state import Pin, Pinned, Status

from tests.test_reconcile import _bench

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "8"))

DAMAGES: tuple[Callable[[random.Random, bytes], bytes | None], ...] = (
    lambda _, data: None,
    lambda _, data: b"",
    lambda dice, data: data[: dice.randrange(len(data) + 1)],
    lambda dice, _: dice.randbytes(200),
    lambda dice, data: bytes(
        byte ^ 1 << dice.randrange(8) if dice.random() < 0.01 else byte for byte in data
    ),
    lambda _, data: b"x = " + b"[" * 20_000,
    lambda _, data: b"[" * 100_000,
    lambda _, data: data.replace(b"1", b"9" * 30),
    lambda _, data: data.replace(b'"', b'"../../'),
    lambda _, data: data.replace(b"src/", b"/etc/"),
    lambda _, data: data.replace(b"a", b"\\ud800"),
    lambda _, data: data + data,
)


def _ours(data: Path) -> list[Path]:
    """What timewright keeps for itself; the files of a release are drift's business."""
    kept = [path for path in data.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(
        path for path in kept if path.suffix in (".toml", ".db") or path.parent.name in ("holds", "sources")
    )


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_whatever_was_damaged_the_next_start_tells_and_converges(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with _bench(tmp_path) as bench:
        bench.put("one", "x")
        bench.put("two", "y")
        await bench.settle()
        digest = bench.world.record("two").applied
        bench.world.set_pin("two", Pin(Pinned.PIN, digest, "ada", 1.0), "ada", "audit day")
    places = _ours(tmp_path / "data")
    assert len(places) > 4
    for place in dice.sample(places, dice.randint(1, len(places))):
        harmed = dice.choice(DAMAGES)(dice, place.read_bytes())
        if harmed is None:
            place.unlink()
        else:
            place.write_bytes(harmed)
    if dice.random() < 0.5:
        for place in (tmp_path / "data").glob("state.db*"):
            place.unlink()
    async with _bench(tmp_path) as bench:
        await bench.settle()
        world = bench.world
        one, two = world.record("one"), world.record("two")
        assert one.status is Status.DEPLOYED, one
        assert world.releases.damage("one", world.releases.current("one") or "") == ""
        # Of a release that somebody pinned there is no other: where it is damaged, that is told.
        assert two.status in (Status.DEPLOYED, Status.ROLLED_BACK) or two.failure is not None, two
    shutil.rmtree(tmp_path / "data")
