"""What tests share: builders of specs, plan values and releases, each right as it is; say what differs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from timewright.core.dependencies import Provided
from timewright.core.digest import Placement, sha256
from timewright.core.errors import Problem, Reason
from timewright.core.prepare import Host, Prepared, prepare
from timewright.core.spec import Spec, read_spec
from timewright.core.state import Record, Status
from timewright.core.worlds import Broken, Desired, Live, Observed, Policy, Wanted
from timewright.edge.releases import Receipt, Releases


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something to be true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


ROOT = Path(__file__).resolve().parents[1]
NOW = 1_700_000_000.0

HOST = Host(
    namespace="default",
    task_queue="default",
    provided=Provided("1.24.0", {f"@temporalio/{name}": "1.24.0" for name in ("workflow", "worker")}),
    typescripts=("7.1.0-beta", "6.0.3", "5.9.3"),
    identity=lambda version: f"tools {version}",
)

WORKFLOW = """import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';
const { greet } = proxyActivities<typeof activities>({ startToCloseTimeout: '1 minute' });
export async function hello(name: string): Promise<string> {
  return greet(name);
}
"""
ACTIVITIES = "export async function greet(name: string): Promise<string> { return `Hello ${name}`; }\n"
WORKER = """import { Worker } from '@temporalio/worker';
Worker.create({ workflowsPath: require.resolve('./workflow'), taskQueue: 'greetings' });
"""


def prepared(host: Host = HOST, **changes: Any) -> Prepared:
    """A document, prepared for a host."""
    return prepare(as_bytes(document(**changes)), host)


# Specs -----------------------------------------------------------------------------------------


def document(**changes: Any) -> dict[str, Any]:
    """A spec as a builder writes it (a bundle of files); a change to None takes the key out."""
    whole: dict[str, Any] = {
        "workflowId": "hello",
        "files": {
            "src/workflow.ts": WORKFLOW,
            "src/activities.ts": ACTIVITIES,
            "src/worker.ts": WORKER,
        },
        "packageJson": {"dependencies": {}},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def compile_result(**changes: Any) -> dict[str, Any]:
    """The same workflow in the flat shape."""
    whole = {
        "workflowId": "hello",
        "success": True,
        "workflowCode": WORKFLOW,
        "activitiesCode": ACTIVITIES,
        "workerCode": WORKER,
        "packageJson": "{}",
        "errors": [],
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def as_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


def make_spec(**changes: Any) -> Spec:
    return read_spec(as_bytes(document(**changes)))


# Plan values -----------------------------------------------------------------------------------


def digest(word: str) -> str:
    """A digest that a word stands for: 64 hex digits."""
    return sha256(word.encode())


def make_wanted(workflow_id: str = "hello", version: str = "v1", **changes: Any) -> Wanted:
    """One readable spec, in `{id}.json`. `version` stands for its content."""
    values: dict[str, Any] = {
        "source": f"{workflow_id}.json",
        "content": digest(f"content {version}"),
        "digest": digest(f"{workflow_id} {version}"),
        "placement": Placement("default", "default"),
    }
    return Wanted(workflow_id, **{**values, **changes})


def make_broken(source: str = "hello.json", workflow_id: str | None = None) -> Broken:
    problem = Problem("workflowId", "is missing")
    return Broken(source, digest(f"broken {source}"), Reason.INVALID_SPEC, (problem,), workflow_id)


def make_live(workflow_id: str = "hello", version: str = "v1", **changes: Any) -> Live:
    values = {"placement": Placement("default", "default"), "pooled": True, **changes}
    return Live(workflow_id, digest(f"{workflow_id} {version}"), **values)


def make_record(workflow_id: str = "hello", version: str = "v1", **changes: Any) -> Record:
    """A workflow that was deployed from `{id}.json`."""
    its_digest = digest(f"{workflow_id} {version}")
    values = {
        "status": Status.DEPLOYED,
        "source": f"{workflow_id}.json",
        "attempted": its_digest,
        "applied": its_digest,
        **changes,
    }
    return Record(workflow_id, **values)


def desired(*items: Wanted | Broken, complete: bool = True, settling: Iterable[str] = ()) -> Desired:
    return Desired(
        complete=complete,
        problem="" if complete else "the disk is away",
        wanted=tuple(item for item in items if isinstance(item, Wanted)),
        broken=tuple(item for item in items if isinstance(item, Broken)),
        settling=frozenset(settling),
    )


def observed(*items: Live | Record, busy: Mapping[str, str] | None = None) -> Observed:
    return Observed(
        records={item.workflow_id: item for item in items if isinstance(item, Record)},
        live={item.workflow_id: item for item in items if isinstance(item, Live)},
        busy=busy or {},
    )


def deployed(*workflow_ids: str, **changes: Any) -> Observed:
    """A world where these run, each as its spec asks; `changes` are those of make_live."""
    return observed(*(make_record(i) for i in workflow_ids), *(make_live(i, **changes) for i in workflow_ids))


PRUNE = Policy(prune=True)
KEEP = Policy(prune=False)


# Releases --------------------------------------------------------------------------------------


def make_receipt(workflow_id: str = "hello", version: str = "v1", **changes: Any) -> Receipt:
    values: dict[str, Any] = {
        "name": workflow_id,
        "source": f"{workflow_id}.json",
        "revision": "r1",
        "created": NOW,
        "namespace": "default",
        "task_queue": "default",
        "isolation": "shared",
        "compiler": "test",
        "sdk": "1.0.0",
        "workflow_types": ("hello",),
        "workflows": "src/workflow.ts",
    }
    return Receipt(workflow_id, digest(f"{workflow_id} {version}"), **{**values, **changes})


def publish(releases: Releases, workflow_id: str = "hello", version: str = "v1", **changes: Any) -> Receipt:
    """A release in the tree whose files say which version they are."""
    receipt = make_receipt(workflow_id, version, **changes)
    build = releases.begin(workflow_id)
    for name in ("src/workflow.ts", "dist/workflow.js", "bundle/workflow.js"):
        path = build / name
        path.parent.mkdir()
        path.write_text(f"// {version}\n")
    releases.publish(build, receipt)
    return receipt


def leftovers(directory: Path) -> list[Path]:
    """Temporary names anywhere below a directory."""
    return [path for path in directory.rglob("*") if path.name.startswith(".tmp-")]


# Processes -------------------------------------------------------------------------------------


def python(code: str, *arguments: str | Path) -> list[str]:
    """The command that runs some Python with timewright and the tests at hand (see child_env)."""
    return [sys.executable, "-c", code, *map(str, arguments)]


def child_env(**changes: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "daemon"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **changes}


def run_python(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run some Python to its end, with timewright and the tests at hand."""
    return subprocess.run(
        python(code, *arguments),
        env=child_env(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
