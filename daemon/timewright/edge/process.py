"""The only module that starts processes. A command line is a value: a list, never a shell."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from timewright.edge import confine as caging

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Confine:
    """What a child may touch besides the system's libraries: trees and files that it may read, or change.

    `network`: TCP and UDP. `modes`: chmod and the like, of all files of this user (`confine.py`). What isn't
    there when the child starts stays closed to it.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    network: bool = False
    modes: bool = False

    def places(self) -> tuple[tuple[int, int], ...]:
        """Which trees these are now: another one that takes the same name is closed to a child that runs."""
        found = []
        for path in (*self.read, *self.write):
            with contextlib.suppress(OSError):
                there = path.stat()
                found.append((there.st_dev, there.st_ino))
        return tuple(found)


def _child_setup(memory: int | None, cage: caging.Cage | None) -> None:
    """Runs in the child before exec: own process group, death together with the daemon, and its cage.

    PDEATHSIG is why a SIGKILL of the daemon leaves no compiler behind (faults.md A7).
    RLIMIT_DATA and not RLIMIT_AS: Go and V8 reserve far more address space than they use.
    """
    os.setsid()
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if cage is not None:
        cage.enter()


@dataclass(frozen=True)
class Finished:
    """What a process that ran to its end left behind."""

    code: int
    stdout: bytes
    stderr: bytes


def become(command: Sequence[str | Path], env: Mapping[str, str]) -> NoReturn:
    """Another program in our place, under our process id: to who supervises us, nothing has ended.

    Raises FileNotFoundError or PermissionError when the command can't be run.
    """
    words = [str(word) for word in command]
    os.execvpe(words[0], words, dict(env))  # noqa: S606 - a list, and no shell


async def start(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pipes: bool = True,
    memory: int | None = None,
    confine: Confine | None = None,
) -> asyncio.subprocess.Process:
    """Start a long-lived child in its own process group; it dies with the daemon.

    `pipes`: connect stdin, stdout and stderr; otherwise the child shares ours.
    `memory`: bytes that it may allocate (RLIMIT_DATA), None for no limit.
    `confine`: what it may touch, None for all that we may; without Landlock it may all the same.
    Raises FileNotFoundError or PermissionError when the command can't be run.
    """
    pipe = asyncio.subprocess.PIPE if pipes else None
    words = [str(word) for word in command]
    cage = _cage(confine, words[0])
    try:
        return await asyncio.create_subprocess_exec(
            *words,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=pipe if pipes else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            preexec_fn=functools.partial(_child_setup, memory, cage),
            limit=64 * 1024 * 1024,
        )
    except subprocess.SubprocessError as error:  # all that Python says of a child that failed before exec
        raise PermissionError(errno.EPERM, "the child can't be confined or limited", words[0]) from error
    finally:
        if cage is not None:
            cage.close()


def _cage(confine: Confine | None, program: str) -> caging.Cage | None:
    """The cage of a child, with the program itself in it. As much as can be is done here: between fork and
    exec of a process with threads little is safe."""
    if confine is None:
        return None
    read, write = _trees(confine, program)
    return caging.prepare(read, write, network=confine.network, modes=confine.modes)


def _trees(confine: Confine, program: str) -> tuple[list[str], list[str]]:
    """What a child may read, the program itself among it, and what it may change."""
    found = shutil.which(program)
    read = [str(path) for path in confine.read] + ([str(Path(found).resolve())] if found else [])
    return read, [str(path) for path in confine.write]


def confinement() -> str:
    """Why children can't be confined on this host; '' where they are."""
    if caging.abi() > 0:
        return ""
    return "this kernel has no Landlock: compilers and npm can read what this user can read"


async def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float,  # noqa: ASYNC109 - the caller wants the process group killed, not just the await
    memory: int | None = None,
    confine: Confine | None = None,
) -> Finished:
    """Run a command to its end and collect what it printed.

    `memory`, `confine` as in `start`. `timeout` in seconds; on TimeoutError and on cancellation the whole
    process group is killed.
    """
    return await end(await start(command, cwd=cwd, env=env, memory=memory, confine=confine), stdin, timeout)


async def end(
    process: asyncio.subprocess.Process,
    stdin: bytes | None,
    timeout: float,  # noqa: ASYNC109 - as `run`
) -> Finished:
    """Give a process its input, and wait for its end, which comes in any case; raises as `run`."""
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), timeout)
    finally:
        if process.returncode is None:
            kill(process)
            with contextlib.suppress(ProcessLookupError):
                await process.wait()
    return Finished(process.returncode or 0, out, err)


async def wait_in_front() -> asyncio.subprocess.Process:
    """A process that waits on its input for what `confined` says, and becomes that. It dies with the daemon.

    Nothing is done between fork and exec, so that Python copies none of our memory for it. Raises OSError.
    """
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(caging.__file__), "--wait"),
        cwd="/",
        env={},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
        limit=64 * 1024 * 1024,
    )


def confined(command: Sequence[str | Path], confine: Confine, *, cwd: Path, memory: int) -> bytes:
    """The input of one that waits: a command, and its cage."""
    words = ["--cwd", str(cwd), "--memory", str(memory), *(() if confine.network else ("--no-network",))]
    words += [] if confine.modes else ["--no-modes"]
    read, write = _trees(confine, str(command[0]))
    words += [word for path in read for word in ("--read", path)]
    words += [word for path in write for word in ("--write", path)]
    return b"".join(os.fsencode(word) + b"\0" for word in (*words, "--", *map(str, command)))


def kill(process: asyncio.subprocess.Process, sig: signal.Signals = signal.SIGKILL) -> None:
    """Signal a child's whole process group; a child that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sig)
