"""Shows what differs between two releases, or between a release and what the source asks for.

Reads only what its digest proves to be what it is taken for. Whatever is read in a release is read through
no link, and only where it is a plain file under one name: a link to somebody's keys shows nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from timewright.core.dependencies import asked_packages
from timewright.core.diff import (
    MOST_BYTES,
    MOST_FILES,
    Diff,
    Side,
    Text,
    compare,
    differing,
    split_files,
    text_of,
)
from timewright.core.digest import SHORT, sha256
from timewright.core.errors import Code, DeployError, RequestError
from timewright.core.prepare import Prepared, prepare
from timewright.core.spec import package_text
from timewright.core.state import Record
from timewright.edge import files, source
from timewright.edge.releases import Receipt
from timewright.views import View, iso
from timewright.world import World

#: Words for a release, besides its id: where a record keeps the digest.
_WORDS: Mapping[str, Callable[[Record], str]] = {
    "live": lambda record: record.applied,
    "previous": lambda record: record.previous,
    "proven": lambda record: record.proven,
}
WANTED = "wanted"

Defaults = Iterable[tuple[str, Any]]


async def diff_view(world: World, workflow_id: str, a: str, b: str, defaults: Defaults = ()) -> View:
    """What differs between two releases: ids (or their first characters), `live`, `previous`, `proven`, or
    `wanted` for what the source asks for. `defaults`: keys of deploy that policies give to its spec.

    Raises RequestError: NOT_FOUND for a release that isn't kept, CONFLICT for a spec that can't be read."""
    one, other = _choose(world, workflow_id, a), _choose(world, workflow_id, b)
    spec = await _wanted(world, workflow_id, defaults) if None in (one, other) else None
    return await asyncio.to_thread(_diff, world, workflow_id, one or spec, other or spec)


# Two releases ----------------------------------------------------------------------------------


def _choose(world: World, workflow_id: str, name: str) -> Receipt | None:
    """The release that somebody means; None for what the source asks for."""
    if name == WANTED:
        return None
    word = _WORDS.get(name)
    wish = word(world.record(workflow_id)) if word is not None else name
    kept = world.releases.kept(workflow_id)
    found = [receipt for receipt in kept if len(wish) >= 4 and receipt.digest.startswith(wish)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(receipt.release for receipt in kept) or "none"
    if found:
        what = f"more than one release of {workflow_id} begins with {name!r}"
    elif word is not None and not wish:
        what = f"{workflow_id} has no {name} release"
    else:
        what = f"release {wish[:SHORT] if word else name!r} of {workflow_id} is not kept"
    raise RequestError(Code.NOT_FOUND, what, hint=f"kept: {listed}; or say live, previous, wanted")


async def _wanted(world: World, workflow_id: str, defaults: Defaults) -> Prepared:
    record = world.record(workflow_id)
    try:
        found = await prepare_spec(world, record.source, defaults)
    except source.UnreadableError as error:
        raise RequestError(
            Code.CONFLICT, f"the spec of {workflow_id} can't be read: {error.problem}"
        ) from None
    except DeployError as error:
        raise RequestError(
            Code.CONFLICT,
            f"the spec of {workflow_id} makes no release: {error.message}",
            hint=f"correct {record.source}",
            problems=error.problems,
        ) from None
    return found


async def prepare_spec(world: World, path: str, defaults: Defaults) -> Prepared:
    """The spec at `path` now. Raises UnreadableError, DeployError."""
    data = await world.sources.read(path, world.host.limits)
    return await asyncio.to_thread(prepare_read, world, path, data, defaults)


def prepare_read(world: World, path: str, data: bytes, defaults: Defaults) -> Prepared:
    """The same of what was read. Raises DeployError."""
    return prepare(data, world.host, is_yaml=path.endswith((".yaml", ".yml")), defaults=dict(defaults))


def _diff(world: World, workflow_id: str, a: Receipt | Prepared | None, b: Receipt | Prepared | None) -> View:
    sides = [_Sided.of(world, workflow_id, item) for item in (a, b) if item is not None]
    one, other = sides
    paths = [*differing(one.files, other.files)]
    found = compare(one.side(paths[:MOST_FILES]), other.side(paths[:MOST_FILES]))
    return {
        "workflowId": workflow_id,
        "a": one.view,
        "b": other.view,
        "same": one.digest == other.digest,
        **_diff_view(found),
    }


@dataclass(frozen=True)
class _Sided:
    """One side, before it is known which texts are needed."""

    digest: str
    files: Mapping[str, str]
    read: Callable[[str], Text]
    rest: Mapping[str, Any]
    view: View

    @classmethod
    def of(cls, world: World, workflow_id: str, item: Receipt | Prepared) -> _Sided:
        if isinstance(item, Prepared):
            versions = {
                "sdk": world.compiler.sdk_version,
                "typescript": item.typescript or world.compiler.typescript_version,
                "compiler": world.host.identity(item.typescript),
            }
            return _of_spec(item, world.record(workflow_id).source, versions)
        return _of_release(world, item)

    def side(self, paths: Iterable[str]) -> Side:
        texts = {path: self.read(path) for path in paths if path in self.files}
        return Side(files=self.files, texts=texts, **self.rest)


def _of_release(world: World, receipt: Receipt) -> _Sided:
    given, compiled = split_files(receipt.files)
    root = world.releases.path(receipt.workflow_id, receipt.release)

    def read(path: str) -> Text:
        data = read_release(root, path)
        return data if isinstance(data, Text) else text_of(data, given[path])

    bundle = root / "bundle" / "workflow.js"
    rest: dict[str, Any] = {
        "name": receipt.release,
        "compiled": compiled,
        "asked": _asked(read("package.json").text if "package.json" in given else None),
        "options": _options(read("tsconfig.json").text if "tsconfig.json" in given else None),
        "installed": world.dependencies.versions(receipt.dependencies) if receipt.dependencies else {},
        "placement": _placement(receipt.namespace, receipt.task_queue, receipt.isolation),
        "env": receipt.env,
        "workflow_types": receipt.workflow_types,
        "activities": receipt.activity_names,
        "versions": {"sdk": receipt.sdk, "typescript": receipt.typescript, "compiler": receipt.compiler},
        "bundle": (receipt.bundle, _size(bundle)) if receipt.bundle else None,
    }
    view = {
        "release": receipt.release,
        "digest": receipt.digest,
        "wanted": False,
        "createdAt": iso(receipt.created),
        "source": receipt.source,
        "revision": receipt.revision,
    }
    return _Sided(receipt.digest, given, read, rest, view)


def _of_spec(prepared: Prepared, path: str, versions: Mapping[str, str]) -> _Sided:
    texts, spec = given_texts(prepared), prepared.spec
    place = prepared.placement
    rest: dict[str, Any] = {
        "name": WANTED,
        "asked": asked_packages(spec.package),
        "options": dict(prepared.options.options),
        "placement": _placement(place.namespace, place.task_queue, place.isolation),
        "env": dict(spec.deploy.env),
        "workflow_types": spec.workflow_types,
        "activities": spec.activity_names,
        "versions": versions,
    }
    view = {
        "release": prepared.digest[:SHORT],
        "digest": prepared.digest,
        "wanted": True,
        "createdAt": None,
        "source": path,
        "revision": None,
    }
    listed = {path: sha256(text.encode()) for path, text in texts.items()}
    return _Sided(prepared.digest, listed, lambda path: text_of(texts[path].encode()), rest, view)


def spec_diff(old: Prepared, new: Prepared) -> View:
    """What differs between two states of a spec, as `diff_view` tells it."""
    one, other = (_of_spec(prepared, "", {}) for prepared in (old, new))
    paths = [*differing(one.files, other.files)]
    return _diff_view(compare(one.side(paths[:MOST_FILES]), other.side(paths[:MOST_FILES])))


def given_texts(prepared: Prepared) -> dict[str, str]:
    """The files of a release that its spec gives, as build.write_sources writes them."""
    return {
        **prepared.spec.files,
        "package.json": package_text(prepared.spec),
        "tsconfig.json": prepared.tsconfig(),
    }


def _placement(namespace: str, task_queue: str, isolation: str) -> dict[str, str]:
    return {"namespace": namespace, "taskQueue": task_queue, "isolation": isolation}


def _asked(text: str | None) -> dict[str, str]:
    package = _json(text)
    return asked_packages(package) if isinstance(package, dict) else {}


def _options(text: str | None) -> dict[str, Any]:
    document = _json(text)
    options = document.get("compilerOptions") if isinstance(document, dict) else None
    return options if isinstance(options, dict) else {}


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def read_release(root: Path, path: str) -> bytes | Text:
    """A file of a release, whoever wrote it last; or why there is no text of it."""
    try:
        with os.fdopen(files.open_beneath(root, path), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return Text(None, "it is no file any more")
            if status.st_nlink > 1:
                return Text(None, "the file has other names elsewhere: not shown")
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        return Text(None, f"it can't be read: {error.strerror}")


def _diff_view(found: Diff) -> View:
    view: View = {
        "files": [asdict(change) for change in found.files],
        "compiled": asdict(found.compiled) if found.compiled else None,
        "dependencies": [asdict(change) for change in found.asked],
        "installed": None if found.installed is None else [asdict(change) for change in found.installed],
        "options": [asdict(change) for change in found.options],
        "placement": [asdict(change) for change in found.placement],
        "env": asdict(found.env),
        "workflowTypes": asdict(found.workflow_types),
        "activities": asdict(found.activities),
        "versions": [asdict(change) for change in found.versions],
        "bundle": None,
    }
    if found.bundle is not None:
        old, new = found.bundle
        view["bundle"] = {"old": _bundle(old), "new": _bundle(new)}
    return view


def _bundle(bundle: tuple[str, int] | None) -> View | None:
    return {"digest": bundle[0], "bytes": bundle[1]} if bundle else None
