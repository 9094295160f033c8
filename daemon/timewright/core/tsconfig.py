"""Which of a spec's compiler options count, and the tsconfig.json that a release gets.

A spec's own tsconfig never reaches the compiler: `outDir`, `declarationDir`, `tsBuildInfoFile`,
`generateTrace` and `extends` read and write outside of the release (faults.md findings 1 and 2).
Only options that decide what is checked and what the code means pass, each with a checked value, as
the TypeScript version that judges knows them; where things are read and written is pinned here.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from timewright.core import tsextends, tsmodules
from timewright.core.aliases import Aliases
from timewright.core.tsdraft import Draft, lower

#: Options that are true or false and change what is checked or what the emitted code means.
_SWITCHES: Final = frozenset(
    [
        "strict",
        "noImplicitAny",
        "strictNullChecks",
        "strictFunctionTypes",
        "strictBindCallApply",
        "strictPropertyInitialization",
        "strictBuiltinIteratorReturn",
        "noImplicitThis",
        "useUnknownInCatchVariables",
        "noUnusedLocals",
        "noUnusedParameters",
        "exactOptionalPropertyTypes",
        "noImplicitReturns",
        "noFallthroughCasesInSwitch",
        "noUncheckedIndexedAccess",
        "noImplicitOverride",
        "noPropertyAccessFromIndexSignature",
        "noUncheckedSideEffectImports",
        "allowUnusedLabels",
        "allowUnreachableCode",
        "allowUmdGlobalAccess",
        "experimentalDecorators",
        "emitDecoratorMetadata",
        "useDefineForClassFields",
        "isolatedModules",
        "verbatimModuleSyntax",
        "erasableSyntaxOnly",
        "resolveJsonModule",
        "resolvePackageJsonExports",
        "resolvePackageJsonImports",
        "rewriteRelativeImportExtensions",
        "allowJs",
        "checkJs",
        "isolatedDeclarations",
        "preserveConstEnums",
        "downlevelIteration",
        "importHelpers",
        "removeComments",
        "declaration",
        "forceConsistentCasingInFileNames",
        "esModuleInterop",
        "allowSyntheticDefaultImports",
        "alwaysStrict",
    ]
)

#: What TypeScript 7 only knows as true, and 6 calls deprecated when false.
_ALWAYS_ON: Final = frozenset({"esModuleInterop", "allowSyntheticDefaultImports", "alwaysStrict"})

_TARGETS: Final = ("es2015", *(f"es{year}" for year in range(2016, 2027)), "esnext")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "moduleDetection": ("auto", "legacy", "force"),
    "jsx": ("preserve", "react", "react-native", "react-jsx", "react-jsxdev"),
}

#: Pinned: where a release's files are, and what is never the spec's to say.
#: Library types are not checked again: it costs 0.8 s and the SDK's own types have two errors.
#: No declarations unless the spec asks: nobody reads them, and asking for them adds errors of its
#: own (TS2742, TS4058) to specs that are right without.
_PINNED: Final[Mapping[str, object]] = {"outDir": "dist", "sourceMap": True, "skipLibCheck": True}

#: Say nothing about the code or only about files that nobody misses: dropping them needs no note.
_QUIET: Final = frozenset(
    [
        "assumeChangesOnlyAffectDirectDependencies",
        "composite",
        "declarationMap",
        "diagnostics",
        "disableReferencedProjectLoad",
        "disableSizeLimit",
        "disableSolutionSearching",
        "disableSourceOfProjectReferenceRedirect",
        "explainFiles",
        "extendedDiagnostics",
        "ignoreDeprecations",
        "incremental",
        "inlineSourceMap",
        "inlineSources",
        "noEmit",
        "libReplacement",
        "listEmittedFiles",
        "listFiles",
        "newLine",
        "noEmitOnError",
        "noErrorTruncation",
        "pretty",
        "preserveWatchOutput",
        "skipDefaultLibCheck",
        "sourceMap",
        "traceResolution",
        "tsBuildInfoFile",
    ]
)
#: Handled together with others, after them.
_TOGETHER: Final = frozenset({"module", "moduleResolution", "paths", "baseUrl"})


@dataclass(frozen=True)
class Options:
    """`options`: the compilerOptions of a release. `ignored`: one line for each thing not followed."""

    options: Mapping[str, object]
    ignored: tuple[str, ...] = ()


def compiler_options(
    spec_tsconfig: Mapping[str, object],
    *,
    package_type: str = "commonjs",
    typescript: str = "7",
    root: str = "src",
    javascript: bool = False,
    mixed: bool = False,
    bases: Mapping[str, Mapping[str, Any]] | None = None,
    own: Mapping[str, str] | None = None,
) -> Options:
    """The options that a release is compiled with, from a spec's whole tsconfig (may be empty).

    `package_type`: `type` of the spec's package.json; Node runs `dist/*.js` as that kind of module.
    `typescript`: the version that judges (5.9.3, 6.0, 7). `root`: `src` or `.`, where code lies.
    `javascript`: whether JavaScript files of the spec are compiled. `mixed`: whether some are named
    .mts, .cts, .mjs or .cjs, which only Node's kinds of modules emit as such.
    `bases`, `own`: what `extends` may mean; see `tsextends.merge`.
    Never raises: what can't be followed is left out, with a line in `ignored`. `paths` of the result
    count from the release's root and hold `baseUrl`, so that `Aliases.of(result)` needs no more.
    """
    draft = Draft(_version(typescript), package_type, mixed)
    asked = tsextends.merge(spec_tsconfig, bases or {}, own or {})
    draft.notes += asked.notes
    if "references" in asked.others:
        draft.notes.append("tsconfig.references: not followed; a release is compiled from its entry points")
    _defaults(draft, bare=not asked.options)
    for name in sorted(asked.options):
        value, folder = asked.options[name]
        if name == "typeRoots":
            _type_roots(draft, value, folder)
        elif name not in _TOGETHER:
            _follow(draft, name, value, root)
    tsmodules.follow(draft, *(asked.options.get(key, (None,))[0] for key in ("module", "moduleResolution")))
    _aliases(draft, asked)
    if javascript:
        draft.options["allowJs"] = True
        draft.options.pop("isolatedDeclarations", None)  # TypeScript refuses the two together (TS5053)
    if draft.deprecated:
        draft.options["ignoreDeprecations"] = f"{draft.version[0]}.0"
    options = {**dict(sorted(draft.options.items())), "rootDir": root, **_PINNED}
    return Options(options, tuple(dict.fromkeys(draft.notes)))


def render(options: Options, files: Iterable[str]) -> str:
    """The tsconfig.json of a release: `options`, and `files` (entry points and the spec's own .d.ts).

    No `include`: the program is what the entry points import, and nothing else.
    """
    document = {"compilerOptions": dict(options.options), "files": sorted(set(files))}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _version(text: str) -> tuple[int, int]:
    match = re.match(r"\s*[\^~>=v]*(\d{1,4})(?:\.(\d{1,4}))?", text)
    return (int(match[1]), int(match[2] or 0)) if match else (7, 0)


def _defaults(draft: Draft, *, bare: bool) -> None:
    """What a spec gets that says nothing. With options of its own, its compiler's defaults hold,
    where a release can be made of them; without any, what TypeScript 7 would do."""
    draft.options |= {"target": "es2022"}
    if bare or draft.version >= (6, 0):
        draft.options |= {"strict": True, "types": ["node"]}
    if bare and draft.version < (6, 0):
        draft.options["esModuleInterop"] = True
    if draft.version < (6, 0):
        # Without `types` it takes all there are, also above the release, where we don't want it to look.
        draft.options["typeRoots"] = ["./node_modules/@types"]


def _follow(draft: Draft, name: str, value: object, root: str) -> None:
    """Take one option into the draft, or note why not."""
    if name in _SWITCHES:
        _switch(draft, name, value)
    elif name in _CHOICES:
        _choice(draft, name, value)
    elif name in _SPECIAL:
        _SPECIAL[name](draft, value)
    elif name not in _QUIET and not _as_pinned(name, value):
        pinned = {**_PINNED, "rootDir": root}.get(name)
        draft.note(name, "ignored" + (f"; it is always {json.dumps(pinned)}" if pinned is not None else ""))


def _as_pinned(name: str, value: object) -> bool:
    """Whether the spec gets what it asked for anyway, or nothing that anybody misses: where files are
    is ours, and nearly every project names a `lib` of its own."""
    if name in ("rootDir", "outDir") and isinstance(value, str):
        path = posixpath.normpath(value.replace("\\", "/"))
        return not path.startswith(("..", "/")) and ":" not in path
    return (name, value) in (("skipLibCheck", True), ("noEmit", False), ("emitDeclarationOnly", False))


def _switch(draft: Draft, name: str, value: object) -> None:
    if not isinstance(value, bool):
        draft.note(name, "must be true or false; ignored")
    elif name in _ALWAYS_ON and not value and draft.version >= (7, 0):
        draft.note(name, "false was removed in TypeScript 7; it is always true")
    elif name == "downlevelIteration" and draft.version >= (7, 0):
        pass  # every target that is left has iterators
    elif name not in _ALWAYS_ON or draft.version < (7, 0):
        draft.options[name] = value
        draft.deprecate_if(name == "downlevelIteration" or (name in _ALWAYS_ON and not value))


def _choice(draft: Draft, name: str, value: object) -> None:
    text = lower(value)
    if text in _CHOICES[name]:
        draft.options[name] = text
    else:
        draft.note(name, f"must be one of {', '.join(_CHOICES[name])}; ignored")


def _target(draft: Draft, value: object) -> None:
    text = {"es6": "es2015"}.get(lower(value), lower(value))
    oldest = "es5" if draft.version < (7, 0) else "es2015"
    if text in ("es3", "es5"):
        draft.options["target"] = oldest
        draft.deprecate_if(True)
        if text != oldest:
            since = "5.5" if text == "es3" and oldest == "es5" else "7"
            draft.note("target", f"{text} was removed in TypeScript {since}; {oldest} is used")
    elif text in _TARGETS:
        draft.options["target"] = text
    else:
        draft.note("target", "is not one that TypeScript knows; es2022 is used")


def _lib(draft: Draft, value: object) -> None:
    names = _strings(value)
    if names is None:
        draft.note("lib", "must be a list of names; ignored")
    else:
        draft.options["lib"] = names  # an unknown name is the compiler's to report (TS6046)


def _types(draft: Draft, value: object) -> None:
    _packages(draft, "types", value)


def _conditions(draft: Draft, value: object) -> None:
    _packages(draft, "customConditions", value)


def _packages(draft: Draft, name: str, value: object) -> None:
    """A list of package names. A path among them would read files outside of the release."""
    names = _strings(value)
    if names is None:
        draft.note(name, "must be a list of names; ignored")
        return
    fine = [item for item in names if _is_name(item)]
    draft.options[name] = fine
    if fine != names:
        draft.note(name, "may only name packages, not paths; the others are ignored")


def _jsx_name(name: str) -> Callable[[Draft, object], None]:
    def follow(draft: Draft, value: object) -> None:
        if isinstance(value, str) and _is_name(value):
            draft.options[name] = value
        else:
            draft.note(name, "must be a name; ignored")

    return follow


def _plugins(draft: Draft, value: object) -> None:
    """Plugins of editors do nothing in a compile; those that change code would run in the compiler."""
    plugins = value if isinstance(value, list) else [value]
    if any(not isinstance(item, Mapping) or "transform" in item for item in plugins):
        draft.note("plugins", "ignored; no code of a spec runs in the compiler")


def _ts_extensions(draft: Draft, value: object) -> None:
    """`import './a.ts'`: Node could only run the result if the compiler writes .js there."""
    if value is True:
        draft.options["allowImportingTsExtensions"] = True
        if draft.version >= (5, 7):
            draft.options["rewriteRelativeImportExtensions"] = True


_SPECIAL: Final[Mapping[str, Callable[[Draft, object], None]]] = {
    "target": _target,
    "lib": _lib,
    "types": _types,
    "customConditions": _conditions,
    "jsxFactory": _jsx_name("jsxFactory"),
    "jsxFragmentFactory": _jsx_name("jsxFragmentFactory"),
    "jsxImportSource": _jsx_name("jsxImportSource"),
    "plugins": _plugins,
    "allowImportingTsExtensions": _ts_extensions,
}


def _type_roots(draft: Draft, value: object, folder: str) -> None:
    """Folders of the release only; the packages' is always one of them."""
    found = Aliases.of({"paths": {"x": value}}, folder).targets("x")
    own = [f"./{path}" for path in found]
    if own:
        draft.options["typeRoots"] = ["./node_modules/@types", *own]
    elif _strings(value) is None:
        draft.note("typeRoots", "must be a list of folders; ignored")
    elif any("node_modules" not in item for item in _strings(value) or ()):
        draft.note("typeRoots", "must be folders of the release; ignored")


def _aliases(draft: Draft, asked: tsextends.Merged) -> None:
    paths, folder = asked.options.get("paths", (None, "."))
    base, base_folder = asked.options.get("baseUrl", (None, "."))
    found = Aliases.of({"paths": paths, "baseUrl": base}, folder, base_folder)
    draft.notes += found.notes
    if found:
        draft.options["paths"] = found.paths()


def _strings(value: object) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [str(item) for item in value]
    return None


def _is_name(text: str) -> bool:
    """A package's or identifier's name, as opposed to a path (`./x`, `/x`, `a/../../x`, `C:\\x`)."""
    parts = text.split("/")
    return bool(text) and "\\" not in text and ":" not in text and not set(parts) & {"", ".", ".."}
