"""Sources that tell of no events, or of too many at once, before a real daemon (faults.md D10, D14)."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from temporalio.client import Client
from timewright.core.errors import TimewrightError
from timewright.core.state import Status
from timewright.edge.statefile import StateFile

from tests.e2e.disks import mount, mountable, unmount
from tests.e2e.host import Host, run_workflow
from tests.e2e.specs import greeter

MANY = 300
EDITS = 200
SOON = 20.0  # seconds
MOST_MIB = 256


@mountable
async def test_a_change_below_an_overlay_that_makes_no_event_is_deployed_by_the_next_scan(
    host: Host, client: Client, tmp_path: Path
) -> None:
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for folder in (lower, upper, work):
        folder.mkdir()
    (lower / "first.json").write_text(json.dumps(greeter("first", "old")))
    mount(host.specs, "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "none")
    try:
        host.settings["TIMEWRIGHT_SOURCE_SCAN_INTERVAL_S"] = "2"
        host.start_worker()
        host.start_daemon()
        await host.until_served("first")
        before = host.release("first")
        (lower / "first.json").write_text(json.dumps(greeter("first", "new")))
        (lower / "second.json").write_text(json.dumps(greeter("second", "second")))
        await host.until("the change is live", lambda: host.release("first") != before)
        for name, word in (("first", "new"), ("second", "second")):
            await host.until_served(name)
            assert await run_workflow(client, name, "x", queue=name) == f"{word} x"
    finally:
        host.stop_all()
        unmount(host.specs)


async def test_a_burst_of_thousands_of_specs_is_taken_in_bounded_memory_and_the_newest_wins(
    host: Host,
) -> None:
    """Without the compiler, which is bounded by its own limits: it is the daemon that is looked at."""
    host.settings |= {"TIMEWRIGHT_COMPILER_MODE": "off", "TIMEWRIGHT_WORKER_RELOAD_TIMEOUT_S": "1"}
    host.start_daemon()
    host.put("busy.json", greeter("busy", "0"))
    await host.until_status("busy", "DEPLOYED")
    put_many(host, MANY)
    for number in range(1, EDITS):
        host.put("busy.json", greeter("busy", str(number)))
        await asyncio.sleep(0.01)

    await host.until("all are deployed", lambda: _deployed(host) == MANY + 1, 180)
    live = (host.data / "workflows" / "busy" / "src" / "workflow.ts").read_text()
    assert f"`{EDITS - 1} ${{" in live
    assert host.history("busy").count("DEPLOYING") < EDITS / 2
    assert host.daemon is not None
    assert peak_mib(host.daemon.pid) < MOST_MIB


async def test_a_daemon_asked_to_stop_in_the_middle_of_a_burst_ends_soon(host: Host) -> None:
    """All that was to begin began in one turn of the event loop: signals and the API waited for minutes."""
    host.settings |= {"TIMEWRIGHT_COMPILER_MODE": "off"}
    put_many(host, 4 * MANY)
    host.start_daemon()
    await host.until("the first is deployed", lambda: _deployed(host) > 0)
    assert host.daemon is not None
    host.daemon.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(host.daemon.wait, SOON) == 0


def put_many(host: Host, count: int) -> None:
    for number in range(count):
        spec = greeter(f"many-{number}", "x", queue=f"many-{number % 20}")
        (host.specs / f"many-{number}.json").write_text(json.dumps(spec))


def _deployed(host: Host) -> int:
    try:
        state = StateFile(host.data / "state.db", read_only=True)
    except TimewrightError:
        return 0
    found = [record.status for record in state.records().values()]
    state.close()
    return found.count(Status.DEPLOYED)


def peak_mib(pid: int) -> float:
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
