"""A whole host for the end-to-end tests: daemon, worker host and Temporal server, as real processes."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from temporalio.client import Client
from timewright.core.errors import TimewrightError
from timewright.edge import confine
from timewright.edge.statefile import StateFile
from timewright.views import workflow_view

T = TypeVar("T")
REPO = Path(__file__).resolve().parents[2]
BASES = Path(tempfile.mkdtemp(prefix="timewright-e2e-")) / "base"
atexit.register(shutil.rmtree, BASES.parent, ignore_errors=True)
PATIENCE = 60.0  # seconds: how long a test waits for something before it fails


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TemporalServer:
    """`temporal server start-dev` on a port of its own."""

    def __init__(self, home: Path, port: int | None = None, *, keeps: bool = False, **dynamic: str) -> None:
        """`keeps`: on disk, over a restart. `dynamic`: Temporal's dynamic config, with `__` for `.` in the
        names."""
        self.database = home / "temporal.db" if keeps else None
        self.dynamic = [f"{name.replace('__', '.')}={value}" for name, value in dynamic.items()]
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = os.environ.get("TEMPORAL_CLI") or shutil.which("temporal")
        assert command, "the end-to-end tests need the temporal command: `make temporal`"
        options = ["--headless", "--port", str(self.port)]  # in memory: its disk writes are not our subject
        if self.database is not None:
            options += ["--db-filename", str(self.database)]
        options += [word for one in self.dynamic for word in ("--dynamic-config-value", one)]
        log = (self._home / "temporal.log").open("ab")
        self._process = subprocess.Popen(
            [command, "server", "start-dev", *options, "--log-level", "error"], stdout=log, stderr=log
        )
        log.close()
        self._wait([command, "operator", "cluster", "health", "--address", self.address])

    def _wait(self, health: list[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(health, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, "the Temporal server did not start"
            time.sleep(0.05)

    def cli(self, *words: str) -> str:
        """What Temporal's own command says."""
        command = os.environ.get("TEMPORAL_CLI") or "temporal"
        done = subprocess.run([command, *words, "--address", self.address], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def story(self) -> str:
        """The executions that go on, and who serves their task queues: for a test that waited in vain."""
        try:
            running = json.loads(
                self.cli("workflow", "list", "-q", "ExecutionStatus='Running'", "-o", "json", "--limit", "5")
            )
            told = []
            for item in running:
                workflow_id, queue = item["execution"]["workflowId"], item.get("taskQueue", "")
                told.append(self.cli("workflow", "show", "-w", workflow_id))
                told.append(self.cli("workflow", "describe", "-w", workflow_id))
                if queue:
                    told.append(self.cli("task-queue", "describe", "--task-queue", queue))
            told.append(self.cli("worker", "deployment", "list"))
            return "\n".join(told)[:40_000]
        except (AssertionError, ValueError, KeyError) as error:
            return f"not to be had: {error}"

    def probe(self) -> None:
        """Raises OSError when nobody listens."""
        socket.create_connection(("127.0.0.1", self.port), 1).close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def quickly_drained(home: Path) -> Iterator[TemporalServer]:
    """A server that says "drained" within seconds, and not within minutes: old versions don't pile up."""
    server = TemporalServer(
        home,
        matching__wv__VersionDrainageStatusVisibilityGracePeriod='"2s"',
        matching__wv__VersionDrainageStatusRefreshInterval='"1s"',
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Host:
    """One timewright host: a source folder, a data directory, and the processes on them."""

    def __init__(self, home: Path, temporal: str, name: str = "") -> None:
        """`name`: of this host in its fleet."""
        self.home, self.temporal, self.name = home, temporal, name
        self.specs, self.data = home / "specs", home / "data"
        self.specs.mkdir(parents=True, exist_ok=True)
        base = self.data / "cache" / "base"
        if BASES.is_dir() and not base.exists():  # it takes seconds to make, and is the same for all tests
            shutil.copytree(BASES, base)
        self.log_file = home / "daemon.log"
        self.worker_log = home / "worker.log"
        # E2E_CONFINE=pool runs any of these tests with confined workers.
        self.confine = os.environ.get("E2E_CONFINE", "off")
        self.settings: dict[str, str] = {}  # further variables of the daemon's environment
        self.daemon: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    # processes

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        if self.name:
            more = {"TIMEWRIGHT_FLEET_HOST": self.name, **more}
        more = {**self.settings, **more}
        return {**kept, "TEMPORAL_ADDRESS": self.temporal, "PYTHONPATH": str(REPO / "daemon"), **more}

    def start_daemon(self, *arguments: str, **env: str) -> None:
        with self.log_file.open("ab") as log:
            self.daemon = subprocess.Popen(
                self.command("run", *arguments),
                stdout=log,
                stderr=log,
                env=self.environment(**env),
            )

    def start_worker(self) -> None:
        self.data.mkdir(exist_ok=True)
        host = REPO / "worker" / "dist" / "host.js"
        named = ["--name", self.name] if self.name else []
        confiner = json.dumps([sys.executable, "-I", "-S", confine.__file__])
        named += ["--confine", self.confine, "--confiner", confiner]
        with self.worker_log.open("ab") as log:
            self.worker = subprocess.Popen(
                ["node", host, "--data", self.data, "--temporal", self.temporal, "--log", "json", *named],
                stdout=log,
                stderr=log,
                env=self.environment(),
            )

    def kill_daemon(self) -> None:
        _end(self.daemon, signal.SIGKILL)

    def stop_daemon(self) -> int:
        return _end(self.daemon, signal.SIGTERM)

    def kill_worker(self) -> None:
        _end(self.worker, signal.SIGKILL)

    def stop_all(self) -> None:
        _end(self.daemon, signal.SIGTERM)
        _end(self.worker, signal.SIGTERM)
        made = self.data / "cache" / "base"
        if made.is_dir() and not BASES.exists():
            shutil.copytree(made, BASES)

    # the command line

    def where(self) -> list[str]:
        return ["--source", str(self.specs), "--data", str(self.data)]

    def command(self, verb: str, *arguments: str) -> list[str]:
        """The command line of a verb on this host."""
        return [*self._timewright(), verb, *self.where(), *arguments]

    def _timewright(self) -> list[str]:
        return [sys.executable, "-m", "timewright.cli.main"]

    def cli(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        verb, *rest = arguments
        options = [] if verb in ("validate", "token") else self.where()
        return subprocess.run(
            [*self._timewright(), verb, *options, *rest],
            env=self.environment(TIMEWRIGHT_DATA_DIRECTORY=str(self.data)),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=check,
        )

    def api(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask the daemon's API over its socket; anything but 2xx fails."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.data / "api.sock")), timeout=30) as line:
            answer = line.request(method, f"http://timewright{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def is_ready(self) -> bool:
        """Whether the daemon's API says so."""
        with socket.socket(socket.AF_UNIX) as line:
            try:
                line.connect(str(self.data / "api.sock"))
                line.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                return line.recv(100).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    def status(self, workflow_id: str) -> dict[str, Any]:
        """What `timewright status ID --json` says; {} while it doesn't know the workflow. Read in
        this process: a new one for each look would be load enough to disturb what is looked at."""
        record = self._asked(lambda state: state.record(workflow_id))
        return workflow_view(record) if record else {}

    def history(self, workflow_id: str) -> list[str]:
        """The statuses that a workflow went through, as `timewright logs` says; read as `status` is."""
        events = self._asked(lambda state: state.history(workflow_id)) or []
        return [event.new for event in events if event.kind == "status"]

    def _asked(self, question: Callable[[StateFile], T]) -> T | None:
        """What the state file says; None while there is none."""
        try:
            state = StateFile(self.data / "state.db", read_only=True)
        except TimewrightError:
            return None
        try:
            return question(state)
        finally:
            state.close()

    def release(self, workflow_id: str) -> str | None:
        link = self.data / "workflows" / workflow_id
        try:
            return link.readlink().name
        except OSError:  # none, or no link; it may go as we look
            return None

    async def serving(self, name: str, spec: dict[str, Any]) -> None:
        """Start both processes, and wait until this first spec is served."""
        self.start_worker()
        self.start_daemon()
        self.put(name, spec)
        await self.until_served(str(spec["workflowId"]))

    # the source

    def put(self, name: str, spec: dict[str, Any] | str) -> None:
        """Put a spec into the source as a careful tool does: written aside, then renamed."""
        text = spec if isinstance(spec, str) else json.dumps(spec)
        aside = self.specs / f".{name}.part"
        aside.write_text(text)
        aside.replace(self.specs / name)

    def remove(self, name: str) -> None:
        (self.specs / name).unlink()

    # waiting

    async def until(self, what: str, true: Callable[[], bool], patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not await asyncio.to_thread(true):
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {patience} s: {what}\n{self.tail()}")
            await asyncio.sleep(0.1)

    async def until_status(self, workflow_id: str, status: str, **more: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def there() -> bool:
            found.clear()
            found.update(self.status(workflow_id))
            return found.get("status") == status and all(
                found.get(key) == value for key, value in more.items()
            )

        await self.until(f"{workflow_id} is {status} {more}", there)
        return found

    async def until_served(self, workflow_id: str) -> dict[str, Any]:
        return await self.until_status(workflow_id, "DEPLOYED", health="Healthy")

    def tail(self) -> str:
        texts = [
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-40:])
            for path in (self.log_file, self.worker_log)
            if path.exists()
        ]
        return "\n".join(texts)


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> int:
    if process is None:
        return 0
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(45)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


@contextmanager
def running_host(home: Path, temporal: str, name: str = "") -> Iterator[Host]:
    host = Host(home, temporal, name)
    try:
        yield host
    finally:
        host.stop_all()


async def run_workflow(
    client: Client, workflow_type: str, *arguments: Any, queue: str, patience: float = 40.0
) -> Any:
    """Start an execution and wait for what its code returns."""
    workflow_id = f"{workflow_type}-{time.time_ns()}"
    handle = await client.start_workflow(workflow_type, args=arguments, id=workflow_id, task_queue=queue)
    return await asyncio.wait_for(handle.result(), patience)


async def until_async(what: str, true: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not await true():
        assert time.monotonic() < deadline, f"not in {patience} s: {what}"
        await asyncio.sleep(0.2)
