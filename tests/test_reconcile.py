"""Passes over a real tree, a real state file and a real HTTP worker. The compiler is the mock mode:
what it does is tested elsewhere; here it may be slow or fail when a test says so."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.build import Builder
from timewright.config import Config, Data, Source, Worker
from timewright.core.errors import DeployError, Reason
from timewright.core.state import Health, Status
from timewright.core.verdict import Serving, Slot
from timewright.edge import failpoint, source
from timewright.edge.compiler import CompileJob, Compiler, CompileResult
from timewright.edge.statefile import Event
from timewright.edge.worker import Reloaded
from timewright.pooling import Pooling
from timewright.reconcile import Reconciler
from timewright.service import opened
from timewright.world import World

from tests.e2e.specs import greeter
from tests.support import leftovers


class PlainWorker:
    """A worker as people have one: it knows POST /workflows/reload and nothing else."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []
        self.status = 200
        self.gate: asyncio.Event | None = None  # answers wait for it
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        for writer in self._writers:  # of calls that a test never let go on
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:  # they hung up before they asked
            writer.close()
            return
        length = next(
            (int(x.split(":")[1]) for x in head.splitlines() if x.lower().startswith("content-l")), 0
        )
        body = await reader.readexactly(length)
        status, answer = 404, b"{}"
        if head.startswith("POST /workflows/reload"):
            self.calls.append(json.loads(body))
            if self.gate is not None:
                await self.gate.wait()
            status, answer = self.status, json.dumps({"success": self.status == 200}).encode()
        writer.write(
            b"HTTP/1.1 %d X\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (status, len(answer))
        )
        writer.write(answer)
        await writer.drain()
        writer.close()


class FussyCompiler(Compiler):
    """The mock compiler, which waits for `gate` and fails as long as there are `failures`."""

    gate: asyncio.Event | None = None
    failures: list[DeployError]
    jobs = 0

    async def compile(self, job: CompileJob) -> CompileResult:
        self.jobs += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        return await super().compile(job)


class Bench:
    """A world to run passes on, with a clock that a test sets."""

    def __init__(self, world: World, specs: Path, worker: PlainWorker) -> None:
        self.world, self.specs, self.worker = world, specs, worker
        self.now = 1_000_000.0
        world.clock = lambda: self.now
        self.compiler = FussyCompiler(world.config.toolchain_path, specs.parent / "cache", mode="off")
        self.compiler.failures = []
        world.compiler = self.compiler
        self.reconciler = Reconciler(world)

    def put(self, name: str, word: str) -> None:
        (self.specs / f"{name}.json").write_text(json.dumps(greeter(name, word)))

    async def settle(self) -> None:
        await self.reconciler.run_pass()
        await self.reconciler.settled()

    def story(self, name: str) -> list[Event]:
        """The transitions of a workflow's status."""
        return [event for event in self.world.state.history(name) if event.kind == "status"]

    def history(self, name: str) -> list[str]:
        return [event.new for event in self.story(name)]


@asynccontextmanager
async def _bench(home: Path) -> AsyncIterator[Bench]:
    worker = PlainWorker()
    await worker.start()
    (home / "specs").mkdir(exist_ok=True)
    config = replace(
        Config(base=home),
        source=Source(path="specs"),
        data=Data(directory="data"),
        worker=Worker(url=f"http://127.0.0.1:{worker.port}", reload_timeout_s=2.0),
    )
    config = replace(config, compiler=replace(config.compiler, mode="off"))
    try:
        async with opened(config) as world:
            bench = Bench(world, home / "specs", worker)
            yield bench
            await bench.reconciler.close()
    finally:
        await worker.stop()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        yield found


async def test_the_compiler_starts_when_the_trees_are_there_that_it_is_let_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it could read no release until its next start: a cage is made of what is there."""
    seen: list[bool] = []

    async def start(compiler: Compiler) -> None:
        seen.extend(tree.is_dir() for tree in compiler.trees)

    monkeypatch.setattr(Compiler, "start", start)
    async with _bench(tmp_path):
        pass
    assert seen == [True, True]


async def test_a_compiler_that_was_too_busy_to_start_is_tried_again_beside_the_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why, tried = ["the warm compiler failed its self-test: TimeoutError"], asyncio.Event()

    async def recover(_: Compiler) -> None:
        tried.set()
        why.clear()

    monkeypatch.setattr(Compiler, "fallback", property(lambda _: "".join(why)))
    monkeypatch.setattr(Compiler, "recover", recover)
    async with _bench(tmp_path) as bench, asyncio.timeout(10):
        await tried.wait()
        bench.put("one", "x")
        await bench.settle()


async def test_a_worker_that_only_knows_reload_is_told_the_workflow_id(bench: Bench) -> None:
    bench.put("one", "x")
    await bench.settle()
    assert [call["workflowId"] for call in bench.worker.calls] == ["one"]
    await bench.reconciler.health.check()
    assert bench.world.record("one").health is Health.HEALTHY


@pytest.mark.parametrize("trouble", ["down", "answers 500"])
async def test_a_failed_notification_fails_no_deploy_and_is_made_up_for_later(
    bench: Bench, trouble: str
) -> None:
    bench.put("one", "x")
    if trouble == "down":
        await bench.worker.stop()
    bench.worker.status = 500
    await bench.settle()
    record = bench.world.record("one")
    assert (record.status, record.health) == (Status.DEPLOYED, Health.DEGRADED)
    assert record.health_reason.startswith("WaitingForWorker")

    bench.worker.status = 200
    if trouble == "down":
        await bench.worker.start()
    await bench.reconciler.health.check()
    assert bench.world.record("one").health is Health.HEALTHY


async def test_what_a_full_disk_left_live_and_the_worker_refuses_gives_way_to_what_was_live(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link was swapped, there was no room for more, not even to swap it back; then there is."""
    bench.put("one", "x")
    await bench.settle()
    before = bench.world.record("one").applied
    bench.put("one", "y")
    failpoint.arm("after-link", failpoint.parsed("raise:ENOSPC"))
    try:
        await bench.settle()
    finally:
        failpoint.disarm()
    assert bench.world.record("one").failure is not None
    assert (bench.world.releases.links / "one").resolve().name != before[:12], "it went live"

    async def refuses(*_: object, **__: object) -> Reloaded:
        return Reloaded(False, "LoadFailed", "no such luck", failed={"one": "no such luck"})

    monkeypatch.setattr(bench.world.worker, "reload", refuses)
    bench.now += 1000
    await bench.settle()
    assert (bench.world.releases.links / "one").resolve().name == before[:12]
    assert bench.world.record("one").status is Status.DEPLOYMENT_FAILED
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYMENT_FAILED


async def test_a_transient_failure_is_tried_again_when_its_wait_is_over_and_not_before(bench: Bench) -> None:
    bench.put("one", "x")
    bench.compiler.failures = [DeployError(Reason.COMPILER_UNAVAILABLE, "it was killed")]
    await bench.settle()
    record = bench.world.record("one")
    assert record.status is Status.DEPLOYMENT_FAILED
    assert record.retry_at is not None
    assert 5 <= record.retry_at - bench.now <= 6

    await bench.settle()
    assert bench.compiler.jobs == 1
    bench.now = record.retry_at
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYED
    assert bench.world.record("one").attempts == 0


async def test_a_spec_that_is_wrong_is_not_tried_again_until_it_changes(bench: Bench) -> None:
    bench.put("one", "x")
    bench.compiler.failures = [DeployError(Reason.TYPE_CHECK_FAILED, "no")]
    await bench.settle()
    bench.now += 1e6
    await bench.settle()
    assert bench.compiler.jobs == 1
    bench.put("one", "y")
    await bench.settle()
    assert bench.history("one")[-1] == Status.DEPLOYED


async def test_a_newer_spec_cancels_the_work_on_the_older_one(bench: Bench) -> None:
    bench.compiler.gate = asyncio.Event()
    bench.put("one", "old")
    await bench.reconciler.run_pass()
    await asyncio.sleep(0.05)
    bench.put("one", "new")
    await bench.reconciler.run_pass()
    bench.compiler.gate.set()
    await bench.reconciler.settled()
    assert bench.history("one") == [Status.DEPLOYING, Status.DEPLOYING, Status.DEPLOYED]
    live = bench.world.releases.links / "one" / "src" / "workflow.ts"
    assert "new" in live.read_text()
    assert len(list((bench.world.releases.root / "one").iterdir())) == 1


@pytest.mark.parametrize("stage", ["type check", "seal", "pool", "notify"])
async def test_a_newer_spec_wins_whatever_the_older_one_is_at(
    bench: Bench, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("one", "first")
    await bench.settle()
    gate, reached = asyncio.Event(), asyncio.Event()

    async def wait(*_: object, **__: object) -> None:
        if not gate.is_set():
            reached.set()
            await gate.wait()

    before = {"type check": (Builder, "_make"), "seal": (Builder, "_receipt"), "pool": (Pooling, "refresh")}
    if stage == "notify":
        bench.worker.gate = gate
    elif stage == "seal":  # in a thread, where nothing can be cancelled
        slow = bench.world.releases.publish

        def publish(*arguments: Any) -> Any:
            time.sleep(0.3)
            return slow(*arguments)

        monkeypatch.setattr(bench.world.releases, "publish", publish)
    else:
        where, name = before[stage]
        original = getattr(where, name)

        async def gated(*arguments: Any) -> Any:
            await wait()
            return await original(*arguments)

        monkeypatch.setattr(where, name, gated)
    bench.put("one", "old")
    await bench.reconciler.run_pass()
    if stage == "notify":
        while len(bench.worker.calls) < 2:
            await asyncio.sleep(0.01)
    elif stage == "seal":
        await asyncio.sleep(0.1)
    else:
        await reached.wait()
    bench.put("one", "new")
    second = asyncio.create_task(bench.reconciler.run_pass())
    await asyncio.sleep(0.1)
    gate.set()
    await second
    await bench.reconciler.settled()
    record = bench.world.record("one")
    assert record.status is Status.DEPLOYED
    live = bench.world.releases.links / "one" / "src" / "workflow.ts"
    assert "new" in live.read_text()
    (version,) = bench.world.pool_versions.values()
    assert version.members == {"one": record.applied[:12]}
    assert bench.worker.calls[-1]["release"] == record.applied[:12]
    assert leftovers(bench.world.config.data_path) == []
    assert [event.new for event in bench.story("one")].count(Status.DEPLOYED) == 2


async def test_a_slow_spec_holds_up_no_other(bench: Bench) -> None:
    bench.compiler.gate = asyncio.Event()
    bench.put("slow", "x")
    await bench.reconciler.run_pass()
    await asyncio.sleep(0.05)
    gate, bench.compiler.gate = bench.compiler.gate, None
    bench.put("quick", "x")
    await bench.reconciler.run_pass()
    for _ in range(500):
        await asyncio.sleep(0.02)
        if bench.world.record("quick").status is Status.DEPLOYED:
            break
    assert bench.world.record("quick").status is Status.DEPLOYED
    assert bench.world.record("slow").status is Status.DEPLOYING
    gate.set()
    await bench.reconciler.settled()


async def test_a_release_lost_from_the_tree_is_made_again(bench: Bench) -> None:
    bench.put("one", "x")
    await bench.settle()
    release = bench.world.releases.current("one")
    assert release is not None
    (bench.world.releases.path("one", release) / "release.toml").unlink()
    bench.world.receipts.clear()  # as after a restart
    await bench.settle()
    assert bench.world.releases.damage("one", release) == ""
    assert "lost" in bench.world.state.history("one")[-2].because


async def test_a_vanished_source_undeploys_nothing_and_status_says_why(bench: Bench) -> None:
    bench.put("one", "x")
    await bench.settle()
    bench.specs.rename(bench.specs.with_name("away"))
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYED
    assert "could not be read completely" in bench.world.record("one").held
    assert bench.world.state.fact("last_pass")["problem"]
    bench.specs.with_name("away").rename(bench.specs)
    await bench.settle()
    assert bench.world.record("one").held == ""


async def test_a_restart_with_nothing_changed_reads_no_content_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    scan = source.scan

    def counted(*arguments: Any, **options: Any) -> source.Scan:
        found = scan(*arguments, **options)
        reads.append(found.read)
        return found

    monkeypatch.setattr(source, "scan", counted)
    async with _bench(tmp_path) as first:
        first.put("one", "x")
        await first.settle()
        await asyncio.sleep(0.1)  # a file this young is read twice, as git does (RACY_NS)
        await first.settle()
    async with _bench(tmp_path) as second:
        before = second.history("one")
        await second.settle()
        assert second.history("one") == before
        assert second.worker.calls == []
    assert reads == [1, 1, 0]


# Defaults from policy files --------------------------------------------------------------------


def put_plain(bench: Bench, word: str) -> None:
    """The workflow `one`, with no word of its own on where it is served."""
    spec = {**greeter("one", word), "deploy": {}}
    (bench.specs / "one.json").write_text(json.dumps(spec))


def queue_of(bench: Bench, name: str) -> str:
    return bench.world.receipts[name].task_queue


async def write(bench: Bench, path: str, text: str) -> None:
    target = bench.specs / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    await bench.settle()


async def test_defaults_of_a_folder_are_followed_and_a_change_of_them_redeploys(bench: Bench) -> None:
    put_plain(bench, "x")
    await write(bench, "all.policy.yaml", "deploy: {taskQueue: billing, owner: team-a}\n")
    assert queue_of(bench, "one") == "billing"
    await write(bench, "all.policy.yaml", "deploy: {taskQueue: orders}\n")
    assert queue_of(bench, "one") == "orders"
    (bench.specs / "all.policy.yaml").unlink()
    await bench.settle()
    assert queue_of(bench, "one") == "default"
    assert bench.history("one").count(Status.DEPLOYED) == 3


async def test_a_policy_that_can_not_be_read_changes_nothing_and_is_refused(bench: Bench) -> None:
    put_plain(bench, "x")
    await write(bench, "all.policy.yaml", "deploy: {taskQueue: billing}\n")
    await write(bench, "all.policy.yaml", "deploy: {taskqueue: orders}\n")
    assert queue_of(bench, "one") == "billing"
    assert bench.world.record("one").failure is None
    _, failure = bench.world.state.refused()["all.policy.yaml"]
    assert "did you mean 'taskQueue'?" in failure.message


async def test_a_spec_that_changes_waits_for_its_broken_policy(bench: Bench) -> None:
    put_plain(bench, "x")
    await write(bench, "all.policy.yaml", "deploy: {taskQueue: billing}\n")
    await write(bench, "all.policy.yaml", "deploy: {taskqueue: orders}\n")
    put_plain(bench, "y")
    await write(bench, "other/readme.txt", "")
    record = bench.world.record("one")
    assert (record.status, queue_of(bench, "one")) == (Status.DEPLOYMENT_FAILED, "billing")
    assert record.failure is not None
    assert "deploy: its defaults in all.policy.yaml can't be read" in record.failure.message

    await write(bench, "all.policy.yaml", "deploy: {taskQueue: orders}\n")
    assert (bench.world.record("one").status, queue_of(bench, "one")) == (Status.DEPLOYED, "orders")


async def test_a_broken_policy_of_one_folder_holds_up_no_other(bench: Bench) -> None:
    await write(bench, "a/all.policy.yaml", "deploy: [\n")
    put_plain(bench, "x")
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYED


async def test_defaults_are_remembered_over_a_restart(tmp_path: Path) -> None:
    async with _bench(tmp_path) as first:
        put_plain(first, "x")
        await write(first, "all.policy.yaml", "deploy: {taskQueue: billing}\n")
    async with _bench(tmp_path) as second:
        await second.settle()
        assert second.history("one").count(Status.DEPLOYED) == 1
        assert second.worker.calls == []


# The cache of compiled output ------------------------------------------------------------------


async def test_a_spec_that_comes_back_or_moves_is_not_compiled_again(bench: Bench) -> None:
    bench.put("one", "x")
    await bench.settle()
    bench.put("one", "y")
    await bench.settle()
    assert bench.compiler.jobs == 2
    shutil.rmtree(bench.world.releases.root / "one")  # as if retention had taken all of it
    bench.put("one", "x")
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYED
    moved = greeter("one", "x")
    (bench.specs / "two.json").write_text(json.dumps({**moved, "workflowId": "two"}))
    (bench.specs / "one.json").unlink()
    await bench.settle()
    await bench.settle()
    assert bench.compiler.jobs == 2


async def test_a_change_in_one_of_many_compiles_one(bench: Bench) -> None:
    for number in range(5):
        bench.put(f"w{number}", "x")
    await bench.settle()
    before = bench.compiler.jobs
    bench.put("w3", "y")
    await bench.settle()
    assert bench.compiler.jobs == before + 1


async def test_a_fault_of_ours_is_said_and_fails_one_spec_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bench.compiler.compile

    async def faulty(job: CompileJob) -> CompileResult:
        if "bad" in str(job.directory):
            raise ZeroDivisionError("oops")
        return await real(job)

    monkeypatch.setattr(bench.compiler, "compile", faulty)
    bench.put("bad", "x")
    bench.put("good", "x")
    await bench.settle()
    failure = bench.world.record("bad").failure
    assert failure is not None
    assert (failure.reason, failure.message) == (Reason.INTERNAL_ERROR, "ZeroDivisionError: oops")
    assert bench.world.record("bad").retry_at is not None
    assert bench.world.record("good").status is Status.DEPLOYED


async def test_trouble_of_the_worker_host_is_told_by_health(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("one", "x")
    await bench.settle()

    async def serving() -> Serving:
        release = bench.world.receipts["one"].release
        slot = Slot(("default", "one"), "v", "backoff", {"one": release}, age=99, error="it crashed")
        return Serving(reachable=True, slots=(slot,))

    monkeypatch.setattr(bench.world.worker, "serving", serving)
    await bench.reconciler.health.check()
    record = bench.world.record("one")
    assert (record.status, record.health) == (Status.DEPLOYED, Health.DEGRADED)
    assert record.health_reason == f"{Reason.WORKER_CRASHED}: its worker process crashed: it crashed"
