"""Names: which workflow ids, paths and queue names are safe on every file system.

One allow list each, applied before any path is built (faults.md E1, E3).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote

WORKFLOW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "node_modules", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))}
)
_MAX_NAME = 200  # bytes of one path part: below every file system's 255, with room for temporary names
_FORBIDDEN_FILES = (".npmrc", "binding.gyp")
_OTHER_LOCKS = ("npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "deno.lock")


def id_problem(workflow_id: str) -> str:
    """What is wrong with a workflow id; '' when nothing is."""
    if not WORKFLOW_ID.fullmatch(workflow_id):
        return (
            "must start with a letter or digit and hold only letters, digits, '.', '_' and '-', 128 at most"
        )
    if workflow_id.endswith("."):
        return "must not end with a dot"
    if workflow_id.casefold().split(".")[0] in _RESERVED:
        return "is a reserved name on some file systems"
    return ""


def path_problem(path: str) -> str:
    """What is wrong with a file's path in a spec; '' when nothing is."""
    parts = path.split("/")
    if not path or "\\" in path or not path.isprintable():
        return "must be a plain, printable relative path with '/' between its parts"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "must be relative"
    if any(part in ("", ".", "..") for part in parts):
        return "must be normal: no '..', no '.', no '//'"
    if unicodedata.normalize("NFC", path) != path:
        return "must be in Unicode's composed form (NFC)"
    if any(len(part.encode()) > _MAX_NAME for part in parts) or len(path.encode()) > 1000:
        return f"is too long: {_MAX_NAME} bytes a name, 1000 in all"
    if any(part.endswith((".", " ")) or part.casefold().split(".")[0] in _RESERVED for part in parts):
        return "has a name that is reserved on some file systems"
    return ""


def name_problem(name: str) -> str:
    """What is wrong with the name of a task queue or namespace; '' when nothing is."""
    if not name.strip():
        return "must not be empty"
    if not name.isprintable():
        return "has characters that can't be printed"
    if len(quote(name, safe="")) > _MAX_NAME:  # it becomes a directory's name
        return f"is longer than {_MAX_NAME} bytes, percent-encoded"
    return ""


def forbidden_problem(path: str) -> str:
    path = path.casefold()  # as a case-blind file system would
    top, base = path.split("/")[0], path.rsplit("/", 1)[-1]
    if "node_modules" in path.split("/"):
        return "node_modules can't be part of a spec; name packages in packageJson"
    if base in _FORBIDDEN_FILES:
        return "is refused: it can make npm run code or fetch from elsewhere"
    if top in ("dist", "bundle") or path == "release.toml":
        return "is made by timewright and can't be given"
    return ""


def left_out_reason(path: str) -> str:
    """Why a file of a spec does no harm and isn't part of the release; '' when it is."""
    base = path.casefold().rsplit("/", 1)[-1]
    if base in _OTHER_LOCKS or (base == "package-lock.json" and "/" in path):
        return "versions are locked by package-lock.json beside package.json only"
    if any(part.startswith(".") for part in path.split("/")):
        return "hidden files are not deployed"
    return ""


def parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        yield path
