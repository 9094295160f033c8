"""What one commit says: its specs, as a scan of a folder would find them, without a work tree."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from timewright.core.commits import Commit
from timewright.core.document import Limits
from timewright.core.errors import Problem
from timewright.core.gitwords import Fault
from timewright.core.landing import Outcome
from timewright.core.stored import json_of, shaped
from timewright.edge import files
from timewright.edge.git import LINK, SUBMODULE, Blobs, Entry, Git, GitError, TooLargeError
from timewright.edge.source import (
    MAX_DEPTH,
    MAX_SPECS,
    Seen,
    escape,
    is_clean_name,
    is_followed_name,
    is_ignored_name,
)

_FORMAT = 1
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_LINK = 64 * 1024  # bytes of a link's text; the kernel takes 4,096


@dataclass(frozen=True)
class Listed:
    """One file of a commit. `oid` of its blob, '' where it can't be had; `digest` is the content's SHA-256,
    None where `problem` says why it wasn't read."""

    oid: str
    digest: str | None
    problem: Problem | None = None


@dataclass(frozen=True)
class Adopted:
    """The commit that a source stands at: complete, checked, and durable before anybody sees it.

    `anchor`: of which repository and ref. `shape`: by which settings it was listed. `files`: by path below
    the source's folder. `origins`: path → the commit that last changed it. `at`: when it was adopted, seconds
    since the epoch. `previous`: the commit before, '' for none. `changed`: what it changed, with what the
    earlier commits in `landing` did, whose deploys were not done yet. `outcome`: what became of it, once
    nothing of it can change by itself; the next commit then begins anew.
    """

    anchor: str
    shape: str
    commit: Commit
    at: float
    tag: str = ""
    previous: str = ""
    files: Mapping[str, Listed] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    commits: Mapping[str, Commit] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    landing: tuple[str, ...] = ()
    outcome: Outcome | None = None

    def origin(self, path: str) -> str:
        """The commit that last changed a file; the adopted one where that isn't known."""
        return self.origins.get(path, self.commit.sha)

    @cached_property
    def seen(self) -> tuple[Seen, ...]:
        """The files as a scan finds them, by path."""
        return tuple(
            Seen(path, None, listed.digest, listed.problem, 0) for path, listed in sorted(self.files.items())
        )


async def list_commit(
    git: Git,
    blobs: Blobs,
    sha: str,
    folder: str,
    limits: Limits,
    known: Mapping[str, str],
    bring: Callable[[Sequence[str]], Awaitable[None]] | None = None,
) -> tuple[dict[str, Listed], int]:
    """The specs and policies of a commit below `folder`, and how many contents were read. `known`: SHA-256
    of blobs that were read before, by id. `bring`: of a partial clone, fetches blobs that are not here.
    Raises GitError; a blob that is missing or damaged does, too."""
    entries = [entry for entry in await git.tree(sha, folder, sizes=bring is None) if _is_followed(entry)]
    if len(entries) > MAX_SPECS:
        raise GitError(
            Fault.OTHER, f"the commit has more than {MAX_SPECS:,} specs", hint="is source.subdir right?"
        )
    if bring is not None and (lacking := await git.missing(entry.oid for entry in entries)):
        await bring(lacking)
    links = {entry.path: entry.oid for entry in entries if entry.mode == LINK}
    if bring is not None and (lacking := await _lacking_targets(git, blobs, sha, folder, links)):
        await bring(lacking)
    targets = await _targets(git, sha, folder, list(links))
    found: dict[str, Listed] = {}
    read = 0
    for entry in entries:
        problem = _problem(entry, limits)
        oid = targets.get(entry.path) if entry.mode == LINK else entry.oid
        if problem is None and oid is None:
            problem = Problem(
                entry.path,
                "is a link that leads out of the repository, or to no file",
                "put the file itself here",
            )
        if problem is not None or oid is None:
            found[escape(entry.path)] = Listed("", None, problem)
            continue
        digest = known.get(oid)
        if digest is None:
            read += 1
            digest, problem = await _digest(blobs, oid, entry.path, limits)
        found[entry.path] = Listed(oid, digest, problem)
    return found, read


def _is_followed(entry: Entry) -> bool:
    *above, name = entry.path.split("/")
    if entry.mode == SUBMODULE or any(is_ignored_name(part) for part in above):
        return False
    return is_followed_name(name)


def _problem(entry: Entry, limits: Limits) -> Problem | None:
    if not is_clean_name(entry.path):
        return Problem(
            escape(entry.path),
            "has a name with undecodable, invisible or control characters, or a backslash",
            "rename it",
        )
    if entry.path.count("/") >= MAX_DEPTH:
        return Problem(entry.path, f"is more than {MAX_DEPTH} directories deep")
    return _too_large(entry.path, entry.size, limits)


def _too_large(path: str, size: int, limits: Limits) -> Problem | None:
    if size <= limits.bytes:
        return None
    message = f"has {size:,} bytes, the limit is {limits.bytes:,}"
    return Problem(path, message, "make it smaller, or raise source.max_spec_bytes")


async def _digest(blobs: Blobs, oid: str, path: str, limits: Limits) -> tuple[str | None, Problem | None]:
    try:
        data = await blobs.read(oid, limits.bytes)
    except TooLargeError as error:  # where a link leads, and in a partial clone, no size was known before
        return None, _too_large(path, error.size, limits)
    return hashlib.sha256(data).hexdigest(), None


async def _lacking_targets(
    git: Git, blobs: Blobs, sha: str, folder: str, links: Mapping[str, str]
) -> list[str]:
    """Contents outside of the folder that links lead to, and that a partial clone does not have yet."""
    if not links:
        return []
    paths = set()
    for path, oid in links.items():
        text = (await blobs.read(oid, _MOST_LINK)).decode("utf-8", "surrogateescape")
        paths.add(posixpath.normpath(posixpath.join(folder, posixpath.dirname(path), text)))
    everything = await git.tree(sha, sizes=False)
    return await git.missing(entry.oid for entry in everything if entry.path in paths)


async def _targets(git: Git, sha: str, folder: str, links: list[str]) -> dict[str, str | None]:
    prefix = f"{folder.strip('/')}/" if folder.strip("/.") else ""
    found = await git.follow_links(sha, [prefix + path for path in links])
    return dict(zip(links, found, strict=True))


# On disk ---------------------------------------------------------------------------------------


def store(path: Path, adopted: Adopted) -> None:
    """Keep it, by one rename: a reader after any crash finds the old commit or the new one."""
    content = {
        "format": _FORMAT,
        **{
            key: getattr(adopted, key)
            for key in ("anchor", "shape", "at", "tag", "previous", "changed", "landing")
        },
        "commit": asdict(adopted.commit),
        "outcome": asdict(adopted.outcome) if adopted.outcome is not None else None,
        "files": {
            name: [one.oid, one.digest, asdict(one.problem) if one.problem else None]
            for name, one in adopted.files.items()
        },
        "origins": dict(adopted.origins),
        "commits": {sha: asdict(commit) for sha, commit in adopted.commits.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps(content, separators=(",", ":")).encode(), mode=0o600)


def load(path: Path) -> Adopted | None:
    """What was kept; None when there is nothing. Raises ValueError for what is damaged."""
    try:
        content = json_of(path.read_bytes())
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise ValueError("it is of another format")
        listed = content.pop("files", None)
        if not isinstance(listed, dict):
            raise ValueError("it has no files")
        found: Adopted = shaped(Adopted, content)
        files = {name: _listed(name, row) for name, row in listed.items()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(error.strerror) from None
    shas = [found.commit.sha, *found.commits, *found.origins.values(), *found.landing]
    if not all(map(_OID.fullmatch, shas)):
        raise ValueError("one of its commits is none")
    return replace(found, files=files)


def _listed(name: str, row: Any) -> Listed:
    """A row as `store` writes it: thousands of them, so not by `shaped`. Its names go to git."""
    if not isinstance(row, list) or len(row) != 3 or not name.isprintable():
        raise ValueError(f"{name!r} is no file")
    oid, digest, problem = row
    if not isinstance(oid, str) or not (oid == "" or _OID.fullmatch(oid)):
        raise ValueError(f"{name} has no id")
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ValueError(f"{name} has no digest")
    return Listed(oid, digest, shaped(Problem | None, problem, name))
