"""Which npm packages a spec needs besides the SDK that comes with timewright. Pure.

What the toolchain provides (the SDK, @types/node) is linked, never installed again: activities and
the worker that runs them must load one and the same SDK. The rest is installed once for each key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from timewright.core.digest import canonical, sha256
from timewright.core.document import Limits, parse
from timewright.core.errors import DeployError, Problem, Reason, SpecError
from timewright.core.semver import admits, is_range

#: Raised when what an install makes of the same wishes changes.
_FORMAT: Final = 1
_SDK: Final = "@temporalio/"
_NAME: Final = re.compile(r"(@[a-z0-9~_-][a-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*")
_TAG: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
#: Tools that a compiled release never loads.
_TOOLS: Final = frozenset({"typescript", "ts-node", "tsx", "nodemon", "@types/node"})
_MAJORS: Final = re.compile(r"(?<![\d.])(\d+)(?=\.|\b)")
_LOCK_LIMITS: Final = Limits(bytes=16 * 1024 * 1024, items=2_000_000)


@dataclass(frozen=True)
class Provided:
    """What the toolchain provides to specs. `sdk`: the version of @temporalio, 'off' without a
    toolchain. `packages`: name → version."""

    sdk: str
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """Which packages may be installed: globs on their names; `deny` wins."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()

    def refusal(self, name: str) -> str:
        """Why a package may not be installed; '' when it may."""
        for pattern in self.deny:
            if fnmatchcase(name, pattern):
                return f"is denied by dependencies.deny ({pattern})"
        if not any(fnmatchcase(name, pattern) for pattern in self.allow):
            return "is not among dependencies.allow"
        return ""


@dataclass(frozen=True)
class Needs:
    """`key`: the directory below dependencies/, equal for equal needs. `install`: name → range;
    empty: nothing beyond the SDK. `lock`: text of package-lock.json when it is used. `links`:
    packages of ours that go in. `own_sdk`: the spec has an SDK of its own. `overrides`: name → version."""

    key: str
    install: Mapping[str, str] = field(default_factory=dict)
    lock: str | None = None
    links: tuple[str, ...] = ()
    own_sdk: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def needs(
    package: Mapping[str, Any],
    lock: str | None,
    imports: Iterable[str],
    provided: Provided,
    *,
    own_sdk: bool = False,
    rules: Rules | None = None,
) -> Needs:
    """What a spec needs. `package`: its package.json. `imports`: names of packages that its code
    imports. Raises DeployError(DEPENDENCY_FAILED) with every problem found."""
    if provided.sdk == "off":
        return Needs("sdk-off")
    return _Reader(package, lock, frozenset(imports), provided, own_sdk, rules or Rules()).read()


def sdk_pin(package: Mapping[str, Any], lock: str | None, provided: Provided) -> str:
    """Why our SDK is none that the spec takes; '' when it is. `lock` doesn't count: a range that admits
    ours was meant to."""
    if provided.sdk == "off":
        return ""
    for name, wanted in asked_packages(package).items():
        if name.startswith(_SDK) and is_range(wanted) and not admits(wanted, provided.sdk):
            return f"package.json pins {name} {wanted}, and shared workers of this host run {provided.sdk}"
    return ""


def typescript_pin(package: Mapping[str, Any], lock: str | None) -> str | None:
    """The version or range of TypeScript that a spec pins, None when it pins none: the lock's exact
    version where that fits the range."""
    wanted = asked_packages(package).get("typescript")
    if wanted is None or not is_range(wanted) or wanted.strip() in ("", "*", "x"):
        return None
    locked = _locked(lock).get("typescript")
    return locked if locked is not None and admits(wanted, locked) else wanted


def asked_packages(package: Mapping[str, Any]) -> dict[str, str]:
    """All that package.json names with a version: name → what it says; `dependencies` win."""
    asked: dict[str, str] = {}
    for kind in ("peerDependencies", "devDependencies", "optionalDependencies", "dependencies"):
        block = package.get(kind)
        for name, wanted in block.items() if isinstance(block, dict) else ():
            if isinstance(wanted, str):
                asked[str(name)] = wanted
    return asked


def _locked(lock: str | None) -> dict[str, str]:
    """Top-level packages of a lock file: name → version; nothing for one that can't be read."""
    found: dict[str, str] = {}
    for path, entry in _entries(lock).items():
        name = path.removeprefix("node_modules/")
        version = entry.get("version") if isinstance(entry, dict) else None
        if path != name and "node_modules/" not in name and isinstance(version, str):
            found[name] = version
    return found


def _entries(lock: str | None) -> Mapping[str, Any]:
    if lock is None:
        return {}
    try:
        value = parse(lock.encode(), limits=_LOCK_LIMITS).value
    except SpecError:
        return {}
    packages = value.get("packages") if isinstance(value, dict) else None
    return packages if isinstance(packages, dict) else {}


@dataclass
class _Reader:
    package: Mapping[str, Any]
    lock: str | None
    imports: frozenset[str]
    provided: Provided
    own_sdk: bool
    rules: Rules
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def read(self) -> Needs:
        install = {name: self._wanted(kind, name, wanted) for kind, name, wanted in self._candidates()}
        if self.own_sdk:
            self._check_own_sdk()
        else:
            self._say_lock()
        overrides = self._overrides() if install else {}
        lock = self._usable_lock() if install else None
        if self.problems:
            first, more = self.problems[0], len(self.problems) - 1
            text = f"{first}" + (f" (and {more} more)" if more else "")
            raise DeployError(Reason.DEPENDENCY_FAILED, text, problems=self.problems)
        if not install:
            return Needs(f"sdk-{self.provided.sdk}", warnings=tuple(self.warnings))
        links = tuple(sorted(name for name in self.provided.packages if self._is_linked(name, install)))
        whole = {
            "format": _FORMAT,
            "install": install,
            "overrides": overrides,
            "lock": lock,
            "links": {name: self.provided.packages[name] for name in links},
        }
        key = sha256(canonical(whole))[:16]
        return Needs(key, install, lock, links, self.own_sdk, overrides, tuple(self.warnings))

    def _candidates(self) -> Iterator[tuple[str, str, str]]:
        """(block, name, range) of all that must be installed, each name once."""
        seen: set[str] = set()
        skipped: list[str] = []
        for kind in ("dependencies", "optionalDependencies", "devDependencies"):
            block = self.package.get(kind)
            if block is not None and not isinstance(block, dict):
                self.problem(f"packageJson.{kind}", "must be an object of package → version")
                continue
            for name, wanted in (block or {}).items():
                if name in seen or not self._is_needed(kind, name, wanted):
                    continue
                seen.add(name)
                if self._asks_for_more() or name == "@types/node":
                    yield kind, name, wanted
                else:
                    skipped.append(name)
        if skipped:
            self.warnings.append(
                f"not installed, since the code that is reached imports no package: {', '.join(skipped[:10])}"
            )

    def _asks_for_more(self) -> bool:
        """Whether the code imports anything that isn't ours. If it does, all `dependencies` are installed:
        a package may load another one by a name that no import shows, as database clients do."""
        return self.own_sdk or any(name not in self.provided.packages for name in self.imports)

    def _is_needed(self, kind: str, name: str, wanted: Any) -> bool:
        if name.startswith(_SDK) or name == "nexus-rpc":
            if self.own_sdk:
                return kind != "devDependencies" or name in self.imports
            return name not in self.provided.packages and name in self.imports
        if name == "@types/node" and name in self.provided.packages:
            ours = self.provided.packages[name]
            return isinstance(wanted, str) and is_range(wanted) and not admits(wanted, ours) and kind != ""
        if name in _TOOLS or name.startswith("@tsconfig/"):
            return name in self.imports and name not in self.provided.packages
        if kind == "devDependencies":
            return name in self.imports or (name.startswith("@types/") and _typed(name) in self.imports)
        return True

    def _wanted(self, kind: str, name: str, wanted: Any) -> str:
        """The range to install; problems where it is none that may be."""
        where = f"packageJson.{kind}[{name!r}]".replace("'", '"')
        target, version = name, wanted
        if isinstance(wanted, str) and wanted.startswith("npm:"):
            target, _, version = wanted.removeprefix("npm:").rpartition("@")
            target, version = (target, version) if target else (version, "*")
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(target) or len(name) > 214:
            self.problem(where, "is not the name of an npm package")
        elif not isinstance(version, str):
            self.problem(where, "must be a version or a range of versions")
        elif not is_range(version) and not _TAG.fullmatch(version):
            self.problem(
                where,
                f"{str(wanted)[:120]!r} is not a version from the registry",
                "only versions, ranges and tags can be installed: no paths, URLs or git repositories",
            )
        elif refusal := self.rules.refusal(target):
            self.problem(where, f"{target} {refusal}", "ask who runs this host to allow it")
        elif name.startswith(_SDK) and not self.own_sdk:
            return self._sdk_version(where, name, version)
        return str(wanted)

    def _sdk_version(self, where: str, name: str, wanted: str) -> str:
        """A package of the SDK that we don't ship must be of our version."""
        if is_range(wanted) and not admits(wanted, self.provided.sdk):
            self.problem(where, f"{wanted} does not admit {self.provided.sdk}, the SDK of this host")
        return self.provided.sdk

    def _is_linked(self, name: str, install: Mapping[str, str]) -> bool:
        return name not in install and not (self.own_sdk and (name.startswith(_SDK) or name == "nexus-rpc"))

    def _check_own_sdk(self) -> None:
        """An SDK of the spec's own must be whole, of one version, and of a kind that we know."""
        asked = {
            name: wanted for name, wanted in asked_packages(self.package).items() if name.startswith(_SDK)
        }
        locked = _locked(self.lock)
        for name, wanted in sorted(asked.items()):
            where = f'packageJson.dependencies["{name}"]'
            if is_range(wanted) and "1" not in _MAJORS.findall(wanted):
                self.problem(where, f"{wanted} is not of version 1, the only one that timewright knows")
        if "@temporalio/worker" not in asked:
            self.problem("packageJson.dependencies", "an own SDK needs @temporalio/worker among them")
        versions = {locked.get(name, wanted) for name, wanted in asked.items()}
        if len(versions) > 1:
            said = ", ".join(f"{name} {wanted}" for name, wanted in sorted(asked.items()))
            self.problem(
                "packageJson.dependencies", f"all @temporalio packages must be of one version: {said}"
            )

    def _say_lock(self) -> None:
        """A lock that names another SDK is no error where the range admits ours; it is worth a word."""
        version = _locked(self.lock).get("@temporalio/worker")
        if version is not None and version != self.provided.sdk:
            self.warnings.append(
                f"package-lock.json has @temporalio {version}; it runs with {self.provided.sdk}"
            )

    def _overrides(self) -> dict[str, str]:
        given = self.package.get("overrides")
        kept: dict[str, str] = {}
        for name, wanted in given.items() if isinstance(given, dict) else ():
            if isinstance(wanted, str) and is_range(wanted) and _NAME.fullmatch(name):
                kept[name] = wanted
            else:
                self.warnings.append(
                    f"package.json: overrides[{name!r}] is not a plain version; not followed"
                )
        return kept

    def _usable_lock(self) -> str | None:
        """The lock, when it is of a kind that npm of today takes and is about this package.json."""
        if self.lock is None:
            return None
        entries = _entries(self.lock)
        root = entries.get("")
        if not isinstance(root, dict):
            self.warnings.append(
                "package-lock.json can't be used (lockfileVersion 2 or 3 is needed); ignored"
            )
            return None
        if asked_packages(root) != asked_packages(self.package):
            self.warnings.append("package-lock.json is not of this package.json; ignored: run npm install")
            return None
        for path, entry in entries.items():
            known = isinstance(entry, dict)
            resolved = entry.get("resolved", "") if known else ""
            if not known or entry.get("link") or not isinstance(resolved, str) or not _is_registry(resolved):
                self.problem(f'package-lock.json packages["{path[:120]}"]', "does not come from the registry")
        return self.lock

    def problem(self, where: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(where, message, hint))


def _is_registry(resolved: str) -> bool:
    return not resolved or (resolved.startswith(("https://", "http://")) and resolved.endswith(".tgz"))


def _typed(name: str) -> str:
    """The package that an @types package is about: @types/a → a, @types/a__b → @a/b."""
    scope, found, rest = name.removeprefix("@types/").partition("__")
    return f"@{scope}/{rest}" if found else scope
