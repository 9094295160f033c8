"""Policy files: defaults of `deploy` for the specs of a folder (`NAME.policy.yaml`).

The spec's own `deploy` wins over every policy; a nearer folder wins over a farther one; in one
folder the later file name wins. Key by key, `env` name by name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from timewright.core.deploy import DeployReader, kind_of
from timewright.core.document import Document, Limits, Path, parse, show
from timewright.core.errors import Problem, SpecError

SUFFIXES = (".policy.yaml", ".policy.yml", ".policy.json")
KEYS = ("match", "deploy")
_IGNORED = ("$schema",)  # editors want it
_MOST_GLOBS = 100
_LONGEST_GLOB = 1000


@dataclass(frozen=True)
class Policy:
    """One policy file. `path`: relative to the source, posix. `match`: globs; () means all specs.
    `deploy`: the block as it was written, checked."""

    path: str
    match: tuple[str, ...] = ()
    deploy: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path)


def is_policy_name(name: str) -> bool:
    """Does a file of this name hold defaults?"""
    return name.endswith(SUFFIXES) and not name.startswith((".", "#"))


def read_policy(data: bytes, path: str, *, limits: Limits | None = None) -> Policy:
    """The policy that a file's bytes hold; `path` as in `Policy.path`. Raises SpecError with every
    problem found, each with its place and line."""
    reader = _Reader(parse(data, is_yaml=not path.endswith(".json"), limits=limits))
    policy = reader.read(path)
    if reader.problems:
        raise SpecError(reader.problems)
    return policy


def defaults_for(source: str, policies: Iterable[Policy]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The `deploy` defaults of the spec at `source` (relative to the source folder, posix), and the
    paths of the policies that they came from, in the order in which they were laid over each other."""
    given: dict[str, Any] = {}
    origin: dict[tuple[str, ...], str] = {}
    ranked = sorted((policy for policy in policies if applies(policy, source)), key=_rank)
    for policy in ranked:
        given = merge(given, policy.deploy)
        origin.update(dict.fromkeys(_places(policy.deploy), policy.path))
    used = set(origin.values())
    return given, tuple(policy.path for policy in ranked if policy.path in used)


def merge(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` over `defaults`: key by key, `env` name by name; a null says nothing."""
    merged = dict(defaults)
    for key, given in own.items():
        if given is None:
            continue
        value, base = given, merged.get(key)
        if key == "env" and isinstance(base, dict) and isinstance(value, dict):
            value = {**base, **value}
        merged[key] = value
    return merged


def applies(policy: Policy, source: str) -> bool:
    """Is the spec at `source` one that this policy is for?"""
    folder = f"{policy.folder}/" if policy.folder else ""
    if not source.startswith(folder):
        return False
    path = source[len(folder) :]
    wanted = [glob for glob in policy.match if not glob.startswith("!")]
    spared = [glob[1:] for glob in policy.match if glob.startswith("!")]
    return (not wanted or _any(wanted, path)) and not _any(spared, path)


def _rank(policy: Policy) -> tuple[int, str]:
    """Policies are laid over each other in this order: the last one wins."""
    return policy.path.count("/"), policy.path


def _places(block: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    for key, value in block.items():
        if value is None:
            continue
        if key == "env" and isinstance(value, dict):
            yield from (("env", name) for name in value)
        else:
            yield (key,)


# Globs: `*` and `?` within a name, `**` for any number of folders; no slash: the name, in any folder


def _any(globs: Sequence[str], path: str) -> bool:
    return any(matches(glob, path) for glob in globs)


def matches(glob: str, path: str) -> bool:
    """Does a path fit a glob? The work is bounded by the product of their lengths."""
    pattern = glob.removeprefix("/").split("/")
    if "/" not in glob:
        pattern = ["**", *pattern]
    parts = path.split("/")
    at = here = 0
    star, resume = -1, 0  # the last `**`, and where in the path it stopped taking
    while here < len(parts):
        if at < len(pattern) and pattern[at] == "**":
            star, resume = at, here
            at += 1
        elif at < len(pattern) and fnmatchcase(parts[here], pattern[at]):
            at += 1
            here += 1
        elif star >= 0:
            resume += 1
            at, here = star + 1, resume
        else:
            return False
    return all(part == "**" for part in pattern[at:])


# The reader ------------------------------------------------------------------------------------


@dataclass
class _Reader:
    document: Document
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(Problem(show(path), message, hint, self.document.line(path)))

    def read(self, path: str) -> Policy:
        root = self.document.value
        if not isinstance(root, dict):
            self.problem((), f"must be an object, is {kind_of(root)}", "a policy has `match` and `deploy`")
            return Policy(path)
        for key in root:
            if key not in KEYS and key not in _IGNORED:
                close = get_close_matches(key, KEYS, 1)
                hint = f"did you mean {close[0]!r}?" if close else "known keys: match, deploy"
                self.problem((key,), "is not a key of a policy", hint)
        return Policy(path, self._match(root.get("match")), self._deploy(root.get("deploy")))

    def _match(self, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, str | list):
            self.problem(("match",), f"must be a glob or a list of globs, is {kind_of(value)}")
            return ()
        globs = [value] if isinstance(value, str) else value
        if len(globs) > _MOST_GLOBS:
            self.problem(("match",), f"{len(globs)} globs are more than the limit of {_MOST_GLOBS}")
        if not globs:
            self.problem(("match",), "is empty: no spec would get this", "leave it out for all specs")
        for index, glob in enumerate(globs):
            where: Path = ("match",) if isinstance(value, str) else ("match", index)
            if message := _glob_problem(glob):
                self.problem(where, message, "example: billing-*.json, orders/**, !orders/old-*.json")
        return tuple(glob for glob in globs if isinstance(glob, str))

    def _deploy(self, value: Any) -> dict[str, Any]:
        if value is None:
            self.problem((), "has no deploy block, so it gives nothing", "add `deploy:` with the defaults")
            return {}
        reader = DeployReader()
        reader.read(value)
        for path, message, hint in reader.problems:
            self.problem(path, message, hint)
        return dict(value) if isinstance(value, dict) else {}


def _glob_problem(glob: Any) -> str:
    if not isinstance(glob, str):
        return f"must be text, is {kind_of(glob)}"
    body = glob.removeprefix("!")
    if not body or not body.isprintable() or "\\" in body or len(body) > _LONGEST_GLOB:
        return "must be a plain glob with '/' between its parts"
    if any(part in ("", ".", "..") for part in body.removeprefix("/").split("/")):
        return "must stay below the policy's own folder: no '..', no '.', no '//'"
    return ""
