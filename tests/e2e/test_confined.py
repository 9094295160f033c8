"""Code of specs that tries what it may not: each try is refused, and honest work beside it goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from timewright.edge import confine

from tests.e2e.host import Host, run_workflow
from tests.e2e.specs import WORKER, greeter

pytestmark = pytest.mark.skipif(confine.abi() < 6, reason="Landlock of this kernel knows no signals")

#: What a try came to: 'done', or why it was refused.
TRIES = """
import { readFileSync, readdirSync, writeFileSync, mkdtempSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { connect } from 'node:net';
import { setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';

function one(act: () => unknown): string {
  try {
    act();
    return 'done';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

/** What a program of the system comes to: it says nothing, and ends with 0 where it was let. */
function run(...[program, ...words]: [string, ...(string | number)[]]): string {
  return one(() => execFileSync(program, words.map(String), { stdio: 'ignore' }));
}

const SEND = 'import socket, sys; socket.socketpair(1, socket.SOCK_DGRAM)[0].sendto(b"x", sys.argv[1])';
const MODELESS = 'import os, sys; os.fchmod(os.open(sys.argv[1], 3), 0o600)';

export interface Asked {
  read: string[]; write: string[]; kill: number[]; ptrace: number[];
  slow: number[]; send: string[]; reopen: string[];
}
type Tried = Record<string, string>;

export function attempt(asked: Asked): Tried {
  const tried: Tried = {};
  for (const path of asked.read) tried[`read ${path}`] = one(() => readFileSync(path));
  for (const path of asked.read) {
    tried[`child reads ${path}`] = one(() => execFileSync('cat', [path], { stdio: 'ignore' }));
  }
  for (const path of asked.write) tried[`list ${path}`] = one(() => readdirSync(path));
  for (const path of asked.write) tried[`write ${path}`] = one(() => writeFileSync(join(path, 'mine'), 'x'));
  for (const pid of asked.kill) tried[`kill ${pid}`] = one(() => process.kill(pid, 'SIGKILL'));
  for (const pid of asked.ptrace) {
    for (const name of ['environ', 'mem', 'maps']) {
      tried[`${name} of ${pid}`] = one(() => readFileSync(`/proc/${pid}/${name}`));
    }
  }
  for (const pid of asked.slow) {
    tried[`nice ${pid}`] = one(() => setPriority(pid, 1));
    tried[`limit ${pid}`] = run('prlimit', '--pid', pid, '--core=0:0');
    tried[`bind ${pid}`] = run('taskset', '-p', '1', pid);
    tried[`schedule ${pid}`] = run('chrt', '-b', '-p', 0, pid);
    tried[`idle ${pid}`] = run('ionice', '-c', 3, '-p', pid);
  }
  for (const path of asked.send) tried[`send ${path}`] = run('/usr/bin/python3', '-c', SEND, path);
  for (const path of asked.reopen) tried[`reopen ${path}`] = run('/usr/bin/python3', '-c', MODELESS, path);
  return tried;
}

export function call(path: string): Promise<string> {
  return new Promise((done) => {
    const line = connect(path, () => { line.destroy(); done('done'); });
    line.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? String(error)));
  });
}

export function own(): string {
  return one(() => writeFileSync(join(mkdtempSync(join(tmpdir(), 'x-')), 'mine'), 'x'));
}
"""
ACTIVITIES = """
import { type Asked, attempt, call, own } from './tries';
export async function NAMETry(asked: Asked, sockets: string[]): Promise<Record<string, string>> {
  const tried = attempt(asked);
  for (const path of sockets) tried[`call ${path}`] = await call(path);
  return { ...tried, own: own() };
}
"""
WORKFLOW = """
import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';
const { NAMETry } = proxyActivities<typeof activities>({
  startToCloseTimeout: '20 seconds', retry: { maximumAttempts: 1 },
});
export async function NAME(...asked: Parameters<typeof NAMETry>): Promise<Record<string, string>> {
  return await NAMETry(...asked);
}
"""


def hostile(workflow_id: str, **more: Any) -> dict[str, Any]:
    files = {
        "src/workflow.ts": WORKFLOW.replace("NAME", workflow_id),
        "src/activities.ts": ACTIVITIES.replace("NAME", workflow_id),
        "src/tries.ts": TRIES,
    }
    deploy = {"taskQueue": workflow_id, **more.pop("deploy", {})}
    return {"workflowId": workflow_id, "name": workflow_id, "files": {**files, **more}, "deploy": deploy}


def children(pid: int) -> dict[int, str]:
    """The processes that a process started: pid → command line."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(word) for task in tasks for word in task.read_text().split()]
    return {one: Path(f"/proc/{one}/cmdline").read_text().replace("\0", " ") for one in pids}


def asked(host: Host, victim: str) -> tuple[dict[str, list[Any]], list[str]]:
    """All that spec code has no business with on this host."""
    (host.home / "timewright.toml").write_text("# secret\n")
    (host.data / "tokens.toml").write_text("secret\n")
    assert host.worker is not None
    assert host.daemon is not None
    others = [pid for pid in children(host.worker.pid) if victim in served(host).get(pid, "")]
    assert others
    pool = next((host.data / "pools" / "default" / victim).glob("*/pool.toml"))
    release = host.data / "releases" / victim / str(host.release(victim))
    read = [
        *(host.data / "state.db", host.data / "tokens.toml", host.home / "timewright.toml"),
        *(pool, pool.parent / "workflows.js", release / "src" / "workflow.ts", release / "package.json"),
        *(host.specs / f"{victim}.json", host.log_file, "/etc/shadow", "/root/.bashrc"),
    ]
    processes = [host.worker.pid, host.daemon.pid, *others]
    what: dict[str, list[Any]] = {
        "read": [str(path) for path in read],
        "write": [str(path) for path in (host.data, release, pool.parent, host.specs, "/tmp", "/root")],
        "kill": processes,
        "ptrace": processes,
        "slow": processes,
        "send": [str(host.data / "log.sock")],
        "reopen": [str(host.data / "state.db")],
    }
    return what, [str(host.data / "api.sock"), str(host.data / "worker.sock")]


def served(host: Host) -> dict[int, str]:
    """pid → the queue that it serves, as the worker host says."""
    found: dict[int, str] = {}
    for line in host.worker_log.read_text().splitlines():
        event = json.loads(line)
        if "pid" in event and "pool" in event:
            found[event["pid"]] = event["pool"]
    return found


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A datagram socket of this host, as syslog's is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.setblocking(False)
        yield server


def refused(tried: dict[str, str]) -> None:
    assert tried.pop("own") == "done"  # a temporary directory of its own
    assert len(tried) > 30
    allowed = {what: came for what, came in tried.items() if came == "done"}
    assert allowed == {}, tried


@pytest.mark.parametrize("isolation", ["shared", "process"])
async def test_a_hostile_activity_reads_and_changes_nothing_of_this_host(
    host: Host, client: Client, isolation: str
) -> None:
    host.confine = "pool"
    victim, name = f"victim{isolation.capitalize()}", f"hostile{isolation.capitalize()}"
    await host.serving(f"{victim}.json", greeter(victim, "hello"))
    own = {"src/worker.ts": WORKER} if isolation == "process" else {}
    host.put("hostile.json", hostile(name, deploy={"isolation": isolation}, **own))
    await host.until_served(name)

    what, sockets = asked(host, victim)
    with listening(Path(what["send"][0])) as server:
        refused(await run_workflow(client, name, what, sockets, queue=name))
        with pytest.raises(BlockingIOError):
            server.recv(1)

    assert await run_workflow(client, victim, "x", queue=victim) == "hello x"
    assert (host.data / "state.db").is_file()


async def test_without_confinement_the_same_tries_succeed(host: Host, client: Client) -> None:
    """So that the tests above can fail."""
    host.confine = "off"
    await host.serving("victimOpen.json", greeter("victimOpen", "hello"))
    host.put("hostile.json", hostile("hostileOpen"))
    await host.until_served("hostileOpen")
    what, sockets = asked(host, "victimOpen")
    what["kill"] = []
    with listening(Path(what["send"][0])), subprocess.Popen(["/bin/sleep", "60"]) as sleeper:
        what["slow"] = [sleeper.pid]
        tried = await run_workflow(client, "hostileOpen", what, sockets, queue="hostileOpen")
        sleeper.kill()
    done = {word for word, came in tried.items() if came == "done"}
    assert {f"read {host.data / 'state.db'}", f"write {host.data}", f"call {host.data / 'api.sock'}"} <= done
    assert f"environ of {what['ptrace'][0]}" in done
    assert {f"{word} {sleeper.pid}" for word in ("nice", "limit", "bind", "schedule", "idle")} <= done
    assert {f"send {what['send'][0]}", f"reopen {what['reopen'][0]}"} <= done


@pytest.mark.parametrize("file", ["src/activities.ts", "src/worker.ts"])
async def test_what_runs_when_a_release_is_loaded_is_confined_too(
    host: Host, client: Client, file: str
) -> None:
    """The top level of a module, before there is a Worker: it leaves what it read in its own output."""
    host.confine = "pool"
    name = f"early{Path(file).stem.capitalize()}"
    victim = f"beside{name}"
    await host.serving(f"{victim}.json", greeter(victim, "hello"))
    secret = host.data / "tokens.toml"
    secret.write_text("topsecret")
    top = (
        "import { attempt as tries } from './tries';\n"
        f"console.log('TRIED', JSON.stringify(tries({{ read: ['{secret}', `/proc/${{process.ppid}}/stat`],"
        f" write: ['{host.data}'], kill: [process.ppid], ptrace: [process.ppid], slow: [process.ppid],"
        f" send: [], reopen: ['{secret}'] }})));\n"
    )
    spec = hostile(name, deploy={"isolation": "process"} if "worker" in file else {})
    spec["files"]["src/worker.ts"] = WORKER
    spec["files"][file] = top + spec["files"][file]
    host.put("early.json", spec)
    await host.until_served(name)

    said = next(line for line in host.worker_log.read_text().splitlines() if "TRIED" in line)
    tried = json.loads(json.loads(said)["line"].removeprefix("TRIED "))
    assert len(tried) == 16
    assert "done" not in tried.values(), tried
    assert await run_workflow(client, victim, "x", queue=victim) == "hello x"


ESCAPE = """
import { workflowInfo } from '@temporalio/workflow';

const ways: (() => unknown)[] = [
  () => (globalThis as any).constructor.constructor('return process')(),
  () => (setTimeout as any).constructor('return process')(),
  () => (console.log as any).constructor('return process')(),
];
const found = ways.map((way) => {
  try {
    const process = way() as any;
    const fs = process.getBuiltinModule?.('fs') ?? process.mainModule.require('fs');
    return fs.readFileSync('SECRET', 'utf8');
  } catch (error) {
    return String(error);
  }
});
export async function escape(): Promise<string[]> {
  return [...found, workflowInfo().workflowType];
}
"""


async def test_workflow_code_that_leaves_its_sandbox_is_still_confined(host: Host, client: Client) -> None:
    host.confine = "pool"
    host.data.mkdir(exist_ok=True)
    secret = host.data / "tokens.toml"
    secret.write_text("topsecret")
    spec = {**greeter("escape", "x"), "workflowCode": ESCAPE.replace("SECRET", str(secret))}
    await host.serving("escape.json", spec)
    found = await run_workflow(client, "escape", queue="escape")
    assert len(found) == 4
    assert not [said for said in found if "topsecret" in said], found


async def test_a_confined_worker_ends_with_its_host_and_leaves_nothing(host: Host) -> None:
    host.confine = "pool"
    await host.serving("first.json", greeter("ends", "hello"))
    assert host.worker is not None
    (pid,) = children(host.worker.pid)
    environ = Path(f"/proc/{pid}/environ").read_text().split("\0")
    own = Path(next(row for row in environ if row.startswith("TMPDIR=")).partition("=")[2])
    assert own.is_dir()
    assert own.stat().st_mode & 0o777 == 0o700

    host.kill_worker()
    await host.until("the worker process has ended", lambda: not Path(f"/proc/{pid}").exists())
    host.start_worker()
    await host.until_served("ends")
    await host.until("what the killed host left is gone", lambda: not own.exists())


async def test_every_child_of_the_daemon_is_in_a_cage(host: Host) -> None:
    """Who is confined has a filter of calls on it: the kernel says so."""
    await host.serving("first.json", greeter("caged", "hello"))
    assert host.daemon is not None
    found = children(host.daemon.pid)
    assert any("--api" in command for command in found.values())  # the warm compiler
    for pid, command in found.items():
        if "git" in command.split()[0] or command.split()[-1] == "--wait":
            continue  # who waits for a job runs nothing of it before it is in its cage (test_spare.py)
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Seccomp:\t2" in status, command
        assert "NoNewPrivs:\t1" in status, command
