"""The kill loop: made-up changes on a real host whose processes are killed in the middle of them.

After each death: the tree has whole releases only, the state file opens, and what the history showed is still
there. After each restart: the host comes to what the model says, nothing temporary is left, and no process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from temporalio.client import Client
from timewright.edge.failpoint import POINTS
from timewright.edge.releases import Releases

from tests.chaos import checks
from tests.chaos.model import BROKEN, UNLOADABLE, Model, Workflow
from tests.e2e.host import Host, run_workflow

#: Which change comes to a fault point for certain.
REACHED_BY = {
    **dict.fromkeys(["parse-ada", "before-compile", "after-compile", "before-publish"], "edit"),
    **dict.fromkeys(["after-publish", "before-seal", "after-seal", "before-link", "mid-link"], "edit"),
    **dict.fromkeys(["after-link", "before-pool-seal", "after-pool-seal", "before-pool-link"], "edit"),
    **dict.fromkeys(["after-pool-link", "before-reload", "after-reload", "before-record"], "edit"),
    **dict.fromkeys(["after-record", "before-state", "mid-state", "after-state"], "edit"),
    **dict.fromkeys(["before-collect", "mid-remove", "after-collect", "before-pool-collect"], "edit"),
    **dict.fromkeys(["before-exchange", "after-exchange"], "mend"),
    **dict.fromkeys(["before-keep", "after-keep", "before-rollout", "after-rollout"], "edit versions"),
    **dict.fromkeys(["before-pool-drop", "after-pool-drop"], "remove versions"),
    **dict.fromkeys(["before-retire", "before-unlink", "after-unlink"], "remove"),
    **dict.fromkeys(["before-rollback"], "rollback"),
    **dict.fromkeys(["before-put-back", "after-put-back"], "unloadable"),
    **dict.fromkeys(["before-hold", "after-hold"], "suspend"),
    **dict.fromkeys(["before-replace", "mid-replace", "after-replace"], "suspend"),
    **dict.fromkeys(["before-rebuild", "after-rebuild"], "lose the state"),
}
#: Points that are passed more than once in one change: any time may be the last.
OFTEN = frozenset({"before-state", "mid-state", "after-state", "mid-link"})
CHANGES = ("edit", "edit", "edit", "edit versions", "back", "break", "unloadable", "remove", "rename")
ASKED = ("rollback", "suspend", "resume", "restart", "lose the state")
SETTINGS = {
    "TIMEWRIGHT_SOURCE_MAX_DELETES": "1.0",
    "TIMEWRIGHT_SOURCE_ALLOW_EMPTY": "true",
    "TIMEWRIGHT_SOURCE_VANISH_S": "0.2",
    "TIMEWRIGHT_SOURCE_SETTLE_S": "0.2",
    "TIMEWRIGHT_WORKER_CHECK_INTERVAL_S": "1",
    "TIMEWRIGHT_RELEASES_KEEP": "2",
    "TIMEWRIGHT_RELEASES_MIN_AGE_H": "0",
    "TIMEWRIGHT_RETRY_FIRST_S": "0.5",
    "TIMEWRIGHT_RETRY_MOST_S": "2",
    "TIMEWRIGHT_ROLLOUT_SUNSET_S": "1",
    "TIMEWRIGHT_ROLLOUT_KEEP": "1",
}


class Loop:
    """One run. What it does is decided by its seed alone; when a death falls, by the machine as well."""

    def __init__(self, host: Host, client: Client, seed: int, patience: float = 90.0) -> None:
        """`patience`: seconds until what does not come to rest never will."""
        self.patience = patience
        self.host, self.client, self.random = host, client, random.Random(seed)
        self.model = Model(f"{seed}-{time.time_ns()}")
        self.story: list[str] = []
        self.shown: checks.Rows = {}
        self.doomed: set[checks.Process] = set()
        self.deaths: dict[str, int] = {}
        host.settings = {**SETTINGS, **host.settings}

    async def begin(self) -> None:
        """Three workflows with some past, and both processes."""
        self.host.start_worker()
        self.host.start_daemon()
        for _ in range(3):
            for workflow in self.model.workflows.values():
                self.edit(workflow)
            await self.settle("the beginning")

    # one step ----------------------------------------------------------------------------------

    async def step(self, point: str = "") -> None:
        """One change, with a death in it: at a fault point, or anywhere."""
        if point:
            await self._at_point(point)
        else:
            await self._anywhere()

    async def _anywhere(self) -> None:
        change = self.random.choice((*CHANGES, *ASKED))
        victim = self.random.choice(("daemon", "daemon", "daemon", "worker", "compiler", "both"))
        wait = self.random.choice((0.0, 0.1, 0.3, 0.6, 1.0, 1.5)) * self.random.random() * 1.3
        self.story.append(f"{change}, then the {victim} dies after {wait:.2f} s")
        workflow = await self.ready(change)
        self.note()
        await self.change(change, workflow)
        await asyncio.sleep(wait)
        await self.kill(victim)
        await self.settle(self.story[-1])

    async def _at_point(self, point: str) -> None:
        change, times = REACHED_BY[point], 1
        if point in OFTEN:
            times = self.random.choice((1, 2))
        self.story.append(f"{change}, and the daemon dies at {point} (time {times})")
        asked = change in ("rollback", "suspend")
        workflow = await self.ready(change, "ada" if "versions" not in change and not asked else "")
        if point in POINTS["retention"]:
            await self._age()
        self.note()
        await self.kill("daemon", start=False)
        if not asked:
            await self.change(change, workflow)
        armed = f"parse-{Path(workflow.file).stem}" if point == "parse-ada" else point  # it may be renamed
        self.host.start_daemon(TIMEWRIGHT_FAILPOINT=f"{armed}=kill:{times}")
        daemon = self.host.daemon
        assert daemon is not None
        if asked:
            await self.host.until("the armed daemon is up", self.host.is_ready)
            self.note()
            await self.change(change, workflow)
        await self.host.until(f"the daemon dies at {point}", lambda: daemon.poll() is not None, 120)
        assert daemon.returncode == -signal.SIGKILL, self.host.tail()
        self.deaths[point] = self.deaths.get(point, 0) + 1
        self.look_at_the_dead()
        self.host.start_daemon()
        await self.settle(self.story[-1])

    async def _age(self) -> None:
        """Enough releases that one more has others collected."""
        while len(Releases(self.host.data).kept("ada")) < 3:
            self.edit(self.model.workflows["ada"])
            await self.settle("age")

    # changes -----------------------------------------------------------------------------------

    async def ready(self, change: str, named: str = "") -> Workflow:
        """The workflow to change, in a state in which that change comes to something."""
        choice = self.random.choice(("ada", "bob", "ada", "bob", "cyd"))
        if change.endswith(" versions"):
            choice = "cyd"
        workflow = self.model.workflows[named or choice]
        if workflow.suspended and change != "resume":
            await self._ask("resume", workflow)
            await self.settle("resumed")
        if workflow.live is None and change not in ("edit", "back", "resume", "restart"):
            self.edit(workflow)
            await self.settle("something to change")
        others = [one for one in self.model.workflows.values() if one is not workflow]
        if change == "remove" and all(one.word is None for one in others):
            self.edit(others[0])  # an empty source undeploys nothing
            await self.settle("something that stays")
        if change in ("rollback", "suspend") and (workflow.pinned or workflow.fault):
            self.edit(workflow)
            await self.settle("something to ask for")
        if change == "rollback" and self.host.status(workflow.name).get("previousRelease") is None:
            self.edit(workflow)  # it was removed and came back: there is nothing before it
            await self.settle("something to go back to")
        while change == "mend" and not self._earlier(workflow):
            self.edit(workflow)
            await self.settle("something to mend")
        return workflow

    async def change(self, change: str, workflow: Workflow) -> None:
        """Make one change of the source, or ask for one; the model learns what has to come of it."""
        name = {"lose the state": "lose_the_state", "break": "break_"}.get(change, change.split()[0])
        action: Callable[[Workflow], object] = getattr(self, name)
        outcome = action(workflow)
        if asyncio.iscoroutine(outcome):
            await outcome

    def edit(self, workflow: Workflow) -> None:
        self._put(workflow, self.model.fresh())

    def back(self, workflow: Workflow) -> None:
        """The source goes back to an earlier word."""
        self._put(workflow, self.random.choice(workflow.known or [self.model.fresh()]))

    def mend(self, workflow: Workflow) -> None:
        """The source goes back to a release that was damaged meanwhile: it is built anew in its place."""
        for code, word in self._earlier(workflow)[:1]:
            code.write_text(code.read_text() + "// damaged\n")
            self._put(workflow, word)

    def _earlier(self, workflow: Workflow) -> list[tuple[Path, str]]:
        """Code of releases that are kept and not live, and the word that each was made of."""
        releases, live = Releases(self.host.data), self.host.release(workflow.name)
        kept = [one.release for one in releases.kept(workflow.name) if one.release != live]
        codes = [releases.path(workflow.name, name) / "dist" / "workflow.js" for name in kept]
        return [(code, word) for code in codes for word in workflow.known if f"{word} " in code.read_text()]

    def break_(self, workflow: Workflow) -> None:
        self._put(workflow, self.model.fresh(), BROKEN)

    def unloadable(self, workflow: Workflow) -> None:
        self._put(workflow, self.model.fresh(), UNLOADABLE)

    def remove(self, workflow: Workflow) -> None:
        if workflow.file:
            self.host.remove(workflow.file)
        workflow.removed()

    def rename(self, workflow: Workflow) -> None:
        if workflow.file:
            old, workflow.file = workflow.file, f"{workflow.name}-{self.model.fresh()}.json"
            (self.host.specs / old).rename(self.host.specs / workflow.file)

    async def rollback(self, workflow: Workflow) -> None:
        status = await asyncio.to_thread(self.host.status, workflow.name)
        before = status.get("previousRelease")
        if before is None or workflow.fault or workflow.pinned:
            return
        code = Releases(self.host.data).path(workflow.name, before) / "dist" / "workflow.js"
        word = next((one for one in reversed(workflow.known) if f"{one} " in code.read_text()), None)
        if word is not None and word != workflow.live and await self._ask("rollback", workflow):
            workflow.goes_live(word)
            workflow.pinned = True

    async def suspend(self, workflow: Workflow) -> None:
        await self._ask("suspend", workflow)

    async def resume(self, workflow: Workflow) -> None:
        if workflow.suspended:
            await self._ask("resume", workflow)

    async def restart(self, _: Workflow) -> None:
        assert await asyncio.to_thread(self.host.stop_daemon) == 0, self.host.tail()
        self.host.start_daemon()

    async def lose_the_state(self, _: Workflow) -> None:
        await self.kill("daemon", start=False)
        for path in self.host.data.glob("state.db*"):
            path.unlink()
        self.shown = {}

    def _put(self, workflow: Workflow, word: str, fault: str = "") -> None:
        workflow.file = workflow.file or f"{workflow.name}.json"
        workflow.says(word, fault)
        self.host.put(workflow.file, workflow.spec())

    async def _ask(self, verb: str, workflow: Workflow) -> bool:
        """Ask over the API. Whether it was acknowledged: if not, the model learns what came of it."""
        if not self._running():
            self.host.start_daemon()
        daemon = self.host.daemon
        assert daemon is not None
        await self.host.until("the API is up", lambda: self.host.is_ready() or daemon.poll() is not None)
        try:
            await asyncio.to_thread(
                self.host.api, "POST", f"/api/v1/workflows/{workflow.name}/{verb}", {"reason": "chaos"}
            )
            acknowledged = True
        except httpx.TransportError:
            acknowledged = False
        if verb == "suspend":
            workflow.suspended = acknowledged
            self._unsure = None if acknowledged else workflow
        elif verb == "resume" and acknowledged:
            workflow.resumed()
        elif verb == "rollback" and not acknowledged:
            self._unsure = workflow
        return acknowledged

    _unsure: Workflow | None = None

    def _running(self) -> bool:
        return self.host.daemon is not None and self.host.daemon.poll() is None

    # deaths ------------------------------------------------------------------------------------

    def note(self) -> None:
        """Remember what is seen before a death: the history that was shown, and who belongs to whom."""
        with contextlib.suppress(Exception):
            self.shown = checks.rows(self.host.data)
        for process in (self.host.daemon, self.host.worker):
            if process is not None and process.poll() is None:
                self.doomed |= checks.family(process.pid)

    async def kill(self, victim: str, *, start: bool = True) -> None:
        """SIGKILL to a process; what it leaves is looked at, and it is started again."""
        self.note()
        self.deaths[victim] = self.deaths.get(victim, 0) + 1
        if victim == "compiler":
            daemon = self.host.daemon
            if daemon is not None and daemon.poll() is None:
                for pid, _ in sorted(checks.family(daemon.pid))[:1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        if victim in ("daemon", "both"):
            await asyncio.to_thread(self.host.kill_daemon)
            self.look_at_the_dead()
        if victim in ("worker", "both"):
            await asyncio.to_thread(self.host.kill_worker)
            self.host.start_worker()
        if not self._running() and start:
            self.host.start_daemon()

    def look_at_the_dead(self) -> None:
        """What holds at any instant after a death, before anybody mends it."""
        where = self.where()
        if not (self.host.data / "state.db").exists():
            return
        found = checks.damage(self.host.data, full=False)
        assert found == [], f"{found}, {where}"
        lost = checks.lost_rows(self.shown, checks.rows(self.host.data))
        assert lost == [], f"{lost}, {where}"

    # rest --------------------------------------------------------------------------------------

    async def settle(self, what: str) -> None:
        """Wait until the host is where the model says; then look at everything."""
        if not self._running():
            self.host.start_daemon()
        if self._unsure is not None:
            await self._learn(self._unsure)
        wrong: list[str] = []

        def right() -> bool:
            wrong[:] = [line for one in self.model.workflows.values() if (line := self.wrong(one))]
            if not wrong:  # retention and pools may still be at work
                wrong.extend((*checks.leftovers(self.host.data), *checks.damage(self.host.data)))
            return not wrong

        try:
            await self.host.until("", right, self.patience)
        except AssertionError as error:
            short = "\n".join(line[:500] for line in str(error).splitlines())
            raise AssertionError(
                f"{what}: it does not come to rest: {wrong}, {self.where()}\n{short}"
            ) from None
        lost = checks.lost_rows(self.shown, checks.rows(self.host.data))
        assert lost == [], f"{lost}, {self.where()}"
        await self._bury()

    async def _learn(self, workflow: Workflow) -> None:
        """A wish that nobody answered has arrived or has not; after that it stays so."""
        await self.host.until("the daemon is up", self.host.is_ready)
        self._unsure = None

        def rests() -> bool:
            return self.host.status(workflow.name).get("status") not in ("ROLLING_BACK", "DEPLOYING")

        await asyncio.sleep(1.0)
        await self.host.until("the wish is done with", rests)
        status = self.host.status(workflow.name)
        workflow.suspended = status.get("suspended") is not None
        if status.get("status") == "ROLLED_BACK":
            code = (self.host.data / "workflows" / workflow.name / "dist" / "workflow.js").read_text()
            workflow.goes_live(next(one for one in reversed(workflow.known) if f"{one} " in code))
            workflow.pinned = True

    def wrong(self, workflow: Workflow) -> str:
        """What is not as the model says; '' for nothing."""
        status, release = self.host.status(workflow.name), self.host.release(workflow.name)
        said = status.get("status", "")
        if workflow.statuses and said not in workflow.statuses:
            return f"{workflow.name} is {said}, not {workflow.statuses}"
        if workflow.live is None:
            return f"{workflow.name} is live" if release is not None else ""
        link = self.host.data / "workflows" / workflow.name / "dist" / "workflow.js"
        if release is None or f"{workflow.live} " not in link.read_text():
            return f"{workflow.name} is {said} and {release}, and does not say {workflow.live}"
        if status.get("health") != ("Suspended" if workflow.suspended else "Healthy"):
            return f"{workflow.name} is {status.get('health')}: {status.get('healthReason')}"
        return ""

    async def _bury(self) -> None:
        """Nobody outlives a parent that was killed."""
        ours = {
            one
            for process in (self.host.daemon, self.host.worker)
            if process is not None
            for one in checks.family(process.pid)
        }
        await self.host.until(
            f"no orphan is left {checks.named(self.doomed - ours)}",
            lambda: not (checks.alive(self.doomed) - self._families()),
            20,
        )
        self.doomed.clear()

    def _families(self) -> set[checks.Process]:
        found: set[checks.Process] = set()
        for process in (self.host.daemon, self.host.worker):
            if process is not None and process.poll() is None:
                found |= checks.family(process.pid)
        return found

    async def serves(self) -> None:
        """What is live is what an execution gets."""
        for one in self.model.workflows.values():
            if one.live is not None:
                said = await run_workflow(self.client, one.name, "x", queue=one.queue)
                assert said == f"{one.live} x", self.where()

    def where(self) -> str:
        return "in: " + " → ".join(self.story[-3:])


async def run(loop: Loop, operations: int) -> None:
    """So many operations: every other at a fault point, all of them in turn."""
    await loop.begin()
    points = list(REACHED_BY)
    loop.random.shuffle(points)
    for number in range(operations):
        await loop.step(points[(number // 2) % len(points)] if number % 2 else "")
        if number % 5 == 4:
            await loop.serves()
    await loop.serves()
