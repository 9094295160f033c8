"""One spec changes among N that are deployed: how long until its code is in place, and until it is served?

    python -m bench.change [--rounds 5] [--sizes 1,10,100,1000,10000] [--full]

Every round renames one changed spec into the folder that each peer follows, one peer after the other, on
one machine and one Temporal server (peers.py says what they are). Times begin at the rename:

- event: the change was noticed and a deploy began;
- dist: its compiled JavaScript is in place, the whole release published;
- bundle: what a worker loads is in place too: the workflow bundle of its task queue;
- serving: an execution returned a result of the new code.

Then ours goes back to the release before, by one call, with the same times; and another workflow of the
same code changes without Versions (`rollout: off`), as the scripts do it: its worker is replaced. At 10, 100
and 1,000 specs `tsc --watch` gets the same change as a source file; of it only dist can be seen, for that is
all it does. The scripts look at one file only, so they take part at 1, 1,000 and 10,000 specs (--full:
everywhere).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from temporalio.client import Client

from bench import peers
from bench.common import Options, Report, options, say
from bench.corpus import bulk, corpus_digest, spec
from bench.goals import IN_PLACE
from bench.processes import run
from bench.stage import KEPT_FROM, home, serving, temporal
from bench.watching import NeverError, Watched, calm, moment, served
from tests.e2e.host import Host, TemporalServer

NAME = "bench"
SIZES = (1, 10, 100, 1000, 10000)
WATCHED = (10, 100, 1000)  # where `tsc --watch` is measured too: at 10,000 it needs more memory than we have
SCRIPTED = (1, 1000, 10000)  # where the scripts take part: the others' specs are nothing to them
ROLLED_BACK = "timewright-rollback"
REPLACED = "replaced"  # the name of what is replaced in place


def probe(word: str, queue: str = NAME) -> dict[str, Any]:
    return spec(NAME, word, queue)


def replaced(word: str) -> dict[str, Any]:
    """Without a replay of open executions' histories, too: no peer does that."""
    return spec(REPLACED, word, REPLACED, rollout="off", replay="off")


class Field:
    """All peers, each ready for a change."""

    def __init__(self, report: Report, server: TemporalServer, client: Client, place: Path) -> None:
        self.report, self.client = report, client
        missing = peers.missing()
        for name, why in missing.items():
            report.leave_out(name, why)
        first, address = probe("w0"), server.address
        scripts: dict[str, peers.Script | peers.Nodemon] = {
            "script-ts5": peers.Script("script-ts5", place / "ts5", address, first, peers.typescript_5()),
            "script-ts7": peers.Script("script-ts7", place / "ts7", address, first, peers.typescript_7()),
            "nodemon": peers.Nodemon(place / "nodemon", address, first, peers.typescript_7()),
        }
        self._scripts = {name: script for name, script in scripts.items() if name not in missing}

    async def start(self) -> None:
        for script in self._scripts.values():
            script.start()
        await asyncio.sleep(2)  # for their watches to stand
        for name, script in self._scripts.items():
            taken = await self.script_changed(script, "w0")
            say(f"{name} follows its folder (first deploy {taken['serving_s']:.1f} s)")

    async def round(self, size: int, word: str) -> None:
        if size in SCRIPTED or self.report.settings["full"]:
            for name, script in self._scripts.items():
                self.report.add(size, name, await self.script_changed(script, word))

    async def script_changed(self, script: peers.Script | peers.Nodemon, word: str) -> dict[str, float]:
        await calm()
        before, start = script.marks(), time.perf_counter()
        script.put(probe(word, script.name))
        found: dict[str, float] = {}
        try:
            for stage in ("dist", "bundle") if isinstance(script, peers.Script) else ("dist",):
                done = await moment(_moved(script, stage, before[stage]), f"{script.name} made {stage}")
                found[f"{stage}_s"] = done - start
            found["serving_s"] = await served(self.client, NAME, script.name, word) - start
        except NeverError as error:
            raise NeverError(f"{error}\n{script.log()}") from None
        return found


def _moved(script: peers.Script | peers.Nodemon, stage: str, before: int) -> Any:
    return lambda: script.marks()[stage] != before


async def ours(
    report: Report, watched: Watched, in_place: Watched, size: int, word: str, before: str
) -> None:
    """A change, and the way back; the next round's change ends the pin that this leaves. And one in place."""
    report.add(size, "timewright", await watched.changed(probe(word), word))
    report.add(size, "stages", await watched.stages())
    report.add(size, ROLLED_BACK, await watched.rolled_back(before))
    report.add(size, IN_PLACE, await in_place.changed(replaced(word), word))


async def tsc_watched(watch: peers.TscWatch, word: str) -> dict[str, float]:
    await calm()
    text = f"`{word} $"
    path = watch.emitted(NAME)
    start = time.perf_counter()
    watch.write(probe(word))
    done = await moment(lambda: path.is_file() and text in path.read_text(), "tsc --watch emitted")
    return {"dist_s": done - start}


@asynccontextmanager
async def ready(host: Host, client: Client) -> AsyncIterator[Watched]:
    """The spec that will be changed is deployed and served."""
    watched = Watched(host, client, NAME, NAME)
    host.put(f"{NAME}.json", probe("first"))
    await host.until_served(NAME)
    await served(client, NAME, NAME, "first")
    host.put(f"{REPLACED}.json", replaced("first"))
    await host.until_served(REPLACED)
    yield watched
    host.remove(f"{NAME}.json")
    host.remove(f"{REPLACED}.json")


async def at_size(
    size: int, rounds: int, report: Report, server: TemporalServer, client: Client, field: Field
) -> None:
    beside = size if size >= KEPT_FROM else max(0, size - 2)  # a host that is kept has no room for them
    async with serving(beside, server, report) as host, ready(host, client) as watched:
        with ExitStack() as stack:
            watch = None
            if size in WATCHED:
                place = stack.enter_context(home("tsc-watch")) / "all"
                specs = (bulk(number) if number else probe("first") for number in range(size))
                with report.setting_up(f"start tsc --watch on {size} specs"):
                    watch = stack.enter_context(peers.tsc_watch(place, specs))
            # A host that is kept still has what an earlier run compiled: no word comes a second time.
            mark = secrets.token_hex(3)
            before = f"{mark}warm{size}"  # what each round goes back to
            await watched.changed(probe(before), before)
            in_place = Watched(host, client, REPLACED, REPLACED)
            for number in range(1, rounds + 1):
                word = f"{mark}n{size}r{number}"
                await ours(report, watched, in_place, size, word, before)
                if watch is not None:
                    report.add(size, "tsc-watch", await tsc_watched(watch, word))
                await field.round(size, word)
                _tell(report, size, number, rounds)


def _tell(report: Report, size: int, number: int, rounds: int) -> None:
    names = ("dist", "bundle", "serving")
    found = [
        f"{series.split('/')[1]} " + "/".join(_ms(report, size, series.split("/")[1], name) for name in names)
        for series in report.samples
        if series.startswith(f"{size}/") and series.endswith("/dist_s")
    ]
    say(f"{size} specs, round {number}/{rounds} (dist/bundle/serving in ms): {', '.join(found)}")


def _ms(report: Report, size: int, peer: str, name: str) -> str:
    values = report.samples.get(f"{size}/{peer}/{name}_s")
    return f"{values[-1] * 1000:.0f}" if values else "-"


async def measure(given: Options) -> None:
    report = Report("change", {**given.as_json(), "corpus": corpus_digest()})
    try:
        with home("peers") as place, temporal() as server:
            client = await Client.connect(server.address)
            field = Field(report, server, client, place)
            await field.start()
            for size in given.sizes:
                await at_size(size, given.rounds, report, server, client, field)
    finally:
        if report.samples:  # what was measured before a fault is still worth having
            say(f"written: {report.write().name}")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=5, full_rounds=15, sizes=SIZES)
    run(lambda: measure(chosen))
