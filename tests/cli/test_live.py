"""The command line against the real API, over a real world with the mock compiler: what the one asks, the
other understands, and the other way round."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.api.conftest import Desk, desk

__all__ = ["desk"]  # a fixture
REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def cli(desk: Desk, line: str, **env: str) -> Done:
    process = await start(desk, line, **env)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return Done(process.returncode or 0, out.decode(), err.decode())


async def start(desk: Desk, line: str, **env: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "timewright.cli.main", *line.split()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=desk.bench.world.config.base,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPO / "daemon"),
            "TIMEWRIGHT_DATA_DIRECTORY": str(desk.bench.world.config.data_path),
            **env,
        },
    )


async def put(desk: Desk, name: str, word: str) -> str:
    """Put a spec, have it deployed; its release."""
    desk.bench.put(name, word)
    await desk.bench.settle()
    return desk.bench.world.receipts[name].release


async def test_a_day_of_an_operator(desk: Desk) -> None:
    first = await put(desk, "hello", "good")
    second = await put(desk, "hello", "bad")

    done = await cli(desk, "status hello --oneline")
    assert done.out.startswith(f"hello DEPLOYED Synced Healthy {second}"), done.err
    done = await cli(desk, "deploy hello")
    assert (done.code, "deployed already" in done.err) == (1, True)
    assert "Try: timewright redeploy hello" in done.err

    done = await cli(desk, "rollback hello -m broken")
    assert done.code == 0, done.err
    assert done.out.startswith("✓ rollback hello:")
    done = await cli(desk, "status")
    assert "ROLLED_BACK" in done.out
    assert "rolled back" in done.out
    assert "timewright unpin hello" in done.out
    assert (await cli(desk, "wait hello --for rolled-back --timeout 5s")).code == 0
    done = await cli(desk, "wait hello --for healthy --timeout 30s")
    assert (done.code, "won't be healthy by itself" in done.err) == (1, True)

    done = await cli(desk, "plan")
    assert (done.code, "= hold      hello:" in done.out) == (0, True), done.err
    assert (await cli(desk, "unpin hello")).code == 0
    assert (await cli(desk, f"wait hello --release {second} --timeout 20s")).code == 0

    done = await cli(desk, f"pin hello {first} --for 2h -m audit --json")
    assert (done.code, done.json["state"]) == (0, "succeeded"), done.err
    assert (await cli(desk, "list")).out.split("\t")[2].strip() == first
    assert (await cli(desk, "deploy hello --force")).code == 0

    history = (await cli(desk, "history hello --json")).json
    assert [item["release"] for item in history] == [second, first, second, first, second, first]
    assert history[0]["live"]
    shown = await cli(desk, "history hello")
    assert shown.out.count("\n") == 7
    assert "rolled back" in shown.out


async def test_suspend_undeploy_and_prune(desk: Desk) -> None:
    await put(desk, "hello", "x")
    await put(desk, "other", "x")
    assert (await cli(desk, "suspend --all -m fire")).code == 0
    assert "suspended with all others by" in (await cli(desk, "status")).out
    done = await cli(desk, "undeploy hello")
    assert (done.code, "suspended" in done.err) == (1, True)
    assert (await cli(desk, "resume --all")).code == 0
    assert (await cli(desk, "resume --all")).code == 1

    assert (await cli(desk, "undeploy hello -m broken")).code == 0
    assert "timewright deploy hello" in (await cli(desk, "status")).out
    assert (await cli(desk, "deploy hello")).code == 0

    (desk.bench.specs / "other.json").unlink()
    await desk.bench.settle()
    done = await cli(desk, "prune")
    assert "other.json is gone" in done.out, done.err
    done = await cli(desk, "prune --confirm")
    assert done.code == 0, done.err
    assert "other" not in (await cli(desk, "list")).out

    operations = (await cli(desk, "operations --json")).json
    assert {item["kind"] for item in operations} == {"suspend", "resume", "undeploy", "deploy", "prune"}
    audit = (await cli(desk, "audit --json")).json
    assert [item["outcome"] for item in audit if item["verb"] == "undeploy"] == ["CONFLICT", "ok"]
    for line in ("operations", "audit", "show hello", "logs", "logs other"):
        assert (await cli(desk, line)).code == 0


async def test_what_a_token_may_not_see_is_not_there(desk: Desk) -> None:
    await put(desk, "hello", "x")
    token = desk.tokens.create("ci", "deployer", ("team-a",))
    server = f"--server http://127.0.0.1:{desk.port}"
    done = await cli(desk, f"status hello {server}", TIMEWRIGHT_TOKEN=token)
    assert (done.code, "there is no workflow" in done.err) == (1, True)
    assert (await cli(desk, f"list {server}", TIMEWRIGHT_TOKEN=token)).out == ""
    for line in ("status", "deploy hello", "logs -f"):
        done = await cli(desk, f"{line} {server}", TIMEWRIGHT_TOKEN="tw_wrong")
        assert done.code == 1
        assert "tw_wrong" not in done.out + done.err
        assert "Try:" in done.err


async def test_events_are_followed_as_they_happen(desk: Desk) -> None:
    await put(desk, "hello", "x")
    process = await start(desk, "logs hello -f --json -n 1")
    assert process.stdout is not None
    first = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    await put(desk, "other", "x")
    await put(desk, "hello", "y")
    then = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err) == (0, b"")
    assert (first["new"], then["old"], then["new"]) == ("Healthy", "DEPLOYED", "DEPLOYING")
    assert then["workflowId"] == "hello"
