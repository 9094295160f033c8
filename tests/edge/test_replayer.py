"""The replayer's process: real replays of a kept history, and what becomes of a process that misbehaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from timewright.core.replays import Kind, Step
from timewright.edge.bundle import Part
from timewright.edge.compiler import CompileJob, Compiler
from timewright.edge.histories import History, NoHistoryError, read_file
from timewright.edge.replayer import Replayer

from tests.edge.toolbox import TOOLCHAIN, write_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT = Path(__file__).parent / "histories" / "order.json"
ORDER = """\
import { proxyActivities, sleep } from '@temporalio/workflow';
const acts = proxyActivities<Record<string, (text: string) => Promise<string>>>({ startToCloseTimeout: 1 });
export async function order(id: string): Promise<string> {
  const charged = await acts.charge(id);
  await sleep(50);
  return acts.ship(charged);
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compiler(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Compiler]:
    made = Compiler(TOOLCHAIN, tmp_path_factory.mktemp("cache"), mode="transpile")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def history(tmp_path: Path) -> History:
    return read_file(KEPT, 0, tmp_path)


async def bundle(compiler: Compiler, home: Path, workflow: str) -> Path:
    release = write_release(home / "order", {"src/workflow.ts": workflow})
    await compiler.compile(CompileJob(release, workflows="src/workflow.ts"))
    await compiler.join([Part("order", ("order",), release / "bundle" / "workflow.js")], home)
    return home / "workflows.js"


def replayer(tmp_path: Path, *, limit: float = 20.0, node: str = "node") -> Replayer:
    return Replayer(TOOLCHAIN, node, tmp_path / "cache", limit=limit)


def other(history: History, text: str) -> History:
    """The same execution with another input of the same length."""
    file = history.file.with_name(f"{text}.history")
    file.write_bytes(history.file.read_bytes().replace(b'"1"', f'"{text}"'.encode()))
    return replace(history, workflow_id=f"order-{text}", file=file)


async def test_a_real_history_passes_on_its_code_and_is_never_replayed_twice(
    compiler: Compiler, tmp_path: Path, history: History
) -> None:
    made = await bundle(compiler, tmp_path, ORDER)
    ran = await replayer(tmp_path).run(made, [history], 60)
    assert [one.ok for one in ran.outcomes] == [True], ran
    assert (ran.outcomes[0].workflow_id, ran.outcomes[0].workflow_type) == ("order-1", "order")
    again = await replayer(tmp_path, node="no-such-node").run(made, [history], 60)
    assert (again.known, again.outcomes, again.problem) == (1, ran.outcomes, "")


async def test_a_change_is_told_with_event_old_new_and_the_line_in_the_spec(
    compiler: Compiler, tmp_path: Path, history: History
) -> None:
    made = await bundle(compiler, tmp_path, ORDER.replace("acts.charge(id)", "acts.bill(id)"))
    for _ in range(2):  # the second answer is the cache's
        [one] = (await replayer(tmp_path).run(made, [history], 60)).outcomes
        assert (one.kind, one.event) == (Kind.DETERMINISM, 5)
        assert (one.old, one.new) == (Step("activity", "charge"), Step("activity", "bill"))
        assert one.source == "src/workflow.ts:4"
        assert one.stack.startswith("src/workflow.ts:4:")


async def test_a_loop_without_an_end_costs_one_history_and_not_the_others(
    compiler: Compiler, tmp_path: Path, history: History
) -> None:
    made = await bundle(
        compiler, tmp_path, ORDER.replace("await sleep", "while (id === '2');\n  await sleep")
    )
    three = [history, other(history, "2"), other(history, "3")]
    ran = await replayer(tmp_path, limit=3).run(made, three, 90)
    assert [one.kind for one in ran.outcomes] == ["", Kind.TIMEOUT, ""]
    assert ran.outcomes[1].workflow_id == "order-2"
    assert (await replayer(tmp_path, limit=3).run(made, three, 90)).known == 2  # a timeout isn't kept


async def test_code_that_eats_all_memory_ends_its_process_and_not_the_replay(
    compiler: Compiler, tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timewright.edge.replayer._HEAP", 96)
    eats = "const all: string[][] = []; while (id === '1') all.push(new Array(1e5).fill(id));\n  await sleep"
    made = await bundle(compiler, tmp_path, ORDER.replace("await sleep", eats))
    ran = await replayer(tmp_path).run(made, [history, other(history, "2")], 90)
    assert [one.kind for one in ran.outcomes] == [Kind.SETUP, ""], ran
    assert "memory" in ran.outcomes[0].message


# A process that misbehaves: a replay.js of the test's own -----------------------------------------

READY = "console.log('{\"ready\":true}');"
ANSWER = "console.log(JSON.stringify({ workflowId: 'x', runId: 'x', ok: true }));"


def acting(tmp_path: Path, script: str, *, limit: float = 20.0) -> Replayer:
    home = tmp_path / "toolchain"
    (home / "dist").mkdir(parents=True)
    (home / "dist" / "replay.js").write_text(script)
    return Replayer(home, "node", tmp_path / "cache", limit=limit)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "workflows.js"
    path.write_text("")
    return path


async def test_a_replayer_that_does_not_start_is_told_with_its_own_words(
    tmp_path: Path, empty: Path, history: History
) -> None:
    ran = await acting(tmp_path, "throw new Error('no such module');").run(empty, [history], 30)
    assert (ran.outcomes, ran.unfinished) == ((), 1)
    assert ran.problem == "the replayer doesn't start: Error: no such module"


async def test_a_replayer_that_is_not_there_is_told(tmp_path: Path, empty: Path, history: History) -> None:
    ran = await replayer(tmp_path, node=str(tmp_path / "no-node")).run(empty, [history], 30)
    assert ran.problem == "the replayer can't be started: No such file or directory"


async def test_a_worker_package_that_is_not_built_is_told(
    tmp_path: Path, empty: Path, history: History
) -> None:
    ran = await Replayer(tmp_path, "node", tmp_path / "cache").run(empty, [history], 30)
    assert ran.problem == f"dist/replay.js is missing: run `npm run build` in {tmp_path}"


async def test_a_history_at_which_the_process_dies_is_no_fault_of_the_code(
    tmp_path: Path, empty: Path, history: History
) -> None:
    script = f"{READY} {ANSWER} console.error('SomeError: lost'); process.exit(9);"
    ran = await acting(tmp_path, script).run(empty, [history, other(history, "2")], 30)
    assert [one.kind for one in ran.outcomes] == ["", Kind.SETUP]
    assert ran.outcomes[1].message == "the replayer ended at it: SomeError: lost"


async def test_a_process_that_says_nothing_is_killed_and_the_rest_goes_on(
    tmp_path: Path, empty: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timewright.edge.replayer._GRACE_S", 0.5)
    monkeypatch.setattr(
        "timewright.edge.replayer._Run._cage", lambda _: None
    )  # it may leave no mark in a cage
    mark = tmp_path / "hung"
    script = (
        f"const fs = require('fs'); {READY} if (fs.existsSync('{mark}')) {{ {ANSWER} process.exit(0); }}"
        f"fs.writeFileSync('{mark}', String(process.pid)); setInterval(() => 0, 1000);"
    )
    ran = await acting(tmp_path, script, limit=0.5).run(empty, [history, other(history, "2")], 30)
    assert [one.kind for one in ran.outcomes] == [Kind.TIMEOUT, ""]
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


async def test_out_of_time_the_rest_is_left_and_counted(
    tmp_path: Path, empty: Path, history: History
) -> None:
    script = f"{READY} {ANSWER} setInterval(() => 0, 1000);"
    ran = await acting(tmp_path, script).run(empty, [history, other(history, "2")], 1.5)
    assert (len(ran.outcomes), ran.unfinished, ran.problem) == (1, 1, "")


async def test_the_replayer_sees_no_environment_of_ours(
    tmp_path: Path, empty: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMEWRIGHT_TOKEN", "secret")
    told = ANSWER.replace("ok: true", "ok: false, kind: 'setup', message: JSON.stringify(process.env)")
    script = f"{READY} {told}"
    ran = await acting(tmp_path, script).run(empty, [history], 30)
    assert ran.outcomes[0].message == "{}"


async def test_a_cancelled_deploy_leaves_no_replayer_behind(
    tmp_path: Path, empty: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timewright.edge.replayer._Run._cage", lambda _: None)  # for its mark
    mark = tmp_path / "pid"
    script = (
        f"require('fs').writeFileSync('{mark}', String(process.pid)); {READY} setInterval(() => 0, 1000);"
    )
    task = asyncio.create_task(acting(tmp_path, script).run(empty, [history], 30))
    while not mark.exists() or not mark.read_text():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


async def test_a_damaged_entry_of_the_cache_is_replayed_again(
    tmp_path: Path, empty: Path, history: History
) -> None:
    by = acting(tmp_path, f"{READY} {ANSWER}")
    await by.run(empty, [history], 30)
    [entry] = (tmp_path / "cache").iterdir()
    entry.write_text('{"workflowId": ')
    ran = await by.run(empty, [history], 30)
    assert (ran.known, len(ran.outcomes)) == (0, 1)


# Histories that people kept ----------------------------------------------------------------------


async def test_a_history_from_the_command_line_says_whose_it_is(history: History) -> None:
    assert (history.workflow_id, history.workflow_type, history.running) == ("order-1", "order", False)
    assert history.run_id == "01a2086c-5b76-717a-8159-d3ece9f8ecd3"
    assert history.events == 22
    assert history.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"events": []}', '{"events": [{"eventId": "1"}]}'])
async def test_what_is_no_history_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kept.json"
    path.write_text(text)
    with pytest.raises(NoHistoryError, match=r"kept\.json"):
        read_file(path, 0, tmp_path)
