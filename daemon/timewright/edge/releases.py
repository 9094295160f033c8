"""The worker tree: immutable releases, the links that make them live, and their receipts.

    workflows/{id}  ->  ../releases/{id}/{digest12}

A reader sees a whole release or none: a release is built under a temporary name beside its final
one, made durable, and renamed; the link is swapped by a rename (design §4).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from timewright.core import differences as d
from timewright.core.differences import Difference, Kind
from timewright.core.digest import SHORT, sha256
from timewright.core.errors import DeployError, Reason
from timewright.edge import files
from timewright.edge.failpoint import failpoint
from timewright.edge.inspection import PACKAGES, Inspector, above, digest_of
from timewright.edge.links import release_of
from timewright.edge.receiptcache import ReceiptCache, stamp_of
from timewright.edge.receipts import RECEIPT, Receipt, read_receipt
from timewright.edge.source import escape

__all__ = ["RECEIPT", "Receipt", "Releases"]


class Releases:
    """The releases of one data directory."""

    def __init__(self, data: Path, workflows: Path | None = None, twin: Path | None = None) -> None:
        """`workflows`: the worker tree. `twin`: a second tree of the same links, if somebody wants one."""
        self.data = data
        self.root = data / "releases"
        self.links = workflows or data / "workflows"
        self.trees = [self.links, *([twin] if twin else [])]
        self.remembered = ReceiptCache(data / "cache" / "receipts.json")
        self._inspector = Inspector()
        self._sealed: dict[Path, tuple[str, Receipt]] = {}  # receipts as published, or as first seen

    def prepare(self) -> int:
        """Make the directories and sweep what a crash left; returns how many leftovers there were."""
        for directory in (self.root, *self.trees):
            directory.mkdir(parents=True, exist_ok=True)
        swept = sum(files.sweep(directory) for directory in (self.root, *self.trees))
        return swept + sum(
            files.sweep(entry.path)  # ten thousand of them: texts, and no paths
            for entry in os.scandir(self.root)
            if entry.is_dir(follow_symlinks=False)
        )

    def path(self, workflow_id: str, release: str) -> Path:
        return self.root / workflow_id / release

    def begin(self, workflow_id: str) -> Path:
        """A new, empty directory to build a release in, at the depth that it will have."""
        directory = self.root / workflow_id / files.unique()
        directory.mkdir(parents=True)
        return directory

    def publish(self, build: Path, receipt: Receipt) -> Path:
        """Seal a built release: receipt, fsync, rename to its final name. Returns that name.

        A release of that name that is damaged is replaced; one that is whole is kept.
        """
        sealed = replace(receipt, files=dict(_digests(build)))
        data = sealed.to_toml()
        (build / RECEIPT).write_bytes(data)
        files.sync_tree(build)
        final = self.path(receipt.workflow_id, receipt.release)
        if os.path.lexists(final):
            if self.damage(receipt.workflow_id, receipt.release) == "":
                files.remove(build)
                return final
            failpoint("before-exchange")
            files.exchange(build, final)
            failpoint("after-exchange")
        else:
            failpoint("before-seal")
            build.rename(final)
            failpoint("after-seal")
        self._sealed[final] = (sha256(data), sealed)
        self._inspector.forget(final)
        files.sync_directory(final.parent)
        files.sync_directory(self.root)  # the workflow's own directory may be new
        files.remove(build)  # what the exchange put there
        return final

    def receipt(self, workflow_id: str, release: str) -> Receipt | None:
        """A release's receipt; None when there is no whole release of that name."""
        root = self.path(workflow_id, release)
        known = self._sealed.get(root)
        try:
            data = read_receipt(root)
            if known is not None and known[0] == sha256(data):
                return known[1]
            found = Receipt.from_toml(data)
        except (OSError, ValueError):
            return None
        return found if found.is_of(workflow_id, release) else None

    def outline(self, workflow_id: str, release: str) -> Receipt | None:
        """The same without its list of files, which only who looks into a release needs. What is known from
        before a restart isn't read again."""
        name = f"{workflow_id}/{release}"
        stamp = stamp_of(f"{self.root}/{name}/{RECEIPT}")
        if stamp is None:
            return None
        known = self.remembered.get(name, stamp)
        if known is None:
            found = self.receipt(workflow_id, release)
            if found is None:
                return None
            known = replace(found, files={})
            self.remembered.note(name, stamp, known)
        return known if known.is_of(workflow_id, release) else None

    def damage(self, workflow_id: str, release: str) -> str:
        """What differs from the receipt, '' when nothing does: every file is read."""
        found = self.differences(workflow_id, release)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return f"{found[0].line}{more}" if found else ""

    def differences(self, workflow_id: str, release: str, *, full: bool = True) -> tuple[Difference, ...]:
        """How a release differs from what was published, the gravest first; nothing that lies there makes it
        raise. Not `full`: files whose stamps are those of an earlier look aren't read again."""
        root = self.path(workflow_id, release)
        tampered, receipt = self._judge_receipt(workflow_id, release)
        if receipt is None:
            closed = self._inspector.differences(root, {}, full=True, besides=RECEIPT)
            return tuple(item for item in closed if not item.path) or tampered
        found = self._inspector.differences(root, receipt.files, full=full, besides=RECEIPT)
        if any(not item.path for item in found):  # the directory itself
            return found
        others = tuple(item for item in found if item.path != RECEIPT)
        return d.ordered((*tampered, *others, *_lost_packages(root, receipt)))

    def _judge_receipt(self, workflow_id: str, release: str) -> tuple[tuple[Difference, ...], Receipt | None]:
        """What is wrong with a receipt, and the one to go by: as published, as far as we have seen it."""
        root = self.path(workflow_id, release)
        known = self._sealed.get(root)
        try:
            data = read_receipt(root)
            if known is not None and known[0] == sha256(data):
                return (), known[1]
            found = Receipt.from_toml(data)
            line = "was changed" if known is not None or not found.is_of(workflow_id, release) else ""
        except FileNotFoundError:
            found, line = None, "is missing"
        except (OSError, ValueError):
            found, line = None, "is damaged"
        if not line and found is not None:
            self._sealed[root] = (sha256(data), found)
            return (), found
        return (Difference(RECEIPT, Kind.RECEIPT, f"{RECEIPT} {line}"),), known[1] if known else None

    def sealed(self, workflow_id: str, release: str) -> Receipt | None:
        """A release's receipt as it was published, as far as we have seen it, whatever lies there now."""
        return self._judge_receipt(workflow_id, release)[1]

    def folders(self, workflow_id: str, release: str) -> list[Path]:
        """The directories of a release that was looked at, its own first; whether or not they are there."""
        root = self.path(workflow_id, release)
        _, receipt = self._sealed.get(root, ("", None))
        listed = receipt.files if receipt is not None else ()
        return [root, *(root / folder for folder in sorted({f for path in listed for f in above(path)}))]

    def link_differences(self, workflow_id: str, release: str) -> tuple[Difference, ...]:
        """How the links of a workflow differ from those that make `release` live."""
        found = []
        for tree, name in zip(self.trees, ("the link", "the link in activities_dir"), strict=False):
            line = self._judge_link(tree, workflow_id, release)
            if line:
                kind = Kind.MISSING if line == "is missing" else Kind.LINK
                found.append(Difference("", kind, f"{name} {line}"))
        return tuple(found)

    def _judge_link(self, tree: Path, workflow_id: str, release: str) -> str:
        link, home = tree / workflow_id, os.path.relpath(self.root.resolve(), tree.resolve())
        target = files.read_link(link)
        if target is None:
            if not os.path.lexists(link):
                return "is missing"
            return "was replaced by a folder" if link.is_dir() else "was replaced by a file"
        folder, _, named = target.rpartition("/")
        if folder == f"{home}/{workflow_id}":
            return "" if named == release else f"names release {escape(named)[:SHORT]}, not {release}"
        with contextlib.suppress(OSError):
            if link.samefile(self.path(workflow_id, release)):
                return ""
        return f"leads elsewhere, not to release {release}"

    def make_live(self, workflow_id: str, release: str) -> None:
        """Swap the workflow's link to a release, by one rename."""
        for tree in reversed(self.trees):  # the tree that counts comes last
            tree.mkdir(parents=True, exist_ok=True)
            link, home = tree / workflow_id, os.path.relpath(self.root.resolve(), tree.resolve())
            if link.is_dir() and not link.is_symlink():
                raise DeployError(
                    Reason.STORAGE_FAILED,
                    f"{link} is a directory that timewright did not make",
                    hint="move it away: the link to the live release belongs there",
                )
            files.point(link, f"{home}/{workflow_id}/{release}")

    def take_down(self, workflow_id: str) -> None:
        """Remove the workflow's link; its releases stay until retention collects them."""
        for tree in reversed(self.trees):
            if files.read_link(tree / workflow_id) is not None:
                (tree / workflow_id).unlink(missing_ok=True)
                files.sync_directory(tree)

    def current(self, workflow_id: str) -> str | None:
        """The release that a workflow's link names, if the link is one of ours."""
        try:  # asked of each workflow in each pass: texts, and no paths
            return release_of(workflow_id, os.readlink(f"{self.links}/{workflow_id}"))  # noqa: PTH115
        except OSError:
            return None

    def live(self) -> Iterator[Receipt]:
        """The receipt of each workflow's current release, where both link and release are whole."""
        for entry in os.scandir(self.links):
            if entry.is_symlink() and not entry.name.startswith(".tmp-"):
                release = self.current(entry.name)
                receipt = self.receipt(entry.name, release) if release else None
                if receipt is not None:
                    yield receipt

    def collect(self, workflow_id: str, keep: Iterable[str], *, most: int, older_than: float) -> list[str]:
        """Remove old releases; returns which. Kept: the live one, those in `keep` (ids or digests), the
        newest `most`, and all created after `older_than` (seconds since the epoch, by their receipts)."""
        home = self.root / workflow_id
        wanted = {self.current(workflow_id), *(name[:SHORT] for name in keep)}
        dated: list[tuple[float, str]] = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(home):
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".tmp-"):
                    receipt = self.receipt(workflow_id, entry.name)
                    dated.append((receipt.created if receipt else 0.0, entry.name))
        dated.sort(reverse=True)
        doomed = [name for created, name in dated[most:] if name not in wanted and created < older_than]
        for name in doomed:
            failpoint("before-collect")
            files.remove(home / name)
            failpoint("after-collect")
            self._inspector.forget(home / name)
            self._sealed.pop(home / name, None)
            self.remembered.forget(f"{workflow_id}/{name}")
        return doomed

    def kept(self, workflow_id: str) -> list[Receipt]:
        """The receipts of the releases that the tree holds, newest first."""
        return self._held(workflow_id, self.receipt)

    def outlines(self, workflow_id: str) -> list[Receipt]:
        """The same without their lists of files: of fifty that are kept each takes a quarter of a millisecond
        to read, and what was read once isn't read again."""
        return self._held(workflow_id, self.outline)

    def _held(self, workflow_id: str, read: Callable[[str, str], Receipt | None]) -> list[Receipt]:
        found: list[Receipt] = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.root / workflow_id):
                if not entry.name.startswith(".tmp-"):
                    receipt = read(workflow_id, entry.name)
                    if receipt is not None:
                        found.append(receipt)
        return sorted(found, key=lambda receipt: receipt.created, reverse=True)

    def packages(self) -> set[str]:
        """The sets of packages that any release, or one being built, links to."""
        links = (files.read_link(path) for path in self.root.glob("*/*/node_modules"))
        return {Path(link).parent.name for link in links if link is not None}

    def discard(self, build: Path) -> None:
        """Throw away what was being built."""
        shutil.rmtree(build, ignore_errors=True)


def _digests(root: Path) -> Iterator[tuple[str, str]]:
    """(relative path, SHA-256) of every file but the receipt; links by their target."""
    for directory, folders, names in os.walk(root):
        for name in sorted([*names, *(f for f in folders if Path(directory, f).is_symlink())]):
            relative = Path(directory, name).relative_to(root).as_posix()
            if relative != RECEIPT:
                yield relative, digest_of(root, relative)


def _lost_packages(root: Path, receipt: Receipt) -> Iterator[Difference]:
    """A release whose link to its packages is whole and leads to nothing runs as little as one without."""
    target = files.read_link(root / PACKAGES)
    ours = target is not None and sha256(os.fsencode(target)) == receipt.files.get(PACKAGES)
    if ours and not os.path.lexists(root / str(target)):
        yield Difference(PACKAGES, Kind.MISSING, f"the set of packages behind {PACKAGES} is missing")
