"""The world as a state machine: changes, deaths, full disks, lost files, a source that goes, a wrong clock.

Tree, pools, state file, holds and passes are real; the compiler is the mock mode and the worker one that says
yes. A death at a fault point is a copy of the disk at that instant, and an exception that no code catches;
then all objects are dropped, and the copy is what the next start finds. tests/e2e/test_kill_loop.py does the
same with real deaths.

What may never be: a reader sees half a release; something is undeployed by a source that was not read
completely, or is empty; a row of history is gone; what is live is nothing that anybody ever asked for. And
when the faults stop, the host comes to what the source says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from structlog.testing import capture_logs
from timewright.config import Compiler as CompilerSettings
from timewright.config import Config, Data, Releases, Retry, Source, Worker
from timewright.control import Actor, Control, Role
from timewright.core.errors import RequestError, TimewrightError
from timewright.core.state import Pinned, Status
from timewright.edge import failpoint
from timewright.edge.lock import DataLock
from timewright.edge.statefile import Event
from timewright.edge.worker import Reloaded, WorkerHost
from timewright.reconcile import Reconciler
from timewright.service import locked, opened
from timewright.waking import Named
from timewright.world import World

from tests.chaos import checks
from tests.e2e.specs import greeter

NAMES = ("ada", "bob", "cyd")
ROOT = Actor("root", Role.ADMIN)
DAY = 86_400.0
#: A tree in memory, where there is one: no power fails here, so nothing has to wait for a disk.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
STATE = ("before-state", "mid-state", "after-state", "before-record", "after-record")
SMALL = ("before-hold", "before-replace", "mid-replace", "after-replace", "after-hold")
DEPLOY = (
    *("before-compile", "after-compile", "before-publish", "before-seal", "after-seal", "after-publish"),
    *("before-link", "mid-link", "after-link", "before-pool-seal", "after-pool-seal", "before-pool-link"),
    *("after-pool-link", "before-reload", "after-reload", "before-collect", "mid-remove", "after-collect"),
    *("before-pool-collect", *STATE),
)
UNDEPLOY = ("before-retire", "before-pool-drop", "after-pool-drop", "before-unlink", "after-unlink", *STATE)
BACK = ("before-rollback", "before-link", "mid-link", "after-link", *STATE, *SMALL)
#: Which points each step can come to.
REACHED_BY = {
    **dict.fromkeys(("edit", "back", "redeploy", "resume", "rename", "nothing"), DEPLOY),
    **dict.fromkeys(("break_", "half"), STATE),
    "unloadable": (*DEPLOY, "before-put-back", "after-put-back"),
    "remove": UNDEPLOY,
    "damage": ("before-exchange", "after-exchange", *DEPLOY),
    "rollback": BACK,
    "suspend": SMALL,
    "condemn": ("before-revert-pin", *BACK),
}
REFUSED = "UNLOADABLE"  # a word that the worker can't load


class KilledError(BaseException):
    """The daemon dies here."""


class YesWorker(WorkerHost):
    """A worker host that serves what it is told to, but for the word that can't be loaded."""

    def __init__(self, data: Path) -> None:
        self._data = data

    async def close(self) -> None:
        """It has no connection."""

    async def reload(
        self, workflow_id: str, *, action: str, release: str = "", version: str = ""
    ) -> Reloaded:
        code = self._data / "releases" / workflow_id / release / "src" / "workflow.ts"
        if release and REFUSED in code.read_text():
            return Reloaded(False, "LoadFailed", "no such luck", failed={workflow_id: "no such luck"})
        return Reloaded(True)

    async def sync(self) -> bool:
        return True


class Inline(ThreadPoolExecutor):
    """Threads that are none: what a step does happens in one order, the same each time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


CHANGES = ("edit", "edit", "edit", "back", "unloadable", "break_", "half", "remove", "remove", "rename")
ASKED = ("rollback", "suspend", "resume", "resume", "redeploy", "condemn", "condemn", "damage")


class Machine(RuleBasedStateMachine):
    """One host. `source`: what lies in the folder, by workflow; `said`: all that it ever said of each."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="timewright-model-", dir=MEMORY))
        self.quiet = contextlib.ExitStack()
        self.quiet.enter_context(capture_logs())  # to print the trace of a death takes seconds
        self.runner = asyncio.Runner()
        self.runner.get_loop().set_default_executor(Inline())
        self.now = 1_700_000_000.0
        self.words = 0
        self.source: dict[str, str | None] = dict.fromkeys(NAMES)  # a word, "" for a broken spec, None
        self.files = {name: f"{name}.json" for name in NAMES}
        self.said: dict[str, set[str]] = {name: set() for name in NAMES}
        self.away = False
        self.rows: dict[int, Event] = {}
        self.lives: dict[str, str] = {}  # what was live before this step, and its word
        self.world: World | None = None

    @property
    def specs(self) -> Path:
        return self.home / "specs"

    @property
    def folder(self) -> Path:
        """Where the specs are, mounted or not."""
        return self.home / "specs.away" if self.away else self.specs

    @initialize()
    def begin(self) -> None:
        self.specs.mkdir()
        for name in NAMES:
            self.says(name)
        self.start()
        self.run_pass()

    # the daemon's life -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon on what is there."""
        config = Config(
            base=self.home,
            source=Source(path="specs", prune=True, max_deletes=1.0, vanish_s=5.0, settle_s=0.0),
            data=Data(directory="data"),
            worker=Worker(url="http://127.0.0.1:9", reload_timeout_s=1.0),
            compiler=CompilerSettings(mode="off"),
            releases=Releases(keep=1, min_age_h=0.0),
            retry=Retry(tries=100, first_s=1.0, most_s=2.0),
        )
        self.config = replace(config, rollout=replace(config.rollout, strategy="off"))
        self.closing = contextlib.AsyncExitStack()
        self.closing.enter_context(locked(self.config))
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.world = await self.closing.enter_async_context(opened(self.config))
        self.world.clock = lambda: self.now
        self.world.learn_versioning(False)  # nobody looks for a Temporal server
        await self.world.worker.close()
        self.world.worker = YesWorker(self.config.data_path)
        self.reconciler = Reconciler(self.world)
        self.control = Control(self.world, self.reconciler)

    def end(self) -> None:
        """Drop all objects, whatever they are at; what a live daemon does at its end is not done."""
        self.runner.run(self._end())
        failpoint.disarm()
        self.world = None

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        with contextlib.suppress(KilledError, OSError, sqlite3.Error):
            await self.closing.aclose()

    def run_pass(self) -> None:
        """Two passes to their ends, some seconds apart, with whatever is armed; a daemon that dies is started
        again."""
        assert self.world is not None
        try:
            for _ in range(2):
                self.now += 6.0
                self.runner.run(self._pass())
        except KilledError:
            self.dead = True
        except (OSError, sqlite3.Error) as error:  # as in service.py: told, and tried again
            note(f"the pass failed: {error}")
        failpoint.disarm()
        if self.dead:
            self.end()
            shutil.rmtree(self.home / "data")
            (self.home / "data.dead").rename(self.home / "data")
            self.dead = False
            self.look()
            self.start()
            self.nothing_is_lost()
            self.runner.run(self._pass())

    dead = False
    named = Named()  # what an event or a person told the daemon to look at first

    def arm(self, what: str, data: st.DataObject) -> None:
        """Have a step die, or find no room, or neither, at one of the points that it comes to."""
        kind = data.draw(st.sampled_from(("die", "die", "die again", "full", "")))
        point = data.draw(st.sampled_from(REACHED_BY[what]))
        if kind == "full":
            database = point.endswith(("state", "record"))
            failpoint.arm(point, full_database if database else failpoint.parsed("raise:ENOSPC"))
        elif kind:
            failpoint.arm(point, self._deadly(1 if kind == "die" else 2))

    def _deadly(self, left: int) -> Callable[[], None]:
        def fault() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                if not self.dead:
                    self.dead = True
                    shutil.copytree(self.home / "data", self.home / "data.dead", symlinks=True)
                raise KilledError

        return fault

    async def _pass(self) -> None:
        named, self.named = self.named, Named()
        if named and await self.reconciler.run_nearby(named):  # as the daemon does where it was told of this
            await self.reconciler.settled()
        await self.reconciler.run_pass()
        await self.reconciler.settled()

    def live(self) -> dict[str, str]:
        """What a reader of the tree finds live: the word of each workflow."""
        found = {}
        for name in NAMES:
            link = self.home / "data" / "workflows" / name
            if link.is_symlink():
                found[name] = _word((link / "src" / "workflow.ts").read_text())
        return found

    # the source --------------------------------------------------------------------------------

    def says(self, name: str, word: str | None = None) -> None:
        self.words += 1
        word = word or f"word{self.words}"
        self.source[name] = word
        self.said[name].add(word)
        self.write(name, json.dumps(greeter(name, word, queue="own" if name == "cyd" else "shared")))

    def write(self, name: str, text: str) -> None:
        aside = self.folder / f".{name}.part"
        aside.write_text(text)
        aside.rename(self.folder / self.files[name])

    @rule(name=st.sampled_from(NAMES), what=st.sampled_from(CHANGES), data=st.data())
    def change(self, name: str, what: str, data: st.DataObject) -> None:
        self._change(name, what, data)

    @rule(name=st.sampled_from(NAMES), what=st.sampled_from(CHANGES), data=st.data())
    def change_again(self, name: str, what: str, data: st.DataObject) -> None:
        self._change(name, what, data)

    @rule(name=st.sampled_from(NAMES), what=st.sampled_from(CHANGES), data=st.data())
    def change_more(self, name: str, what: str, data: st.DataObject) -> None:
        self._change(name, what, data)

    def _change(self, name: str, what: str, data: st.DataObject) -> None:
        getattr(self, what)(name)
        if data.draw(st.booleans()):
            self.named = Named(files=frozenset([self.files[name]]))
        self.arm(what, data)
        self.run_pass()

    def edit(self, name: str) -> None:
        self.says(name)

    def back(self, name: str) -> None:
        """The source says what it said before."""
        known = sorted(self.said[name] - {REFUSED})
        self.says(name, known[-2] if len(known) > 1 else known[0])

    def unloadable(self, name: str) -> None:
        self.says(name, REFUSED)

    def break_(self, name: str) -> None:
        self.source[name] = ""
        self.write(name, json.dumps({"workflowId": name}))

    def half(self, name: str) -> None:
        self.source[name] = ""
        self.write(name, '{"workflowId": "')

    def remove(self, name: str) -> None:
        (self.folder / self.files[name]).unlink(missing_ok=True)
        self.source[name] = None

    def rename(self, name: str) -> None:
        old = self.folder / self.files[name]
        self.words += 1
        self.files[name] = f"{name}-{self.words}.json"
        if old.exists():
            old.rename(self.folder / self.files[name])

    def nothing(self, name: str) -> None:
        """Only time goes by."""

    @rule(empty=st.booleans(), name=st.sampled_from((*NAMES, "")))
    def lose_the_source(self, empty: bool, name: str) -> None:
        """The disk that the source is on goes away (an empty folder may lie where it was), a spec may change
        there meanwhile, and it comes back."""
        self.specs.rename(self.home / "specs.away")
        self.away = True
        if empty:
            self.specs.mkdir()
        self.run_pass()
        self.nothing_is_lost()
        if name:
            self.says(name)
        if empty:
            self.specs.rmdir()
        (self.home / "specs.away").rename(self.specs)
        self.away = False
        self.run_pass()

    # people ------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), verb=st.sampled_from(ASKED), data=st.data())
    def ask(self, name: str, verb: str, data: st.DataObject) -> None:
        self._ask(name, verb, data)

    @rule(name=st.sampled_from(NAMES), verb=st.sampled_from(ASKED), data=st.data())
    def ask_more(self, name: str, verb: str, data: st.DataObject) -> None:
        self._ask(name, verb, data)

    def _ask(self, name: str, verb: str, data: st.DataObject) -> None:
        self.arm(verb, data)
        with contextlib.suppress(RequestError, KilledError, OSError, sqlite3.Error):
            if verb == "condemn":
                self._condemn(name)
            elif verb == "damage":
                self._damage(name)
            else:
                getattr(self.control, verb)(ROOT, name)
        if data.draw(st.booleans()):
            self.named = Named(workflows=frozenset([name]))
        self.run_pass()

    def _condemn(self, name: str) -> None:
        """The worker host tells that the live release crashes."""
        assert self.world is not None
        record = self.world.record(name)
        if record.status is Status.DEPLOYED and record.pin is None and not record.suspension:
            self.world.note(record, condemned="it crashed")

    # faults ------------------------------------------------------------------------------------

    @rule()
    def kill(self) -> None:
        self.end()
        self.start()
        self.run_pass()

    @rule()
    def lose_the_state(self) -> None:
        self.end()
        for path in (self.home / "data").glob("state.db*"):
            path.unlink()
        self.rows = {}
        self.start()
        self.run_pass()

    def _damage(self, name: str) -> None:
        """A disk that forgets: a kept release, and not the live one, has another content. Then the source
        wants just that."""
        assert self.world is not None
        for receipt in self.world.releases.kept(name):
            if receipt.release != self.world.releases.current(name):
                code = self.world.releases.path(name, receipt.release) / "src" / "workflow.ts"
                word = _word(code.read_text())
                code.write_text(code.read_text() + "// damaged")
                if word in self.said[name]:
                    self.says(name, word)
                break

    @rule(seconds=st.sampled_from([1.0, 10.0, DAY, 400 * DAY, -400 * DAY, -10.0]))
    def skew_the_clock(self, seconds: float) -> None:
        self.now += seconds
        self.run_pass()

    @rule()
    def start_a_second_daemon(self) -> None:
        with pytest.raises(TimewrightError, match="another timewright works on"):
            DataLock(self.config.data_path / "timewright.lock").acquire()

    # what always holds -------------------------------------------------------------------------

    def look(self) -> None:
        """What a reader sees, at any instant."""
        assert checks.damage(self.home / "data", full=False) == []
        for name, word in self.live().items():
            assert word in self.said[name], f"{name} says {word}, which nobody asked for"

    @invariant()
    def nothing_is_lost(self) -> None:
        if self.world is None:
            return
        self.look()
        rows = checks.rows(self.home / "data")
        assert checks.lost_rows(self.rows, rows) == []
        self.rows = rows
        gone = set(self.lives) - set(self.live())
        for name in gone:
            assert not self.away, f"{name} was undeployed by a source that is away"
            refused = self.lives[name] == REFUSED  # it had died before the worker host could say so
            assert self.source[name] is None or refused, f"{name} was undeployed, and its spec is there"
            assert any(self.source.values()) or "" in self.source.values(), f"{name}: the source was empty"
        for name, word in self.live().items():
            receipt = self.world.receipts.get(name)
            known = receipt and (name, receipt.digest) in self.world.bad
            pin = self.world.record(name).pin
            assert not known or word == self.lives.get(name), (
                f"{name} went live again, and was reverted: {pin}"
            )
        self.lives = self.live()

    def teardown(self) -> None:
        try:
            if self.world is not None:
                self.converges()
        finally:
            if self.world is not None:
                self.end()
            self.runner.close()
            self.quiet.close()
            _remove(self.home)

    def converges(self) -> None:
        """The faults stop; every wish of a person is taken back; the host comes to what the source says."""
        failpoint.disarm()
        assert self.world is not None
        for name in NAMES:
            with contextlib.suppress(RequestError):
                self.control.resume(ROOT, name)
        before = self.live()
        self.end()
        self.start()
        assert self.world is not None
        for _ in range(4):
            self.now += 30.0
            self.run_pass()
        after, empty = self.live(), not any(word is not None for word in self.source.values())
        for name, word in self.source.items():
            record = self.world.record(name)
            where = f"{name} should be {word!r}, says {after.get(name)!r}, was {before.get(name)!r}: {record}"
            back = record.pin is not None and record.pin.kind in (Pinned.ROLLBACK, Pinned.REVERT)
            if back and record.pin is not None and (word is not None or not record.pin.against):
                assert name in after, where
                receipt = self.world.receipts[name]
                assert receipt.digest == record.pin.digest or record.failure is not None, where
            elif word is None:
                assert (name not in after) or empty, where
            elif word in ("", REFUSED):
                assert after.get(name) == before.get(name) or word == "", where
                assert record.failure is not None or self.world.state.refused() or name not in after, where
            elif record.failure is not None and record.failure.reason == "KnownBad":
                assert any(known == name for known, _ in self.world.bad), where
            else:
                assert record.status is Status.DEPLOYED, where
                assert after.get(name) == word, where
        assert checks.damage(self.home / "data", full=True) == [] or self.damaged()
        assert checks.leftovers(self.home / "data") == []

    def damaged(self) -> bool:
        """Whether all damage that is left was made by `damage`, in releases that nobody asked for since."""
        return all("src/workflow.ts" in line for line in checks.damage(self.home / "data", full=True))


def _word(code: str) -> str:
    """What a workflow says."""
    return code.partition("return `")[2].partition(" ")[0]


def full_database() -> None:
    raise sqlite3.OperationalError("database or disk is full")


def _remove(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)


Machine.TestCase.settings = settings(
    max_examples=int(os.environ.get("EXAMPLES", "12")),
    stateful_step_count=16,
    deadline=None,
    derandomize="EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestTheWorld: Any = Machine.TestCase
