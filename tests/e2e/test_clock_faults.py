"""A real daemon whose wall clock jumps, by libfaketime; its steady clock goes on (faults.md F7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.host import Host, run_workflow
from tests.e2e.specs import greeter

LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="there is no libfaketime: apt-get install faketime")


@pytest.mark.parametrize("jump", ["-400d", "+400d"])
async def test_a_clock_that_jumps_a_year_changes_nothing_and_deploys_go_on(
    host: Host, client: Client, tmp_path: Path, jump: str
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    host.start_worker()
    host.settings |= {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TIMEWRIGHT_SOURCE_SCAN_INTERVAL_S": "1",
    }
    host.start_daemon()
    host.put("first.json", greeter("first", "old"))
    await host.until_served("first")
    before = host.history("first")

    clock.write_text(f"{jump}\n")
    await asyncio.sleep(6)  # passes and looks at health
    assert host.history("first") == before
    assert await run_workflow(client, "first", "x", queue="first") == "old x"

    host.put("first.json", greeter("first", "new"))
    host.put("second.json", greeter("second", "second"))
    await host.until("the new one is live", lambda: host.history("first") == [*before, *before])
    await host.until_status("second", "DEPLOYED")

    clock.write_text("+0\n")
    for name, word in (("first", "new"), ("second", "second")):
        await host.until_served(name)
        assert await run_workflow(client, name, "x", queue=name) == f"{word} x"
    assert host.history("first") == [*before, *before]
