"""The npm packages of specs: each set installed once, shared, and never changed.

    dependencies/sdk-1.24.0/node_modules  ->  the toolchain's        specs that need no more
    dependencies/{key}/node_modules/…  deps.toml                     others, by what they need
    dependencies/typescript-5.6.3/…                                  a compiler that a spec pins

A set is installed under a temporary name, judged, made durable and renamed: a reader sees it whole or
not at all. What a crash left is swept at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli_w

from timewright.core.dependencies import Needs, Rules
from timewright.core.digest import canonical, sha256
from timewright.core.errors import DeployError, Reason
from timewright.core.masking import printable
from timewright.core.semver import is_exact
from timewright.core.stored import json_of, receipt_of
from timewright.edge import files, npm
from timewright.edge.toolchain import provided, version_of

_RECEIPT: Final = "deps.toml"
_MIB: Final = 1024 * 1024
_WATCHED_S: Final = 1.0
_SAID_S: Final = 5.0
_MONTH_S: Final = 30 * 86400

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """`timeout_s`: seconds for one install. `max_mib`: its size. `offline`: the network isn't asked."""

    timeout_s: float = 300.0
    max_mib: int = 500
    offline: bool = False
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True)
class Installed:
    """A set that is there. `path`: its directory. `warnings`: about packages that may not work."""

    path: Path
    warnings: tuple[str, ...] = ()


@dataclass
class _Install:
    """An install under way, and how many wait for it."""

    task: asyncio.Task[Installed]
    waiting: int = 0
    listeners: list[Progress] = field(default_factory=list)


def _quiet(_text: str) -> None:
    """Nobody listens."""


class Dependencies:
    """The sets of one data directory."""

    def __init__(
        self,
        root: Path,
        toolchain: Path,
        settings: Settings | None = None,
        *,
        node: str = "node",
        cache: Path,
    ) -> None:
        """`toolchain`: whose packages are linked. `cache`: where npm keeps what it fetched."""
        self.root = root
        self.toolchain = toolchain
        self.settings = settings or Settings()
        self.node = node
        self.cache = cache
        self._running: dict[str, _Install] = {}
        self._one = asyncio.Semaphore(1)  # npm takes both cores already
        self._leases: Counter[str] = Counter()

    # the sets

    def prepare(self) -> None:
        """Make the directory, sweep what a crash left, and link the toolchain's own packages."""
        self.root.mkdir(parents=True, exist_ok=True)
        files.sweep(self.root)
        self._link_sdk(self._sdk_key())

    def _sdk_key(self) -> str:
        return f"sdk-{provided(self.toolchain).sdk}"

    def _link_sdk(self, key: str) -> Path:
        """The packages of all releases that need nothing but the SDK: the toolchain's own, so that
        activities and the worker that runs them load one and the same SDK."""
        home, target = self.root / key, str(self.toolchain / "node_modules")
        home.mkdir(parents=True, exist_ok=True)
        if files.read_link(home / "node_modules") != target:
            files.point(home / "node_modules", target)
        return home

    @contextlib.asynccontextmanager
    async def lease(self, key: str) -> AsyncIterator[None]:
        """While it is held, nothing collects the set."""
        self._leases[key] += 1
        try:
            yield
        finally:
            self._leases[key] -= 1

    async def get(self, needs: Needs, progress: Progress = _quiet) -> Installed:
        """The set for `needs`, installed when it isn't there. Raises DeployError as `npm.install`."""
        if not needs.install:
            return Installed(self._link_sdk(needs.key))
        home = self.root / needs.key
        found = _whole(home)
        if found is not None:
            self._mend_links(home, needs.links)
            return found
        return await self._once(needs.key, progress, lambda say: self._install(needs, home, say))

    async def tool(self, name: str, wanted: str, progress: Progress = _quiet) -> Path:
        """One package alone, a compiler: the directory of the package. A range is settled once: the
        version found for it stays, so that the same spec is judged by the same compiler."""
        alias = self.root / f"range-{sha256(canonical([name, wanted]))[:12]}"
        known = files.read_link(alias) or (f"{name}-{wanted}" if is_exact(wanted) else None)
        if known is not None and _whole(self.root / known) is not None:
            os.utime(self.root / known)  # in use, says `collect`
        else:
            needs = Needs(alias.name, {name: wanted})
            installed = await self._once(
                alias.name, progress, lambda say: self._install_tool(needs, name, say)
            )
            known = installed.path.name
            if known != alias.name and not is_exact(wanted):
                files.point(alias, known)
        return self.root / known / "node_modules" / name

    async def _once(self, key: str, progress: Progress, start: Callable[[Progress], Any]) -> Installed:
        """One install at a time of each key; the last who stops waiting ends it."""
        running = self._running.get(key)
        if running is None:
            listeners: list[Progress] = []

            def tell(text: str) -> None:
                for listener in listeners:
                    listener(text)

            running = _Install(asyncio.create_task(start(tell)), 0, listeners)
            self._running[key] = running
            running.task.add_done_callback(lambda _: self._running.pop(key, None))
        running.listeners.append(progress)
        running.waiting += 1
        try:
            return await asyncio.shield(running.task)
        except asyncio.CancelledError:
            if running.waiting == 1 and not running.task.done():
                running.task.cancel()
                with contextlib.suppress(asyncio.CancelledError, DeployError):
                    await running.task
            raise
        finally:
            running.waiting -= 1
            running.listeners.remove(progress)

    def versions(self, key: str) -> dict[str, str]:
        """The packages of a set, name → version (where one is there more than once, the topmost); nothing
        for one that isn't there, or that is only the toolchain's."""
        try:
            listed = receipt_of((self.root / key / _RECEIPT).read_bytes())["versions"]
            named = {path.removeprefix("node_modules/"): str(version) for path, version in listed.items()}
        except (OSError, ValueError, KeyError, AttributeError):
            return {}
        return {name: version for name, version in named.items() if "node_modules/" not in name}

    # installing

    async def _install(self, needs: Needs, home: Path, say: Progress) -> Installed:
        async with self._one:
            found = _whole(home)
            if found is not None:
                return found
            build = self.root / files.unique("npm-")
            try:
                started = time.monotonic()
                await self._fetch(build, needs, say)
                warnings = await asyncio.to_thread(self._finish, build, needs)
                files.remove(home)
                build.rename(home)
                files.sync_directory(self.root)
            except OSError as error:
                raise _storage(error) from error
            finally:
                await asyncio.to_thread(files.remove, build)
            say(f"installed {_packages(len(needs.install))} in {time.monotonic() - started:.1f} s")
            return Installed(home, warnings)

    async def _install_tool(self, needs: Needs, name: str, say: Progress) -> Installed:
        temporary = self.root / files.unique("tool-")
        try:
            await self._install(needs, temporary, say)
            version = version_of(temporary / "node_modules" / name)
            if not is_exact(version):  # the package says it of itself, and it becomes a path
                raise DeployError(
                    Reason.DEPENDENCY_FAILED,
                    f"the package {name} says that its version is {printable(version[:40])!r}, which is none",
                    hint="does npm's registry give what it should?",
                )
            home = self.root / f"{name}-{version}"
            if _whole(home) is None:
                files.remove(home)
                temporary.rename(home)
            return Installed(home)
        finally:
            files.remove(temporary)

    async def _fetch(self, build: Path, needs: Needs, say: Progress) -> None:
        """Run npm in `build`, watching its size and saying how far it is."""
        build.mkdir(parents=True)
        manifest = {"name": "packages", "private": True, "dependencies": dict(needs.install)}
        if needs.overrides:
            manifest["overrides"] = dict(needs.overrides)
        (build / "package.json").write_text(json.dumps(manifest))
        if needs.lock is not None:
            (build / "package-lock.json").write_text(_lock(needs.lock, manifest))
        say(f"installing {_packages(len(needs.install))}: {', '.join(sorted(needs.install)[:5])}")
        settings = self.settings
        running = asyncio.create_task(
            npm.install(
                build, node=self.node, cache=self.cache, offline=settings.offline, timeout=settings.timeout_s
            )
        )
        try:
            await self._watch(running, build, needs, say)
            await running
        finally:
            if not running.done():
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError, DeployError):
                    await running

    async def _watch(self, running: asyncio.Task[None], build: Path, needs: Needs, say: Progress) -> None:
        started = said = time.monotonic()
        while True:
            await asyncio.wait([running], timeout=_WATCHED_S)
            size = await asyncio.to_thread(_size, build)
            if size > self.settings.max_mib * _MIB:
                raise DeployError(
                    Reason.DEPENDENCY_FAILED,
                    f"its packages take more than {self.settings.max_mib} MiB",
                    hint="use fewer packages, or raise dependencies.max_mib",
                )
            if running.done():
                return
            if time.monotonic() - said >= _SAID_S:
                said = time.monotonic()
                what = _packages(len(needs.install))
                say(f"installing {what}: {said - started:.0f} s, {size / _MIB:.0f} MiB")

    def _finish(self, build: Path, needs: Needs) -> tuple[str, ...]:
        """Judge what npm installed, put our packages in, and seal it."""
        entries = _entries(build)
        self._judge(entries, needs)
        modules = build / "node_modules"
        modules.mkdir(exist_ok=True)
        for path in entries:
            if path.rpartition("node_modules/")[2] in needs.links:
                files.remove(build / path)
        self._mend_links(build, needs.links)
        files.remove(modules / ".bin")
        warnings = tuple(
            f"{path.rpartition('node_modules/')[2]} has an install script, which never runs here: "
            f"if it can't be loaded, it needed that"
            for path, entry in entries.items()
            if entry.get("hasInstallScript") and path.rpartition("node_modules/")[2] not in needs.links
        )
        versions = {path: str(entry.get("version", "")) for path, entry in entries.items()}
        receipt = {
            "format": 1,
            "asked": dict(needs.install),
            "versions": versions,
            "links": list(needs.links),
            "warnings": list(warnings),
            "bytes": _size(build),
        }
        (build / _RECEIPT).write_bytes(tomli_w.dumps(receipt).encode())
        files.sync_many(build)
        return warnings

    def _judge(self, entries: Mapping[str, Mapping[str, Any]], needs: Needs) -> None:
        for path, entry in entries.items():
            name = path.rpartition("node_modules/")[2]
            resolved = str(entry.get("resolved", ""))
            refusal = Rules(deny=self.settings.rules.deny).refusal(name)
            if refusal:
                owner = _owner(name, entries) or "package.json"
                raise DeployError(
                    Reason.DEPENDENCY_FAILED,
                    f"{name} {refusal}; {owner} needs it",
                    hint="use another package, or ask who runs this host",
                )
            if entry.get("link") or (resolved and not resolved.startswith(("http://", "https://"))):
                raise DeployError(
                    Reason.DEPENDENCY_FAILED, f"{name} does not come from the registry, but from {resolved}"
                )

    def _mend_links(self, home: Path, links: Iterable[str]) -> None:
        """Our packages in a set: links, which a move of the toolchain breaks and this mends."""
        for name in links:
            link, target = home / "node_modules" / name, str(self.toolchain / "node_modules" / name)
            if files.read_link(link) != target:
                link.parent.mkdir(parents=True, exist_ok=True)
                files.remove(link)
                files.point(link, target)

    # housekeeping

    def collect(self, keep: Iterable[str], older_than: float) -> list[str]:
        """Remove sets that no release needs; returns which. Kept: those in `keep`, leased ones, those
        being installed, and all made after `older_than` (seconds since the epoch). A compiler is no
        release's: it goes when none was judged by it for a month before that."""
        wanted = {
            *keep,
            self._sdk_key(),
            *self._running,
            *(key for key, count in self._leases.items() if count),
        }
        doomed = []
        for entry in list(os.scandir(self.root)):
            if entry.name in wanted or entry.name.startswith(".tmp-") or entry.is_symlink():
                continue
            unused = older_than - (_MONTH_S if entry.name.startswith("typescript-") else 0)
            if entry.stat(follow_symlinks=False).st_mtime < unused:
                files.remove(Path(entry.path))
                doomed.append(entry.name)
        for entry in list(os.scandir(self.root)):
            if entry.is_symlink() and not (self.root / (files.read_link(Path(entry.path)) or "?")).exists():
                files.remove(Path(entry.path))
        return sorted(doomed)


def _whole(home: Path) -> Installed | None:
    """A set that was installed to its end; None when there is none."""
    try:
        receipt = receipt_of((home / _RECEIPT).read_bytes())
        return Installed(home, tuple(str(text) for text in receipt["warnings"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _entries(build: Path) -> dict[str, dict[str, Any]]:
    """What npm says that it installed: path → entry of its own lock file."""
    try:
        found = json_of((build / "node_modules" / ".package-lock.json").read_bytes())["packages"]
        return {path: entry for path, entry in found.items() if path and isinstance(entry, dict)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _owner(name: str, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """A package that asks for another."""
    for path, entry in entries.items():
        asked = (entry.get("dependencies"), entry.get("peerDependencies"))  # the package's own words
        if any(isinstance(names, dict) and name in names for names in asked):
            return path.rpartition("node_modules/")[2]
    return ""


def _lock(text: str, manifest: Mapping[str, Any]) -> str:
    """A spec's lock file for our own package.json. Without `resolved`: the registry is this host's to
    choose; the integrity of each package stays, so it is the same package or none."""
    lock = json.loads(text)
    packages = {path: _without_place(entry) for path, entry in lock["packages"].items()}
    packages[""] = dict(manifest)
    return json.dumps({"name": "packages", "lockfileVersion": 3, "requires": True, "packages": packages})


def _without_place(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("resolved", "dev", "devOptional")}


def _size(root: Path) -> int:
    """Bytes of all files below; what vanishes meanwhile doesn't count."""
    total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_size  # noqa: PTH118 - thousands of files
    return total


def _packages(count: int) -> str:
    return "1 package" if count == 1 else f"{count} packages"


def _storage(error: OSError) -> DeployError:
    return DeployError(
        Reason.STORAGE_FAILED, f"the disk refused: {error.strerror}", hint="is it full or read-only?"
    )
