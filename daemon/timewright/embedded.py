"""`run --embedded`: the worker host, and a Temporal dev server when none answers, as our children.

For a laptop and for `make run`. On a real host the worker host is a unit of its own, so that a
restart of the daemon never stops a running workflow.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from timewright import log
from timewright.config import SETUP, Config
from timewright.core.errors import TimewrightError
from timewright.edge import confine, process

_RESTART = (0.5, 30.0)  # seconds before a dead child is started again: first, most
_STOP_AFTER = 40.0  # seconds that a child may take to stop: the worker's grace and a little


@asynccontextmanager
async def embedded(config: Config) -> AsyncIterator[None]:
    """Run the helpers around the body; they are stopped, politely first, when it ends."""
    children = [_Child("worker host", worker_command(config), worker_environment(config))]
    if temporal := await _temporal_command(config):
        children.insert(0, _Child("temporal", temporal, dict(os.environ)))
    for child in children:
        child.begin()
    try:
        yield
    finally:
        for child in reversed(children):  # workers first: they say goodbye to the server
            await child.end()


def worker_command(config: Config) -> Sequence[str | Path]:
    """The command line of the worker host. Raises TimewrightError when it isn't built."""
    host = config.toolchain_path / "dist" / "host.js"
    if not host.is_file():
        raise TimewrightError(f"the worker host is not built: {host} is missing", hint=SETUP)
    command: list[str | Path] = [config.node_command, host, "--data", config.data_path]
    command += [
        "--listen",
        config.worker_url,
        "--temporal",
        config.temporal.address,
        "--name",
        config.host_name,
        "--log",
        _log_style(config),
    ]
    if config.worker.token_file:
        command += ["--token-file", config.path(config.worker.token_file)]
    return [*command, *_confining(config)]


def _confining(config: Config) -> list[str]:
    """What a confined worker process may touch, and the program that puts it there."""
    if config.worker.confine == "off":
        return []
    words = ["--confine", config.worker.confine]
    words += ["--confiner", json.dumps([sys.executable, "-I", "-S", str(confine.__file__)])]
    words += [word for path in config.worker.may_read for word in ("--may-read", str(config.path(path)))]
    return words + [
        word for path in config.worker.may_write for word in ("--may-write", str(config.path(path)))
    ]


def _log_style(config: Config) -> str:
    if config.log.format != "auto":
        return config.log.format
    return "pretty" if os.isatty(2) else "json"


def worker_environment(config: Config) -> dict[str, str]:
    """The environment of the worker host; its worker processes get a part of it (processes.ts)."""
    return {**os.environ, "NODE_ENV": config.worker.node_env}


async def _temporal_command(config: Config) -> Sequence[str | Path] | None:
    """The dev server's command line, when nobody answers at a local address and we have the command."""
    host, _, port = config.temporal.address.rpartition(":")
    if await _answers(host, port):
        log.get().info("temporal", because=f"a server answers at {config.temporal.address}")
        return None
    command = shutil.which("temporal")
    if command is None or host not in ("127.0.0.1", "localhost"):
        log.get().warning(
            "temporal",
            because=f"nobody answers at {config.temporal.address}: deploys go on, and the workers connect"
            " when it is there. `make temporal` builds a dev server",
        )
        return None
    database = config.data_path / "temporal.db"
    log.get().info(
        "temporal", because=f"starting a dev server at {config.temporal.address}", data=str(database)
    )
    options: list[str | Path] = ["--headless", "--ip", "127.0.0.1", "--port", port, "--db-filename", database]
    namespace = config.temporal.namespace
    if namespace != "default":
        options += ["--namespace", namespace]
    return [command, "server", "start-dev", *options, "--log-level", "error"]


async def _answers(host: str, port: str) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 1.0)
    except (OSError, ValueError, TimeoutError):
        return False
    writer.close()
    return True


class _Child:
    """One helper: started again when it dies, stopped with us."""

    def __init__(self, name: str, command: Sequence[str | Path], env: dict[str, str]) -> None:
        self.name, self._command, self._env = name, command, env
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        wait, most = _RESTART
        while True:
            try:
                self._process = await process.start(self._command, env=self._env, pipes=False)
                code: object = await self._process.wait()
            except OSError as error:
                code = error.strerror
            log.get().error(f"{self.name} stopped", because=f"exit {code}", next_try_s=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, most)

    async def end(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        child = self._process
        if child is None or child.returncode is not None:
            return
        process.kill(child, signal.SIGTERM)
        try:
            await asyncio.wait_for(child.wait(), _STOP_AFTER)
        except TimeoutError:
            process.kill(child)
            await child.wait()
