"""Digests: what decides a release, and only that, as SHA-256 over canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timewright.core.spec import Spec

#: A release's short id: the first characters of its digest. 48 bits: a clash within one workflow's
#: few releases is out of reach, and the receipt holds the whole digest all the same.
SHORT = 12


@dataclass(frozen=True)
class Placement:
    """Where a workflow is served. `isolation`: 'shared' pool, or a 'process' of its own."""

    namespace: str
    task_queue: str
    isolation: str = "shared"

    @property
    def pool(self) -> str:
        """The pool's name for people: `namespace/task queue`."""
        return f"{self.namespace}/{self.task_queue}"


def place(spec: Spec, *, namespace: str, task_queue: str) -> Placement:
    """A spec's placement: its own words, else its worker's literal, else the config's defaults."""
    return Placement(
        spec.deploy.namespace or namespace,
        spec.deploy.task_queue or spec.task_queue or task_queue,
        spec.isolation,
    )


def canonical(value: Any) -> bytes:
    """One spelling for equal values: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pool_version(
    members: Iterable[tuple[str, str]], sdk: str, versioning: Mapping[str, str] | None = None
) -> str:
    """The id of a pool version: 12 hex digits over (workflow id, release digest), the SDK, and for a pool
    of Versions the workflows' versioning (PINNED or AUTO_UPGRADE, by workflow id)."""
    more = [] if versioning is None else [sorted(versioning.items())]
    return sha256(canonical([sorted(members), sdk, *more]))[:SHORT]


def build_id(bundles: Mapping[str, str], sdk: str, versioning: Mapping[str, str] | None = None) -> str:
    """Temporal's Build ID of a pool version: the workflow code alone, so that a change of
    activities keeps it (design §7). `bundles`: workflow id → digest of its bundled part."""
    more = [] if versioning is None else [sorted((name, versioning[name]) for name in bundles)]
    return sha256(canonical([sorted(bundles.items()), sdk, *more]))[:SHORT]
