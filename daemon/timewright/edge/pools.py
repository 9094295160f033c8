"""Pool versions: which releases are served together on one task queue, published like releases.

    pools/{namespace}/{task queue}/{version}/   pool.toml, workflows.js
    pools/{namespace}/{task queue}/current  ->  {version}

The directory is named by the pool version, not by the Build ID: a change of activities is another
version with the same Build ID (design §7), and both must be able to lie side by side.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import tomli_w

from timewright.core.digest import build_id, pool_version
from timewright.core.rollout import Strategy, rollout_of
from timewright.core.spec import emitted
from timewright.core.stored import is_part, receipt_of
from timewright.edge import files
from timewright.edge.failpoint import failpoint
from timewright.edge.releases import Receipt
from timewright.edge.source import Stamp

Key = tuple[str, str]  # (namespace, task queue)


@dataclass(frozen=True)
class PoolVersion:
    """One version as published: its id and its members, workflow id → release."""

    version: str
    build_id: str
    members: Mapping[str, str]
    deployment: str = ""  # Temporal's Worker Deployment that it is a Version of; '' for none
    bundles: Mapping[str, str] = field(default_factory=dict)  # workflow id → digest of its workflow code
    sdk: str = ""

    @property
    def lane(self) -> str:
        """Versions of one lane take over from each other: those without a Deployment, or of one Build ID."""
        return self.build_id if self.deployment else ""


_MOST_PARSED = 2000  # versions kept in mind: a few hundred bytes for each member


class Pools:
    """The pools of one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.root = data / "pools"
        self._parsed: dict[Stamp, tuple[PoolVersion, str]] = {}

    def prepare(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for key in self.keys():
            files.sweep(self.home(key))

    def home(self, key: Key) -> Path:
        return self.root / _safe(key[0]) / _safe(key[1])

    def keys(self) -> Iterator[Key]:
        """Every pool that has a directory."""
        for namespace in _folders(self.root):
            for queue in _folders(self.root / namespace):
                yield unquote(namespace), unquote(queue)

    def link(self, key: Key) -> str | None:
        """The version that `current` names, whether it is whole or not; None when nothing is current."""
        return files.read_link(self.home(key) / "current")

    def current(self, key: Key) -> PoolVersion | None:
        """The version that new work goes to; None when there is none, or it is unreadable."""
        return self.read(key, "current")

    def read(self, key: Key, version: str) -> PoolVersion | None:
        """A version as published; None when it is not there, or unreadable."""
        home = self.home(key) / version
        try:
            read, bundle = self._parse(home / "pool.toml")
            return read if not bundle or (home / bundle).is_file() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _parse(self, path: Path) -> tuple[PoolVersion, str]:
        """What a pool.toml says, and the name of its bundle. That of a large pool takes milliseconds to
        parse, and each deploy to it asks some times: a file that is the same is parsed once."""
        stamp = Stamp.of(path.stat())
        known = self._parsed.get(stamp)
        return known if known is not None else self._remember(stamp, receipt_of(path.read_bytes()))

    def _remember(self, stamp: Stamp, found: Mapping[str, Any]) -> tuple[PoolVersion, str]:
        rows = found.get("releases", [])
        read = PoolVersion(
            _name(found, "pool_version"),
            _text(found, "build_id"),
            {_name(item, "workflow_id"): _name(item, "release") for item in rows},
            _text(found, "deployment") if "deployment" in found else "",
            {item["workflow_id"]: _text(item, "code") for item in rows if "code" in item},
            _text(found, "sdk"),
        )
        if len(self._parsed) >= _MOST_PARSED:
            self._parsed.clear()
        known = self._parsed[stamp] = (read, _text(found, "bundle") if "bundle" in found else "")
        return known

    def lost(self, key: Key) -> str:
        """What the current version lacks: a file's name; '' when it lacks nothing, or nothing is current."""
        home = self.home(key) / "current"
        if self.link(key) is None or self.current(key) is not None:
            return ""
        return "workflows.js" if (home / "pool.toml").is_file() else "pool.toml"

    def begin(self, key: Key) -> Path:
        """A new, empty directory to build a version in."""
        home = self.home(key)
        directory = home / files.unique()
        directory.mkdir(parents=True)
        return directory

    def describe(
        self,
        key: Key,
        members: Iterable[Receipt],
        *,
        sdk: str,
        releases: Path,
        deployment: str = "",
        versioning: str = "PINNED",
    ) -> dict[str, Any]:
        """The content of pool.toml for these members (contract with the worker host). `deployment`: of a
        pool with Versions; `versioning`: of those workflows that don't say it."""
        ordered = sorted(members, key=lambda receipt: receipt.workflow_id)
        bundles = {receipt.workflow_id: code for receipt in ordered if (code := _workflow_code(receipt))}
        isolation = ordered[0].isolation
        base = os.path.relpath(releases, self.home(key) / "version")
        behaviours = {r.workflow_id: versioning_of(r, versioning) for r in ordered} if deployment else None
        content: dict[str, Any] = {
            "format": 1,
            "pool_version": pool_version(((r.workflow_id, r.digest) for r in ordered), sdk, behaviours),
            "build_id": build_id(bundles, sdk, behaviours),
            "namespace": key[0],
            "task_queue": key[1],
            "isolation": isolation,
            "sdk": sdk,
            "releases": [_member(receipt, base, bundles.get(receipt.workflow_id, "")) for receipt in ordered],
        }
        if behaviours is not None:
            content["deployment"] = deployment
            content["versioning"] = behaviours[ordered[0].workflow_id] if len(ordered) == 1 else versioning
        if isolation == "shared" and bundles:
            content["bundle"] = "workflows.js"
        return content

    def seal(self, build: Path, content: Mapping[str, Any]) -> None:
        """Write what a built version holds, and make it all durable."""
        (build / "pool.toml").write_bytes(tomli_w.dumps(dict(content)).encode())
        files.sync_tree(build)

    def publish(self, key: Key, build: Path, content: Mapping[str, Any]) -> Path:
        """Give a sealed version its final name; returns that."""
        final = self.home(key) / str(content["pool_version"])
        if os.path.lexists(final):
            files.exchange(build, final)
        else:
            failpoint("before-pool-seal")
            build.rename(final)
            failpoint("after-pool-seal")
        files.sync_directory(final.parent)
        files.remove(build)  # what the exchange put there
        self._remember(
            Stamp.of((final / "pool.toml").stat()), content
        )  # as it was written: nobody has to parse it
        return final

    def has(self, key: Key, version: str) -> bool:
        """Whether a version is there, whole."""
        return self.read(key, version) is not None

    def make_current(self, key: Key, version: str) -> None:
        """Swap the pool to a version, by one rename."""
        files.point(self.home(key) / "current", version)

    def drop(self, key: Key) -> None:
        """The pool has no member any more: nothing is current."""
        failpoint("before-pool-drop")
        (self.home(key) / "current").unlink(missing_ok=True)
        failpoint("after-pool-drop")
        if self.home(key).is_dir():
            files.sync_directory(self.home(key))

    def kept(self, key: Key) -> tuple[str, ...]:
        """The versions that the worker host serves besides the current one, oldest first. Where the list
        can't be read, all there are: open executions may need any of them, and what isn't listed goes."""
        try:
            found = receipt_of((self.home(key) / "kept.toml").read_bytes())
            return tuple(_part(name) for name in found["versions"])
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError):
            current = self.link(key)
            return tuple(sorted(name for name in self.published(key) if name != current))

    def keep(self, key: Key, versions: Iterable[str]) -> None:
        """Have these served besides the current one, by one rename."""
        home = self.home(key)
        wanted = list(versions)
        failpoint("before-keep")
        if wanted:
            files.replace(home / "kept.toml", tomli_w.dumps({"versions": wanted}).encode())
        elif (home / "kept.toml").exists():
            (home / "kept.toml").unlink()
            files.sync_directory(home)
        failpoint("after-keep")

    def published(self, key: Key) -> dict[str, PoolVersion]:
        """All versions that are on disk and whole, by id."""
        found = {name: self.read(key, name) for name in _folders(self.home(key)) if name != "current"}
        return {name: version for name, version in found.items() if version is not None}

    def collect(self, key: Key, keep: Iterable[str]) -> None:
        """Remove versions other than those in `keep`."""
        wanted = {*keep, *self.kept(key), "current"}
        for name in list(_folders(self.home(key))):
            if name not in wanted:
                failpoint("before-pool-collect")
                files.remove(self.home(key) / name)


def _workflow_code(receipt: Receipt) -> str | None:
    """The digest of a member's workflow code. A worker of its own may bundle for itself, by its own
    rules: then the release stands for the code."""
    if receipt.bundle is None and receipt.isolation == "process" and receipt.workflows:
        return receipt.digest
    return receipt.bundle


def versioning_of(receipt: Receipt, default: str) -> str:
    """PINNED or AUTO_UPGRADE: what open executions of a workflow do when its code changes."""
    said = rollout_of(receipt.rollout)
    if said.strategy is Strategy.OFF and not said.versioning:
        return "AUTO_UPGRADE"  # in a pool of Versions the next best thing to "in place"
    return said.versioning or default


def _member(receipt: Receipt, base: str, code: str) -> dict[str, Any]:
    member: dict[str, Any] = {
        "workflow_id": receipt.workflow_id,
        "release": receipt.release,
        "path": f"{base}/{receipt.workflow_id}/{receipt.release}",
        "workflow_types": list(receipt.workflow_types),
        "activity_names": list(receipt.activity_names),
    }
    if code:
        member["code"] = code
    if receipt.activities:
        member["activities"] = emitted(receipt.activities, receipt.root)
    if receipt.isolation == "process" and receipt.worker:
        member["worker"] = emitted(receipt.worker, receipt.root)
        member["env"] = dict(receipt.env)
    return member


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be text")
    return value


def _name(row: Mapping[str, Any], key: str) -> str:
    return _part(row[key])


def _part(name: Any) -> str:
    """A name that is part of paths."""
    if not is_part(name):
        raise ValueError(f"{name!r} is no name")
    return str(name)


def _safe(name: str) -> str:
    """A queue or namespace name as a directory name: percent-encoded, no leading dot."""
    text = quote(name, safe="")
    return "%2E" + text[1:] if text.startswith(".") else text


def _folders(path: Path) -> Iterator[str]:
    try:
        entries = list(os.scandir(path))
    except OSError:
        return
    yield from (
        entry.name
        for entry in entries
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
    )
