"""From a file's rename to new code serving, beside the script that people use today.

    make bench            (or: python -m bench.deploy --rounds 9)

Every round changes one spec and measures, interleaved on one machine and one Temporal server:

- timewright: the spec is renamed into the watched folder, nothing else is done;
- script, TypeScript 7: write the files, cold native `tsc -p`, restart `node dist/worker.js`;
- script, TypeScript 5.9: the same with the JavaScript compiler.

(a) is the time until the new dist/workflow.js is in place, (b) until an execution returned a result
of the new code. The script is started right at the rename, which is kind to it: it has no watcher.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from temporalio.client import Client

from tests.e2e.host import REPO, Host, TemporalServer, run_workflow, running_host
from tests.e2e.specs import WORKER, greeter

TYPESCRIPT_59 = "5.9.3"
RESULTS = REPO / "bench" / "results"


class Script:
    """What people do today: files by hand, `tsc -p`, restart the worker."""

    def __init__(self, name: str, home: Path, temporal: str, tsc: list[str]) -> None:
        self.name, self.home, self.temporal, self._tsc = name, home, temporal, tsc
        self._worker: subprocess.Popen[bytes] | None = None
        (home / "src").mkdir(parents=True)
        (home / "node_modules").symlink_to(REPO / "worker" / "node_modules")
        options = {"target": "es2022", "module": "node16", "moduleResolution": "node16", "strict": True}
        options |= {
            "skipLibCheck": True,
            "rootDir": "src",
            "outDir": "dist",
            "types": ["node"],
            "sourceMap": True,
        }
        (home / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["src"]}))
        (home / "package.json").write_text("{}")

    def deploy(self, spec: dict[str, Any]) -> None:
        (self.home / "src" / "workflow.ts").write_text(spec["workflowCode"])
        (self.home / "src" / "activities.ts").write_text(spec["activitiesCode"])
        (self.home / "src" / "worker.ts").write_text(WORKER)
        subprocess.run([*self._tsc, "-p", str(self.home)], check=True)

    def restart(self) -> None:
        self.stop()
        self._worker = subprocess.Popen(
            ["node", "dist/worker.js"],
            cwd=self.home,
            env={**os.environ, "TEMPORAL_ADDRESS": self.temporal, "TEMPORAL_NAMESPACE": "default",
                 "TEMPORAL_TASK_QUEUE": self.name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.terminate()
            self._worker.wait()


async def served(client: Client, workflow_type: str, queue: str, word: str) -> float:
    """The moment when the first result of the new code was back. Starts go on all the time, a new one
    each 50 ms, so that an execution that waits for its old worker doesn't hide the new one."""
    seen = asyncio.Event()
    running: set[asyncio.Task[None]] = set()

    async def one() -> None:
        if await run_workflow(client, workflow_type, "x", queue=queue, patience=120) == f"{word} x":
            seen.set()

    while not seen.is_set():
        running.add(asyncio.create_task(one()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(seen.wait(), 0.05)
    result = time.perf_counter()
    await asyncio.gather(*running)  # the next round starts with an idle server
    return result


async def time_timewright(host: Host, client: Client, word: str) -> dict[str, float]:
    before = host.release("bench")
    text = json.dumps(greeter("bench", word))
    aside = host.specs / ".bench.part"
    aside.write_text(text)
    start = time.perf_counter()
    aside.replace(host.specs / "bench.json")
    while host.release("bench") == before:
        await asyncio.sleep(0.001)
    placed = time.perf_counter() - start
    assert (host.data / "workflows" / "bench" / "dist" / "workflow.js").is_file()
    return {"dist": placed, "serving": await served(client, "bench", "bench", word) - start}


async def time_script(script: Script, client: Client, word: str) -> dict[str, float]:
    spec = greeter("bench", word)
    start = time.perf_counter()
    await asyncio.to_thread(script.deploy, spec)
    placed = time.perf_counter() - start
    await asyncio.to_thread(script.restart)
    return {"dist": placed, "serving": await served(client, "bench", script.name, word) - start}


def typescript_59() -> list[str]:
    home = REPO / ".cache" / "typescript-5.9"
    if not (home / "node_modules" / "typescript").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(home), "--ignore-scripts", f"typescript@{TYPESCRIPT_59}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return ["node", str(home / "node_modules" / "typescript" / "bin" / "tsc")]


def typescript_7() -> list[str]:
    from timewright.edge.tschild import tsc_binary

    return [str(tsc_binary(REPO / "worker"))]


def usage(pid: int) -> tuple[float, float]:
    """(CPU seconds so far, MiB of resident memory) of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


async def idle(host: Host, seconds: float) -> dict[str, dict[str, float]]:
    """CPU (percent of one core) and memory of our processes while nothing happens."""
    assert host.daemon is not None
    assert host.worker is not None
    names = {"daemon": [host.daemon.pid], "compiler": children(host.daemon.pid)}
    names |= {"worker host": [host.worker.pid], "worker processes": children(host.worker.pid)}
    before = {name: sum(usage(pid)[0] for pid in pids) for name, pids in names.items()}
    await asyncio.sleep(seconds)
    return {
        name: {
            "cpu_percent": round(100 * (sum(usage(pid)[0] for pid in pids) - before[name]) / seconds, 2),
            "memory_mib": round(sum(usage(pid)[1] for pid in pids), 1),
            "processes": len(pids),
        }
        for name, pids in names.items()
    }


async def measure(rounds: int, idle_seconds: float) -> dict[str, Any]:
    home = Path(tempfile.mkdtemp(prefix="timewright-bench-"))
    server = TemporalServer(home)
    server.start()
    scripts = [
        Script("script-ts7", home / "script-ts7", server.address, typescript_7()),
        Script("script-ts5", home / "script-ts5", server.address, typescript_59()),
    ]
    try:
        with running_host(home, server.address) as host:
            client = await Client.connect(server.address)
            host.start_worker()
            host.start_daemon()
            host.put("bench.json", greeter("bench", "w0"))
            await host.until_served("bench")
            samples = await _rounds(rounds, host, client, scripts)
            await asyncio.sleep(5)
            resting = await idle(host, idle_seconds)
    finally:
        for script in scripts:
            script.stop()
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    return {"rounds": rounds, "median_s": _medians(samples), "samples_s": samples, "idle": resting}


async def _rounds(
    rounds: int, host: Host, client: Client, scripts: list[Script]
) -> dict[str, list[dict[str, float]]]:
    samples: dict[str, list[dict[str, float]]] = {"timewright": []}
    for number in range(1, rounds + 1):
        samples["timewright"].append(await time_timewright(host, client, f"w{number}"))
        for script in scripts:
            samples.setdefault(script.name, []).append(await time_script(script, client, f"w{number}"))
        print(f"round {number}/{rounds}", flush=True)
    return samples


def _medians(samples: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(statistics.median(run[key] for run in runs), 4) for key in ("dist", "serving")}
        for name, runs in samples.items()
    }


def show(result: dict[str, Any]) -> None:
    ours = result["median_s"]["timewright"]
    print(f"\n{'':14}{'dist in place':>16}{'':>9}{'new code serving':>20}")
    for name, median in result["median_s"].items():
        dist, serving = (median[key] * 1000 for key in ("dist", "serving"))
        ratios = [f"{median[key] / ours[key]:.1f} x" for key in ("dist", "serving")]
        print(f"{name:14}{dist:13.0f} ms{ratios[0]:>9}{serving:17.0f} ms{ratios[1]:>9}")
    print(f"\n{'idle':18}{'CPU':>8}{'memory':>13}{'processes':>11}")
    for name, use in result["idle"].items():
        print(f"{name:18}{use['cpu_percent']:6.2f} %{use['memory_mib']:9.0f} MiB{use['processes']:8}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds to watch the idle processes")
    options = parser.parse_args()
    result = asyncio.run(measure(options.rounds, options.idle))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "deploy.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result)


if __name__ == "__main__":
    main()
