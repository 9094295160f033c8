"""A process that waits in front of its cage: what one that is started would be, and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from timewright.edge import confine, process
from timewright.edge.process import Confine, Finished
from timewright.edge.spare import Spare

MIB = 1024 * 1024
SAY = ("sh", "-c", "echo $$; pwd; env; ulimit -d")


@pytest.fixture
async def spare() -> AsyncIterator[Spare]:
    made = Spare(quiet=0.0)
    yield made
    await made.close()


async def ready(spare: Spare) -> asyncio.subprocess.Process:
    """The one that waits."""
    spare.soon()
    async with asyncio.timeout(20):
        while not spare.is_ready:
            await asyncio.sleep(0.01)
    waiting = spare._waiting
    assert waiting is not None
    return waiting


async def run(
    spare: Spare, home: Path, *command: str | Path, timeout: float = 20, cage: Confine | None = None
) -> Finished:
    cage = cage or Confine((home, Path(sys.base_prefix)))
    return await spare.run(command or SAY, cwd=home, timeout=timeout, memory=64 * MIB, confine=cage)


def lives_in(group: int, pid: int) -> bool:
    try:
        state, _, found, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(found) == group and state != "Z"


async def test_a_job_is_done_by_who_waited_as_by_one_that_is_started(spare: Spare, tmp_path: Path) -> None:
    started = await run(spare, tmp_path)
    waiting = await ready(spare)
    done = await run(spare, tmp_path)
    assert (done.code, done.stderr) == (started.code, started.stderr) == (0, b"")
    pid, *rest = done.stdout.decode().splitlines()
    assert int(pid) == waiting.pid
    kept = [
        line for line in rest if not line.startswith("LC_CTYPE=")
    ]  # what Python says where nothing is said
    assert kept == started.stdout.decode().splitlines()[1:]
    assert kept[0] == str(tmp_path)
    assert kept[-1] == str(64 * 1024)


async def test_another_one_waits_when_it_is_quiet_again(spare: Spare, tmp_path: Path) -> None:
    first = await ready(spare)
    await run(spare, tmp_path)
    assert (await ready(spare)).pid != first.pid


async def test_many_jobs_in_a_row_start_none(tmp_path: Path) -> None:
    spare = Spare(quiet=0.5)
    for _ in range(5):
        await run(spare, tmp_path)
        await asyncio.sleep(0.2)
        assert not spare.is_ready
    await spare.close()


async def test_jobs_at_the_same_time_are_all_done(spare: Spare, tmp_path: Path) -> None:
    await ready(spare)
    done = await asyncio.gather(*(run(spare, tmp_path, "echo", str(number)) for number in range(4)))
    assert [one.stdout for one in done] == [b"0\n", b"1\n", b"2\n", b"3\n"]


async def test_who_waited_is_in_the_cage_of_its_job(spare: Spare, tmp_path: Path) -> None:
    for name in ("given", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    await ready(spare)
    given, kept = tmp_path / "given", tmp_path / "kept"
    command = ("sh", "-c", f"cat {given}/file {kept}/file; touch {given}/new; touch {kept}/new")
    done = await run(spare, given, *command, cage=Confine((), write=(given,)))
    assert done.stdout == b"given"
    assert done.stderr.count(b"Permission denied") == 2
    assert ((given / "new").exists(), (kept / "new").exists()) == (True, False)


async def test_who_was_killed_while_it_waited_is_replaced(spare: Spare, tmp_path: Path) -> None:
    waiting = await ready(spare)
    os.kill(waiting.pid, signal.SIGKILL)
    await waiting.wait()
    assert (await run(spare, tmp_path, "echo", "done")).stdout == b"done\n"


async def test_a_command_that_can_not_be_run_is_said_as_everywhere(spare: Spare, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run(spare, tmp_path, "no-such-command")
    await ready(spare)
    with pytest.raises(FileNotFoundError):
        await run(spare, tmp_path, "no-such-command")


async def test_a_job_that_could_not_be_begun_is_begun_once_more(
    spare: Spare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready(spare)
    monkeypatch.setattr(process, "confined", lambda *_, **__: b"--what\0")
    assert (await run(spare, tmp_path, "echo", "done")).stdout == b"done\n"


async def test_a_job_that_takes_too_long_ends_with_all_that_it_started(spare: Spare, tmp_path: Path) -> None:
    waiting = await ready(spare)
    with pytest.raises(TimeoutError):
        await run(spare, tmp_path, "sh", "-c", "sleep 60 & wait", timeout=0.5)
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    assert not any(lives_in(waiting.pid, pid) for pid in pids)


async def test_a_job_that_is_given_up_ends(spare: Spare, tmp_path: Path) -> None:
    waiting = await ready(spare)
    job = asyncio.create_task(run(spare, tmp_path, "sleep", "60"))
    await asyncio.sleep(0.3)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert waiting.returncode is not None


async def test_nobody_waits_any_more_when_it_is_closed(tmp_path: Path) -> None:
    spare = Spare(quiet=0.0)
    waiting = await ready(spare)
    await spare.close()
    assert waiting.returncode is not None
    await run(spare, tmp_path, "true")
    await asyncio.sleep(0.1)
    assert not spare.is_ready


async def test_no_process_to_be_had_is_no_fault(
    spare: Spare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> asyncio.subprocess.Process:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(process, "wait_in_front", refuse)
    spare.soon()
    await asyncio.sleep(0.1)
    assert not spare.is_ready
    assert (await run(spare, tmp_path, "echo", "done")).stdout == b"done\n"


async def test_who_waits_ends_with_who_started_it() -> None:
    """Its input ends then."""
    done = await process.end(await process.wait_in_front(), b"", 20)
    assert done == Finished(0, b"", b"")


@pytest.mark.parametrize("words", [("--what",), ("--cwd", "/no/such/place", "--", "true"), ("--", "no-such")])
async def test_what_was_not_begun_says_so(words: tuple[str, ...]) -> None:
    job = b"".join(word.encode() + b"\0" for word in words)
    done = await process.end(await process.wait_in_front(), job, 20)
    assert done.code == confine.NOT_BEGUN
    assert done.stderr.startswith(b"confine.py: ")
