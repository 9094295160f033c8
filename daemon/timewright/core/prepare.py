"""From the bytes of a file to all that a deploy of it needs to know, as one pure step.

A spec alone doesn't decide its release: the host's SDK, compilers, settings and policies do as well.
Whoever reads specs (the daemon, `plan`, `validate`, `pack`) prepares them here, so that all of them
come to the same digest, the same warnings and the same refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from timewright.core.dependencies import Needs, Provided, Rules, needs, sdk_pin, typescript_pin
from timewright.core.digest import Placement, canonical, place, sha256
from timewright.core.document import Limits
from timewright.core.semver import admits, newest
from timewright.core.sources import DECLARATIONS, is_code
from timewright.core.spec import Spec, package_text, read_spec
from timewright.core.tsconfig import Options, compiler_options, render

Defaults = tuple[tuple[str, Any], ...]  # of policies: key of deploy → value, sorted

#: Raised when the layout of a release changes, so that a new version of timewright makes new ones.
RELEASE_FORMAT: Final = 2

#: What of package.json the compilers look at.
_SEEN_BY_COMPILERS: Final = ("type", "imports", "exports", "main", "sideEffects")


@dataclass(frozen=True)
class Host:
    """What this host gives to every spec.

    `namespace`, `task_queue`: for specs that name none. `typescripts`: versions that are there without
    an install, ours first. `judge`: 'pinned' (a spec is judged by the TypeScript that it pins) or
    'bundled' (always ours). `identity`: of the compilers, for a version of TypeScript (None: ours).
    `bases`: the tsconfig bases that can be extended.
    """

    namespace: str
    task_queue: str
    provided: Provided
    typescripts: tuple[str, ...]
    identity: Callable[[str | None], str]
    limits: Limits = field(default_factory=Limits)
    rules: Rules = field(default_factory=Rules)
    bases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    judge: str = "pinned"


@dataclass(frozen=True)
class Prepared:
    """A spec with what the host makes of it.

    `typescript`: the version or range of TypeScript that judges it, None for ours. `digest`: of the
    release. `compile_key`: of all that decides what the compilers make, whichever workflow it is for.
    `asked`: of the source's word alone; no upgrade of the host changes it (a pin waits for it to change).
    """

    spec: Spec
    placement: Placement
    needs: Needs
    typescript: str | None
    options: Options
    digest: str
    compile_key: str
    asked: str
    warnings: tuple[str, ...]

    def tsconfig(self) -> str:
        """The release's tsconfig.json."""
        return render(self.options, _inputs(self.spec))


class Ready:
    """What was prepared to be planned, kept for the build that mostly follows at once: reading the syntax is
    half of what a deploy costs us. Bounded: what isn't kept is prepared again. `limit`: bytes of specs."""

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        self._left = self._limit = limit
        self._kept: dict[str, tuple[int, str, Defaults, Prepared]] = {}

    def keep(self, data: bytes, content: str, defaults: Defaults, prepared: Prepared) -> None:
        """`content`: the digest of `data`, which with `defaults` came to this. The earliest stay, where there
        are too many: they are built first."""
        self.take(prepared.digest, "", ())
        if len(data) <= self._left:
            self._left -= len(data)
            self._kept[prepared.digest] = (len(data), content, defaults, prepared)

    def take(self, digest: str, content: str, defaults: Defaults) -> Prepared | None:
        """What is kept for a release, once; None where it was made of something else, or isn't there."""
        size, made_of, given, prepared = self._kept.pop(digest, (0, "", (), None))
        self._left += size
        return prepared if (made_of, given) == (content, defaults) else None

    def clear(self) -> None:
        self._kept.clear()
        self._left = self._limit


def prepare(
    data: bytes, host: Host, *, is_yaml: bool = False, defaults: Mapping[str, Any] | None = None
) -> Prepared:
    """Read a spec and decide what it needs. Raises SpecError or DeployError with every problem found."""

    def pin(package: Mapping[str, Any], lock: str | None) -> str:
        return sdk_pin(package, lock, host.provided)

    return settle(read_spec(data, is_yaml=is_yaml, limits=host.limits, defaults=defaults, pin=pin), host)


def settle(spec: Spec, host: Host) -> Prepared:
    """What a host makes of a spec. Raises DeployError for packages that it can't have."""
    typescript = _typescript(spec, host)
    options = _options(spec, typescript or host.typescripts[0], host.bases)
    own_sdk = bool(sdk_pin(spec.package, spec.lock, host.provided))
    imports = {*spec.packages, *_named_types(options)}
    wants = needs(spec.package, spec.lock, imports, host.provided, own_sdk=own_sdk, rules=host.rules)
    placement = place(spec, namespace=host.namespace, task_queue=host.task_queue)
    compiled = sha256(
        canonical(
            {
                "files": dict(spec.files),
                "tsconfig": render(options, _inputs(spec)),
                "package": {key: spec.package[key] for key in _SEEN_BY_COMPILERS if key in spec.package},
                "entries": [spec.workflows, spec.activities, spec.worker, spec.root],
                "isolation": spec.isolation,
                "dependencies": wants.key,
                "compiler": host.identity(typescript),
            }
        )
    )
    return Prepared(
        spec=spec,
        placement=placement,
        needs=wants,
        typescript=typescript,
        options=options,
        digest=_release_digest(spec, placement, compiled),
        compile_key=compiled,
        asked=_word(spec),
        warnings=(*spec.warnings, *options.ignored, *wants.warnings),
    )


def _named_types(options: Options) -> Iterator[str]:
    """Packages that the compiler options ask for, where no import does."""
    types = options.options.get("types")
    if isinstance(types, list):
        yield from (str(name) for name in types if name != "node")
    if options.options.get("importHelpers"):
        yield "tslib"


def _options(spec: Spec, typescript: str, bases: Mapping[str, Mapping[str, Any]]) -> Options:
    """The compiler options that a spec's release is made with."""
    kind = "module" if spec.package.get("type") == "module" else "commonjs"
    return compiler_options(
        spec.tsconfig or {},
        package_type=kind,
        typescript=typescript,
        root=spec.root,
        javascript=spec.javascript,
        mixed=any(path.endswith((".mts", ".cts", ".mjs", ".cjs")) for path in spec.reached),
        bases=bases,
        own=spec.configs,
    )


def _inputs(spec: Spec) -> tuple[str, ...]:
    """What the compiler starts from. All reached code, not only the entry points: what is named by a
    path (`require.resolve`) is no import that the compiler would follow."""
    reached = [path for path in spec.reached if is_code(path)]
    declarations = [path for path in spec.files if path.endswith(DECLARATIONS)]
    return tuple(sorted({*reached, *declarations}))


def _release_digest(spec: Spec, placement: Placement, compiled: str) -> str:
    """The digest of everything that decides a release: 64 hex digits. What only steers the roll-out
    (owner, prune, keepReleases) is left out: it makes no new release."""
    return sha256(
        canonical(
            {
                "format": RELEASE_FORMAT,
                "workflow_id": spec.workflow_id,
                "compiled": compiled,
                "package": package_text(spec),
                "placement": [placement.namespace, placement.task_queue, placement.isolation],
                "env": list(spec.deploy.env),
                **_versioning(spec),
            }
        )
    )


def _versioning(spec: Spec) -> dict[str, str]:
    """Part of the release where the spec says it: it is written into the pool's bundle."""
    said = spec.deploy.rollout.versioning
    return {"versioning": said} if said else {}


def _word(spec: Spec) -> str:
    """A digest of what the source says of a release, and of nothing that this host adds."""
    deploy = spec.deploy
    return sha256(
        canonical(
            {
                "files": dict(spec.files),
                "package": package_text(spec),
                "tsconfig": spec.tsconfig,
                "lock": spec.lock,
                "entries": [spec.workflows, spec.activities, spec.worker, spec.root],
                "placement": [deploy.namespace, deploy.task_queue, deploy.isolation],
                "env": list(deploy.env),
                **_versioning(spec),
            }
        )
    )


def _typescript(spec: Spec, host: Host) -> str | None:
    """Which TypeScript judges a spec: None for ours, else a version that is there, else what it pins."""
    pinned = typescript_pin(spec.package, spec.lock) if host.judge == "pinned" else None
    if pinned is None:
        return None
    ours, *others = host.typescripts
    if admits(pinned, ours.split("-")[0]):  # ours may be a beta of a version that fits
        return None
    return newest(pinned, others) or pinned
