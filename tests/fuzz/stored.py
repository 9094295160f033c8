"""Files of the data directory that somebody else may have written since: any bytes are what we write, or told
to be none; and nothing in them leads out of the directory, or is what a database, a log or git can't take."""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from timewright.core.errors import TimewrightError
from timewright.core.rollout import rollout_of
from timewright.core.spec import emitted
from timewright.core.state import Pin, Suspension
from timewright.core.stored import json_of, shaped, toml_of
from timewright.edge import dependencies, listing
from timewright.edge.holds import Holds
from timewright.edge.pools import Pools, versioning_of
from timewright.edge.receipts import Receipt
from timewright.edge.statefile import Bad
from timewright.edge.tokens import Tokens
from timewright.edge.toolchain import version_of
from timewright.views import iso

_HOME = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
_KEY = ("default", "q")


def _put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _stays(path: str) -> None:
    """A path of a document stays below the folder that it is put after."""
    assert posixpath.normpath(f"/release/{path}") == f"/release/{path}", path
    os.fsencode(path)
    assert "\0" not in path


def fuzz_receipt(data: bytes) -> None:
    """release.toml: decides what a pool runs, and what the state file is rebuilt from."""
    try:
        receipt = Receipt.from_toml(data)
    except ValueError:
        return
    for entry in (receipt.workflows, receipt.activities, receipt.worker):
        if entry is not None:
            _stays(emitted(entry, receipt.root))
    for path in (receipt.workflow_id, receipt.release, *receipt.files):
        _stays(path)
    if receipt.dependencies:
        _stays(receipt.dependencies)
        assert "/" not in receipt.dependencies
    versioning_of(receipt, "PINNED")
    iso(receipt.created)
    json.dumps(asdict(receipt), allow_nan=False).encode()
    assert Receipt.from_toml(receipt.to_toml()) == receipt


def fuzz_pool(data: bytes) -> None:
    """pool.toml and kept.toml: what is served."""
    pools = Pools(_HOME / "pool")
    home = pools.home(_KEY)
    _put(home / "v1" / "pool.toml", data)
    _put(home / "kept.toml", data)
    pools.has(_KEY, "v1")
    found = pools.read(_KEY, "v1")
    if found is not None:
        json.dumps(asdict(found)).encode()
        for name in (found.version, *found.members, *found.members.values()):
            _stays(name)
            assert "/" not in name
    for name in pools.kept(_KEY):
        _stays(name)
        assert "/" not in name
    pools.published(_KEY)


def fuzz_holds(data: bytes) -> None:
    """holds/*.json: what people decided, taken up when the state file is lost."""
    holds = Holds(_HOME / "holds")
    _put(holds.root / "a.json", data)
    for _, content in holds.read():
        for kind, key in ((Suspension, "suspension"), (Pin, "pin"), (tuple[Bad, ...], "bad")):
            with suppress(ValueError):
                shown = shaped(kind, content.get(key))
                shown = [asdict(item) for item in shown] if isinstance(shown, tuple) else asdict(shown)
                json.dumps(shown, allow_nan=False, ensure_ascii=False).encode()


def fuzz_adopted(data: bytes) -> None:
    """adopted.json: which commit a source stands at. Its ids go to git's standard input, one a line."""
    path = _put(_HOME / "adopted.json", data)
    try:
        found = listing.load(path)
    except ValueError as error:
        str(error).encode()
        return
    assert found is not None
    for sha in (found.commit.sha, *found.commits, *(item.oid or "0" for item in found.files.values())):
        assert sha.isalnum()
    assert len(found.seen) == len(found.files)
    iso(found.at)
    listing.store(path, found)
    assert listing.load(path) == found


def fuzz_packages(data: bytes) -> None:
    """What npm left behind, and a package says of itself: deps.toml, .package-lock.json, package.json."""
    home = _HOME / "set"
    for name in ("deps.toml", "node_modules/.package-lock.json", "package.json"):
        _put(home / name, data)
    dependencies._whole(home)
    for path, entry in dependencies._entries(home).items():
        str(path).encode()
        entry.get("version")
    dependencies._owner("left-pad", dependencies._entries(home))
    version_of(home).encode()


def fuzz_tokens(data: bytes) -> None:
    """tokens.toml: who may call. What is wrong with it is told; nobody is let in by accident."""
    path = _put(_HOME / "tokens.toml", data)
    path.chmod(0o600)
    try:
        tokens = Tokens(path).all()
    except TimewrightError as error:
        assert str(path) in str(error)  # noqa: PT017 - that there is one isn't what is tested
        str(error).encode()
        return
    for token in tokens:
        assert len(token.sha256) == 64
        assert token.owners is None or token.owners
        iso(token.expires)
        token.expired(1e9)


def fuzz_stored(data: bytes) -> None:
    """What all of these stand on: any bytes are a value that can be written again, or a ValueError."""
    with suppress(ValueError):
        json.dumps(json_of(data), ensure_ascii=False, allow_nan=True).encode()
    with suppress(ValueError):
        toml_of(data)
    with suppress(ValueError):
        found = rollout_of(data.decode("utf-8", "replace"))
        assert rollout_of(found.to_text()) == found
