"""The only module that starts processes. A command line is a value: a list, never a shell."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _child_setup(memory: int | None) -> None:
    """Runs in the child before exec: own process group, and death together with the daemon.

    PDEATHSIG is why a SIGKILL of the daemon leaves no compiler behind (faults.md A7).
    RLIMIT_DATA and not RLIMIT_AS: Go and V8 reserve far more address space than they use.
    """
    os.setsid()
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True)
class Finished:
    """What a process that ran to its end left behind."""

    code: int
    stdout: bytes
    stderr: bytes


async def start(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pipes: bool = True,
    memory: int | None = None,
) -> asyncio.subprocess.Process:
    """Start a long-lived child in its own process group; it dies with the daemon.

    `pipes`: connect stdin, stdout and stderr; otherwise the child shares ours.
    `memory`: bytes that it may allocate (RLIMIT_DATA), None for no limit.
    Raises FileNotFoundError or PermissionError when the command can't be run.
    """
    pipe = asyncio.subprocess.PIPE if pipes else None
    return await asyncio.create_subprocess_exec(
        *[str(word) for word in command],
        cwd=cwd,
        env=dict(env) if env is not None else None,
        stdin=pipe if pipes else asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        preexec_fn=functools.partial(_child_setup, memory),
        limit=64 * 1024 * 1024,
    )


async def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float,  # noqa: ASYNC109 - the caller wants the process group killed, not just the await
    memory: int | None = None,
) -> Finished:
    """Run a command to its end and collect what it printed.

    `memory` as in `start`. `timeout` in seconds; on TimeoutError and on cancellation the whole
    process group is killed.
    """
    process = await start(command, cwd=cwd, env=env, memory=memory)
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), timeout)
    finally:
        if process.returncode is None:
            kill(process)
            with contextlib.suppress(ProcessLookupError):
                await process.wait()
    return Finished(process.returncode or 0, out, err)


def kill(process: asyncio.subprocess.Process, sig: signal.Signals = signal.SIGKILL) -> None:
    """Signal a child's whole process group; a child that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sig)
