"""Reads repositories with the system's git, without a checkout: nothing that a repository holds ever runs.

A work tree would run the filters, hooks and drivers that its attributes and configuration name. Here trees
are listed and blobs are read, so a repository's content is only data; and a commit is complete by nature.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from timewright.core.commits import LOG_FORMAT, Commit, origins, parse_commit, parse_log
from timewright.core.errors import TimewrightError
from timewright.core.gitwords import Fault, explain
from timewright.edge import process

LINK, SUBMODULE = "120000", "160000"

#: What a repository's own configuration may not decide. The command line wins over it.
_SAFE = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.pager": "cat",
    "core.alternateRefsCommand": "true",
    "core.askPass": "true",
    "log.showSignature": "false",
    "uploadpack.packObjectsHook": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
}
#: Where git would look for another repository than the one that is meant (a hook of git's sets them).
_LOCAL = re.compile(
    r"GIT_(?:DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|NAMESPACE|PREFIX|"
    r"COMMON_DIR|CONFIG|CONFIG_PARAMETERS|CONFIG_COUNT|CONFIG_KEY_\d+|CONFIG_VALUE_\d+|GRAFT_FILE|"
    r"SHALLOW_FILE|REPLACE_REF_BASE|INTERNAL_\w+|QUARANTINE_PATH|EXTERNAL_DIFF|PAGER|EDITOR|TRACE\w*|REDIRECT\w*)$"
)
#: Where git runs: from a folder of specs it would take up the settings of a `.git` that lies there.
_NOWHERE = Path("/")
_LOG_COMMITS = 20_000  # looked through for who changed what; what is older names the head


class GitError(TimewrightError):
    """A git command failed. `fault` says whose fault it is."""

    def __init__(self, fault: Fault, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fault = fault


class TooLargeError(GitError):
    """A blob is larger than the caller takes; `size` in bytes. Nothing of it was read."""

    def __init__(self, oid: str, size: int) -> None:
        super().__init__(Fault.OTHER, f"object {oid[:12]} has {size:,} bytes")
        self.size = size


class Entry(NamedTuple):
    """One file of a commit. `path` is relative to the folder asked for, posix, with surrogates where it is
    no UTF-8. `mode`: '100644', '100755', LINK or SUBMODULE. `size` in bytes, -1 where it has none."""

    path: str
    mode: str
    oid: str
    size: int


@dataclass(frozen=True)
class Place:
    """A folder in a work tree. `prefix`: its path below the top, '' for the top itself."""

    git_dir: Path
    top: Path
    prefix: str


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a git command: ours, without what points it at another repository, and never
    asking a person."""
    kept = {key: value for key, value in os.environ.items() if not _LOCAL.match(key)}
    return {
        **kept,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",  # refs/replace would show another content for a commit
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",  # reading never goes to the network
        **(more or {}),
    }


def settings(more: Mapping[str, str] | None = None) -> list[str]:
    """`-c` options for a git command."""
    return [word for key, value in {**_SAFE, **(more or {})}.items() for word in ("-c", f"{key}={value}")]


async def run(
    arguments: Sequence[str | Path],
    *,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    timeout: float = 60.0,  # noqa: ASYNC109 - the process group is killed, not just the await
    ok: Iterable[int] = (0,),
) -> process.Finished:
    """One git command, to its end. Raises GitError for an exit code that isn't `ok`, for a git that isn't
    there, and for one that takes longer than `timeout` seconds."""
    try:
        done = await process.run(
            ["git", *settings(config), *arguments],
            cwd=_NOWHERE,
            env=environment(env),
            stdin=stdin,
            timeout=timeout,
        )
    except TimeoutError:
        raise GitError(
            Fault.UNREACHABLE, f"git {_verb(arguments)} took longer than {timeout:g} s", hint=""
        ) from None
    except OSError as error:
        raise GitError(
            Fault.OTHER, f"git can't be run: {error.strerror}", hint="install git 2.34 or newer"
        ) from None
    if done.code not in ok:
        fault, message, hint = explain(done.stderr.decode("utf-8", "replace"), done.code)
        raise GitError(fault, message, hint=hint)
    return done


def _verb(arguments: Sequence[str | Path]) -> str:
    known = {"fetch", "ls-remote", "ls-tree", "log", "rev-list", "gc", "verify-commit", "verify-tag"}
    return next((str(word) for word in arguments if word in known), "")


async def find(folder: Path) -> Place | None:
    """Where a folder lies in a work tree; None when it is in none, or in one that git doesn't trust."""
    words: list[str | Path] = [
        "-C",
        folder,
        "rev-parse",
        "--absolute-git-dir",
        "--show-toplevel",
        "--show-prefix",
    ]
    try:
        done = await run(words, timeout=10.0)
    except GitError:
        return None
    lines = os.fsdecode(done.stdout).split("\n")
    if len(lines) < 3:
        return None
    return Place(Path(lines[0]), Path(lines[1]), lines[2].rstrip("/"))


class Git:
    """Reading verbs on one repository: a bare one, or the `.git` of a work tree. Each raises GitError."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir

    async def _run(self, *words: str, stdin: bytes | None = None, ok: Iterable[int] = (0,)) -> bytes:
        return (await run(["--git-dir", self.git_dir, *words], stdin=stdin, ok=ok)).stdout

    async def resolve(self, ref: str) -> str | None:
        """The commit that something names (a branch, a tag, `HEAD~2`, a hash); None when there is none."""
        words = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
        found = (await self._run(*words, ok=(0, 1, 128))).decode().strip()
        return found or None

    async def merge_base(self, a: str, b: str) -> str | None:
        """The newest commit that both descend from; None when there is none."""
        return (await self._run("merge-base", a, b, ok=(0, 1))).decode().strip() or None

    async def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` has `old` in its history, as far as it is here."""
        done = await run(["--git-dir", self.git_dir, "merge-base", "--is-ancestor", old, new], ok=(0, 1))
        return done.code == 0

    async def has(self, sha: str) -> bool:
        """Whether a commit is here."""
        done = await run(["--git-dir", self.git_dir, "cat-file", "-e", f"{sha}^{{commit}}"], ok=(0, 1, 128))
        return done.code == 0

    async def count(self, old: str, new: str) -> int:
        """How many commits `new` has that `old` has not."""
        return int(await self._run("rev-list", "--count", f"{old}..{new}"))

    async def between(self, old: str, new: str) -> list[str]:
        """Those commits, oldest first."""
        return (await self._run("rev-list", "--reverse", f"{old}..{new}")).decode().split()

    async def missing(self, oids: Iterable[str]) -> list[str]:
        """Which objects are not here."""
        asked = "".join(f"{oid}\n" for oid in dict.fromkeys(oids)).encode()
        listed = await self._run("cat-file", "--batch-check=%(objectname)", "--buffer", stdin=asked)
        return [line.split()[0].decode() for line in listed.splitlines() if line.endswith(b" missing")]

    async def tree(self, sha: str, folder: str = "", *, sizes: bool = True) -> list[Entry]:
        """All files of a commit below `folder`. A folder that isn't there has none. Without `sizes` nothing
        is looked at but names: of a partial clone not all contents are here."""
        base = posixpath.normpath(folder).strip("/") if folder else ""
        base = "" if base == "." else base
        words = ["ls-tree", "-r", "-z", *(["-l"] if sizes else []), "--full-tree", sha]
        listed = await self._run(*words, *(("--", f":(literal){base}/") if base else ()))
        cut = len(base) + 1 if base else 0
        return [_entry(line, cut) for line in listed.split(b"\0") if line]

    async def commit(self, sha: str) -> Commit:
        return parse_commit(sha, await self._run("cat-file", "commit", sha))

    async def origins(self, sha: str, folder: str, paths: set[str], since: str = "") -> Mapping[str, Commit]:
        """Which commit last changed each of `paths` (relative to `folder`), among those that `since` has
        not; paths that none of them changed are missing."""
        if not paths:
            return {}
        base = folder.strip("/")
        words = [
            "log",
            "-z",
            "--name-only",
            "--no-renames",
            f"--format={LOG_FORMAT}",
            "-n",
            str(_LOG_COMMITS),
        ]
        revisions = [sha] + ([f"^{since}"] if since else [])
        listed = await self._run(*words, *revisions, "--", *((f":(literal){base}/",) if base else ()))
        prefix = f"{base}/" if base else ""
        found = origins(parse_log(listed), {prefix + path for path in paths})
        return {path.removeprefix(prefix): commit for path, commit in found.items()}

    async def follow_links(self, sha: str, paths: Sequence[str]) -> list[str | None]:
        """What links of a commit lead to, by path from its top: the blob's id, None for what leads out of
        the repository, to nothing, to a folder or in a circle."""
        if not paths:
            return []
        asked = b"".join(f"{sha}:".encode() + os.fsencode(path) + b"\n" for path in paths if "\n" not in path)
        listed = await self._run("cat-file", "--batch-check", "--follow-symlinks", stdin=asked)
        answers = iter(_link_answers(listed))
        return [None if "\n" in path else next(answers, None) for path in paths]

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[BlobReader]:
        """One process that hands out blobs, for as long as the block lasts."""
        words: list[str | Path] = ["git", *settings(), "--git-dir", self.git_dir, "cat-file", "--batch"]
        child = await process.start(words, cwd=_NOWHERE, env=environment())
        try:
            yield BlobReader(child)
        finally:
            process.kill(child)
            with suppress(ProcessLookupError):
                await child.wait()

    async def read(self, oid: str) -> bytes:
        """One blob's content."""
        async with self.reader() as reader:
            return await reader.read(oid)


class BlobReader:
    """Blobs by their id, one after the other."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self._lock = asyncio.Lock()

    async def read(self, oid: str, most: int | None = None) -> bytes:
        """As `Blobs.read`; of no more use after an error."""
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:  # pragma: no cover - they are pipes
            raise GitError(Fault.OTHER, "git has no pipes")
        async with self._lock:
            try:
                stdin.write(oid.encode() + b"\n")
                await stdin.drain()
                head = (await stdout.readline()).split()
                if len(head) != 3:
                    raise GitError(Fault.CORRUPT, f"our clone is damaged: object {oid[:12]} can't be read")
                if most is not None and int(head[2]) > most:
                    raise TooLargeError(oid, int(head[2]))
                data = await stdout.readexactly(int(head[2]) + 1)
            except (OSError, asyncio.IncompleteReadError) as error:
                raise GitError(
                    Fault.CORRUPT, f"our clone is damaged: object {oid[:12]} can't be read"
                ) from error
        return data[:-1]


class Blobs:
    """Blobs of one repository, for whoever needs one: the process that hands them out is started when it is
    needed, and goes after a while of quiet."""

    def __init__(self, git: Git, quiet: float = 10.0) -> None:
        self._git, self._quiet = git, quiet
        self._stack: AsyncExitStack | None = None
        self._reader: BlobReader | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def read(self, oid: str, most: int | None = None) -> bytes:
        """A blob's content. Raises GitError when it is missing or damaged, TooLargeError when it has more
        than `most` bytes."""
        async with self._lock:
            if self._reader is None:
                self._stack = AsyncExitStack()
                self._reader = await self._stack.enter_async_context(self._git.reader())
            try:
                data = await self._reader.read(oid, most)
            except GitError:
                await self._end()  # it may have died of what it read, or still be at it
                raise
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(self._quiet, self._rest)
            return data

    def _rest(self) -> None:
        self._closing = asyncio.ensure_future(self.close())

    async def close(self) -> None:
        async with self._lock:
            await self._end()

    async def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        stack, self._stack, self._reader, self._timer = self._stack, None, None, None
        if stack is not None:
            await stack.aclose()


def _entry(line: bytes, cut: int) -> Entry:
    """`100644 blob OID      12\\tpath`, or the same without the size; `cut`: characters of the folder's
    name."""
    meta, _, path = line.partition(b"\t")
    mode, _, oid, size = (*meta.split(), b"-")[:4]
    name = path.decode("utf-8", "surrogateescape")
    return Entry(name[cut:], mode.decode(), oid.decode(), int(size) if size.isdigit() else -1)


def _link_answers(said: bytes) -> Iterator[str | None]:
    """Of `cat-file --batch-check --follow-symlinks`: one line for a blob; for what is none one that tells the
    length of the text after it, which may well have lines that look like answers."""
    at = 0
    while at < len(said):
        end = said.find(b"\n", at)
        line = said[at : end if end >= 0 else len(said)]
        at += len(line) + 1
        words = line.split(b" ")
        if words[0] in (b"symlink", b"dangling", b"loop", b"notdir") and len(words) == 2:
            at += (int(words[1]) if words[1].isdigit() and len(words[1]) < 10 else 0) + 1
            yield None
        elif line.endswith((b" missing", b" ambiguous")):
            yield None
        elif line:
            yield words[0].decode() if words[1:2] == [b"blob"] and _is_oid(words[0]) else None


def _is_oid(word: bytes) -> bool:
    return len(word) in (40, 64) and word.isalnum()
