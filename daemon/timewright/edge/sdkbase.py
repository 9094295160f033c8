"""The SDK's part of every workflow bundle, made once by the SDK's own bundler and kept on disk.

    cache/base/{key}/base.js base.json     key = digest of (SDK version, base.js, specifiers)

The only step of compiling that needs Node: about 2 s, once for each SDK version (compile.md §5).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from timewright.core.errors import DeployError, Reason
from timewright.core.sourcemap import State
from timewright.edge import files, process
from timewright.edge.toolchain import readable, version_of

#: What workflow code may `require` without a base of its own.
SPECIFIERS: Final = (
    "@temporalio/common",
    "@temporalio/workflow",
    "@temporalio/workflow/lib/interceptors",
    "assert",
    "nexus-rpc",
    "url",
    "util",
)
_SUM = "sha256"  # the file that tells a whole base from one that a power cut or a disk has spoilt
_TIMEOUT: Final = 120.0


@dataclass(frozen=True)
class Base:
    """The code of the SDK without its map, and what is needed to append to both.

    `lines` of the code; `mapped`: lines that the mappings span; `end`: where their deltas stand.
    `disallowed`: modules that the SDK's bundler refuses, with everything below them.
    """

    sdk: str
    code: bytes
    sources: tuple[str, ...]
    names: tuple[str, ...]
    mappings: str
    mapped: int
    end: State
    disallowed: tuple[str, ...]

    @property
    def lines(self) -> int:
        return self.code.count(b"\n")


class SdkBases:
    """Bases by what they let workflow code require."""

    def __init__(self, toolchain: Path, cache: Path, node: str) -> None:
        self.toolchain = toolchain.resolve()
        self.home = cache / "base"
        self.node = node
        self.sdk_version = package_version(toolchain, "@temporalio/worker")
        self._loaded: dict[str, Base] = {}
        self._lock = asyncio.Lock()

    async def get(self, requires: Iterable[str] = ()) -> Base:
        """The base whose table holds the usual specifiers and these.

        Raises DeployError: COMPILER_UNAVAILABLE when Node or our base.js isn't there, BUNDLE_FAILED
        when the SDK's bundler refuses one of `requires`.
        """
        extra = sorted(set(requires) - set(SPECIFIERS))
        specifiers = sorted({*SPECIFIERS, *extra})
        key = self._key(specifiers)
        if key in self._loaded:
            return self._loaded[key]
        async with self._lock:
            if key not in self._loaded:
                base = await asyncio.to_thread(_load, self.home / key)
                if base is None:
                    await self._make(key, specifiers, extra)
                    base = await asyncio.to_thread(_load, self.home / key)
                if base is None:
                    raise DeployError(Reason.COMPILER_UNAVAILABLE, f"{self.home / key} can't be read")
                # Two are plenty: the usual one, and one that some pool needs besides.
                if len(self._loaded) >= 2:
                    self._loaded.pop(next(iter(self._loaded)))
                self._loaded[key] = base
            return self._loaded[key]

    def _script(self) -> Path:
        return self.toolchain / "dist" / "base.js"

    def _key(self, specifiers: Iterable[str]) -> str:
        try:
            script = self._script().read_bytes()
        except OSError:
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE,
                "dist/base.js is missing: the worker package isn't built",
                hint=f"run `npm run build` in {self.toolchain}",
            ) from None
        text = "\n".join((self.sdk_version, *specifiers))
        return hashlib.sha256(script + b"\0" + text.encode()).hexdigest()[:16]

    async def _make(self, key: str, specifiers: list[str], extra: list[str]) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        files.sweep(self.home)
        temporary = self.home / files.unique()
        command: list[str | Path] = [
            self.node,
            self._script(),
            "--out",
            temporary,
            "--specifiers",
            json.dumps(specifiers),
        ]
        try:
            finished = await process.run(command, cwd=self.toolchain, timeout=_TIMEOUT, confine=self._cage())
            if finished.code != 0:
                raise self._failure(finished.stderr.decode("utf-8", errors="replace"), extra)
            (temporary / _SUM).write_text(_sum(temporary))
            files.sync_tree(temporary)
            files.remove(self.home / key)  # one that a disk has spoilt
            temporary.rename(self.home / key)
        except (OSError, TimeoutError) as error:
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE,
                f"can't make the SDK's part of the bundle: {error or 'it took too long'}",
                hint="is Node installed? `timewright doctor` shows what is missing",
            ) from error
        finally:
            files.remove(temporary)
        files.sync_directory(self.home)

    def _cage(self) -> process.Confine:
        return process.Confine(readable(self.toolchain), write=(self.home,))

    def _failure(self, said: str, extra: list[str]) -> DeployError:
        detail = said.replace(f"{self.toolchain}/", "").strip()[-800:]
        if extra:
            listed = ", ".join(extra)
            return DeployError(
                Reason.BUNDLE_FAILED,
                f"the SDK's bundler refuses {listed}",
                hint="import it from an activity, or use what @temporalio/workflow exports",
            )
        return DeployError(Reason.COMPILER_UNAVAILABLE, f"the SDK's bundler failed on its own part: {detail}")


def _sum(home: Path) -> str:
    """A digest over both files of a base."""
    return hashlib.sha256((home / "base.json").read_bytes() + (home / "base.js").read_bytes()).hexdigest()


def _load(home: Path) -> Base | None:
    """The base that lies there; None when there is none, or not the one that was made."""
    try:
        if (home / _SUM).read_text("ascii") != _sum(home):
            return None
    except (OSError, ValueError):
        return None
    found = json.loads((home / "base.json").read_bytes())
    end = found["end"]
    return Base(
        sdk=found["sdk"],
        code=(home / "base.js").read_bytes(),
        sources=tuple(found["sources"]),
        names=tuple(found["names"]),
        mappings=found["mappings"],
        mapped=end["lines"],
        end=State(end["source"], end["line"], end["column"], end["name"]),
        disallowed=tuple(found["disallowed"]),
    )


def package_version(toolchain: Path, name: str) -> str:
    """The installed version of a package. Raises DeployError(COMPILER_UNAVAILABLE) when it isn't there."""
    if version := version_of(toolchain / "node_modules" / name):
        return version
    raise DeployError(
        Reason.COMPILER_UNAVAILABLE, f"{name} is not installed", hint=f"run `npm ci` in {toolchain}"
    )
