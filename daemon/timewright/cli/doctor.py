"""`timewright doctor`: is everything here that a deploy needs? Says what to do where it isn't."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import click

from timewright.cli.common import console, json_option, print_json, safe, settings, settings_options
from timewright.config import SETUP, Config
from timewright.core.errors import TimewrightError
from timewright.core.gitrefs import location
from timewright.edge import process
from timewright.edge.git import GitError
from timewright.edge.tschild import tsc_binary
from timewright.edge.worker import WorkerHost
from timewright.following import remote_of

_LOW_DISK = 512 * 1024 * 1024  # bytes: some hundred releases
_LOW_WATCHES = 8192
_GIT = (2, 34)  # verifies SSH signatures


@dataclass(frozen=True)
class Finding:
    """One check. `level`: ok, warning (works, but) or error (won't work)."""

    check: str
    level: str
    message: str
    hint: str = ""


@click.command("doctor")
@settings_options
@json_option
def command(config_file: Path | None, source: Path | None, data: Path | None, as_json: bool) -> None:
    """Check Node, compiler, worker host, Temporal, disk and permissions. Exit code 1 if one of them fails."""
    config = settings(config_file, source, data)
    findings = asyncio.run(examine(config))
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            _show(finding)
    sys.exit(1 if any(finding.level == "error" for finding in findings) else 0)


def _show(finding: Finding) -> None:
    style = {"ok": "green", "warning": "yellow", "error": "red"}[finding.level]
    out = console()
    out.print(f"[{style}]{finding.level:8}[/]{finding.check:14}{safe(finding.message)}")
    if finding.hint:
        out.print(f"{'':22}Try: {safe(finding.hint)}")


async def examine(config: Config) -> list[Finding]:
    """Every check, in the order of what depends on what."""
    checks: list[Callable[[Config], Awaitable[Finding]]] = [
        _node, _compiler, _bundler, _confine, _git, _source, _data, _disk, _watches, _worker, _temporal,
    ]  # fmt: skip
    return [await check(config) for check in checks]


async def _node(config: Config) -> Finding:
    try:
        done = await process.run([config.node_command, "--version"], timeout=10)
        version = done.stdout.decode().strip()
        major = int(version.lstrip("v").split(".")[0])
    except (OSError, ValueError, TimeoutError) as error:
        hint = "install Node 20 or newer, or set compiler.node"
        return Finding("node", "error", f"{config.node_command} can't be run: {error}", hint)
    if major < 20:
        return Finding(
            "node", "error", f"{version} is too old", "install Node 20 or newer, or set compiler.node"
        )
    return Finding("node", "ok", version)


async def _compiler(config: Config) -> Finding:
    try:
        binary = tsc_binary(config.toolchain_path)
        done = await process.run([binary, "--version"], timeout=20)
    except (OSError, TimewrightError, TimeoutError) as error:
        return Finding("compiler", "error", f"TypeScript can't be run: {error}", SETUP)
    return Finding("compiler", "ok", f"TypeScript {done.stdout.decode().strip().removeprefix('Version ')}")


async def _bundler(config: Config) -> Finding:
    missing = [
        name
        for name in ("host.js", "base.js", "replay.js")
        if not (config.toolchain_path / "dist" / name).is_file()
    ]
    if missing:
        where = config.toolchain_path / "dist"
        return Finding("worker code", "error", f"{', '.join(missing)} is missing in {where}", SETUP)
    return Finding("worker code", "ok", str(config.toolchain_path))


async def _confine(config: Config) -> Finding:
    if missing := process.confinement():
        return Finding("confinement", "warning", missing, "Linux 5.13 or newer has it; see docs/security.md")
    workers = "to their pool" if config.worker.confine == "pool" else "no: worker.confine is off"
    return Finding("confinement", "ok", f"compilers and npm: yes; workers: {workers}")


async def _source(config: Config) -> Finding:
    for path in config.folders:
        if not path.is_dir():
            return Finding("source", "warning", f"{path} is not there yet", "it is made at the first run")
        if not os.access(path, os.R_OK | os.X_OK):
            return Finding(
                "source", "error", f"{path} can't be read by this user", "check its owner and mode"
            )
    for one in config.followed:
        if one.settings.git:
            try:
                await remote_of(config, one).refs("HEAD")
            except GitError as error:
                return Finding(
                    "source", "error", f"{location(one.settings.git)}: {error.message}", error.hint
                )
    named = [location(one.settings.git) or str(config.path(one.settings.path)) for one in config.followed]
    return Finding("source", "ok", ", ".join(named))


async def _git(config: Config) -> Finding:
    """Only git sources need it; with it, a folder that is a work tree knows its commits."""
    needed = any(one.settings.git for one in config.followed)
    try:
        done = await process.run(["git", "--version"], timeout=10)
        words = done.stdout.decode().split()
        version = tuple(int(part) for part in words[2].split(".")[:2])
    except (OSError, ValueError, IndexError, TimeoutError):
        return Finding(
            "git", "error" if needed else "ok", "git is not there", "install git" if needed else ""
        )
    if needed and version < _GIT:
        return Finding("git", "error", f"git {words[2]} is too old", "install git 2.34 or newer")
    return Finding("git", "ok", words[2])


async def _data(config: Config) -> Finding:
    path = config.data_path
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(
            "data", "error", f"{nearest} can't be written by this user", "check its owner and mode"
        )
    return Finding("data", "ok", str(path))


async def _disk(config: Config) -> Finding:
    nearest = next(p for p in (config.data_path, *config.data_path.parents) if p.exists())
    free = shutil.disk_usage(nearest).free
    text = f"{free // (1024 * 1024)} MiB free"
    if free < _LOW_DISK:
        return Finding("disk", "warning", text, "make room: a full disk stops deploys, not what runs")
    return Finding("disk", "ok", text)


async def _watches(_: Config) -> Finding:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    if not limit.is_file():
        return Finding(
            "watching", "warning", "this system has no inotify", "changes are found by polling each second"
        )
    count = int(limit.read_text())
    if count < _LOW_WATCHES:
        hint = f"sysctl fs.inotify.max_user_watches={_LOW_WATCHES * 16}"
        return Finding("watching", "warning", f"only {count} inotify watches for each user", hint)
    return Finding("watching", "ok", f"{count} inotify watches")


async def _worker(config: Config) -> Finding:
    host = WorkerHost(config.worker_url, token=config.worker_token(), timeout=5)
    serving = await host.serving()
    await host.close()
    if not serving.reachable:
        hint = "start it: `timewright run --embedded`, or the unit timewright-worker"
        return Finding("worker host", "warning", f"{config.worker_url}: {serving.error}", hint)
    served = {item for slot in serving.slots if slot.state == "polling" for item in slot.releases}
    return Finding("worker host", "ok", f"{config.worker_url}, serves {len(served)} workflows")


async def _temporal(config: Config) -> Finding:
    host, _, port = config.temporal.address.rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 3)
        writer.close()
    except (OSError, ValueError, TimeoutError):
        hint = (
            "start Temporal (`temporal server start-dev`, or `make temporal` first), or set temporal.address"
        )
        return Finding("temporal", "warning", f"nobody answers at {config.temporal.address}", hint)
    return Finding("temporal", "ok", f"{config.temporal.address} answers")
