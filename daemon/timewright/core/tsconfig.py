"""Which of a spec's compiler options count, and the tsconfig.json that a release gets.

A spec's own tsconfig never reaches the compiler: `outDir`, `declarationDir`, `tsBuildInfoFile`,
`generateTrace` and `extends` read and write outside of the release (faults.md findings 1 and 2).
Only options that decide what is checked and what the code means pass, each with a checked value;
where things are read and written is pinned here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

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
        "preserveConstEnums",
        "importHelpers",
        "removeComments",
        "declaration",
        "forceConsistentCasingInFileNames",
        "esModuleInterop",
        "allowSyntheticDefaultImports",
        "alwaysStrict",
    ]
)

#: What TypeScript 7 only knows as true; a false can't be had any more.
_ALWAYS_ON: Final = frozenset({"esModuleInterop", "allowSyntheticDefaultImports", "alwaysStrict"})

_TARGETS: Final = ("es2015", *(f"es{year}" for year in range(2016, 2027)), "esnext")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "moduleDetection": ("auto", "legacy", "force"),
    "jsx": ("preserve", "react", "react-native", "react-jsx", "react-jsxdev"),
}
_NODE_MODULES: Final = ("node16", "node18", "node20", "nodenext")
_ES_MODULES: Final = ("es6", "es2015", "es2020", "es2022", "esnext", "preserve")

#: Pinned: where a release's files are, and what is never the spec's to say.
#: Library types are not checked again: it costs 0.8 s and the SDK's own types have two errors.
#: No declarations unless the spec asks: nobody reads them, and asking for them adds errors of its
#: own (TS2742, TS4058) to specs that are right without.
_PINNED: Final[Mapping[str, object]] = {
    "rootDir": "src",
    "outDir": "dist",
    "sourceMap": True,
    "skipLibCheck": True,
}

#: Spellings of a pinned value that need no note, since the spec gets what it asked for.
_SAME: Final[Mapping[str, tuple[object, ...]]] = {
    "rootDir": ("src", "./src", "src/", "./src/"),
    "outDir": ("dist", "./dist", "dist/", "./dist/"),
    "sourceMap": (True,),
    "skipLibCheck": (True,),
    "incremental": (False,),
    "composite": (False,),
    "declarationMap": (False,),
    "noEmit": (False,),
    "noEmitOnError": (True, False),
}


@dataclass(frozen=True)
class Options:
    """`options`: the compilerOptions of a release. `ignored`: one line for each thing not followed."""

    options: Mapping[str, object]
    ignored: tuple[str, ...] = ()


@dataclass
class _Draft:
    options: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, name: str, text: str) -> None:
        self.notes.append(f"compilerOptions.{name}: {text}")


def compiler_options(spec_tsconfig: Mapping[str, object], *, package_type: str = "commonjs") -> Options:
    """The options that a release is compiled with, from a spec's whole tsconfig (may be empty).

    `package_type` is `type` of the spec's package.json: Node runs `dist/*.js` as that kind of module.
    Never raises: what can't be followed is left out, with a line in `ignored`.
    """
    asked = spec_tsconfig.get("compilerOptions", {})
    draft = _Draft({"strict": True, "target": "es2022", "types": ["node"]})
    for name in sorted(set(spec_tsconfig) - {"compilerOptions"}):
        draft.notes.append(f"tsconfig.{name}: not used; a release is compiled from its entry points")
    if isinstance(asked, Mapping):
        for name in sorted(map(str, asked)):
            if name not in ("module", "moduleResolution"):
                _follow(draft, name, asked[name])
    else:
        draft.notes.append("tsconfig.compilerOptions: must be an object; ignored")
        asked = {}
    _modules(draft, asked.get("module"), asked.get("moduleResolution"), package_type)
    return Options({**dict(sorted(draft.options.items())), **_PINNED}, tuple(draft.notes))


def render(options: Options, files: Iterable[str]) -> str:
    """The tsconfig.json of a release: `options`, and `files` (entry points and the spec's own .d.ts).

    No `include`: the program is what the entry points import, and nothing else.
    """
    document = {"compilerOptions": dict(options.options), "files": sorted(set(files))}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _follow(draft: _Draft, name: str, value: object) -> None:
    """Take one option into the draft, or note why not."""
    if name in _SWITCHES:
        _switch(draft, name, value)
    elif name in _CHOICES:
        _choice(draft, name, value)
    elif name in _SPECIAL:
        _SPECIAL[name](draft, value)
    elif value not in _SAME.get(name, ()):
        pinned = f"; it is always {json.dumps(_PINNED[name])}" if name in _PINNED else ""
        draft.note(name, f"ignored{pinned}")


def _switch(draft: _Draft, name: str, value: object) -> None:
    if not isinstance(value, bool):
        draft.note(name, "must be true or false; ignored")
    elif name in _ALWAYS_ON:
        # True is the default of TypeScript 7, so it need not be said.
        if not value:
            draft.note(name, "false was removed in TypeScript 7; it is always true")
    else:
        draft.options[name] = value


def _choice(draft: _Draft, name: str, value: object) -> None:
    text = _lower(value)
    if text in _CHOICES[name]:
        draft.options[name] = text
    else:
        draft.note(name, f"must be one of {', '.join(_CHOICES[name])}; ignored")


def _target(draft: _Draft, value: object) -> None:
    text = {"es6": "es2015"}.get(_lower(value), _lower(value))
    if text in ("es3", "es5"):
        draft.options["target"] = "es2015"
        draft.note("target", f"{text} was removed in TypeScript 7; es2015 is used")
    elif text in _TARGETS:
        draft.options["target"] = text
    else:
        draft.note("target", "is not one that TypeScript knows; es2022 is used")


def _lib(draft: _Draft, value: object) -> None:
    names = _strings(value)
    if names is None:
        draft.note("lib", "must be a list of names; ignored")
    else:
        draft.options["lib"] = names  # an unknown name is the compiler's to report (TS6046)


def _types(draft: _Draft, value: object) -> None:
    _packages(draft, "types", value)


def _conditions(draft: _Draft, value: object) -> None:
    _packages(draft, "customConditions", value)


def _packages(draft: _Draft, name: str, value: object) -> None:
    """A list of package names. A path among them would read files outside of the release."""
    names = _strings(value)
    if names is None:
        draft.note(name, "must be a list of names; ignored")
        return
    fine = [item for item in names if _is_name(item)]
    draft.options[name] = fine
    if fine != names:
        draft.note(name, "may only name packages, not paths; the others are ignored")


def _jsx_name(name: str) -> Callable[[_Draft, object], None]:
    def follow(draft: _Draft, value: object) -> None:
        if isinstance(value, str) and _is_name(value):
            draft.options[name] = value
        else:
            draft.note(name, "must be a name; ignored")

    return follow


def _quiet(_draft: _Draft, _value: object) -> None:
    """Says nothing about the code, so dropping it needs no note."""


_SPECIAL: Final[Mapping[str, Callable[[_Draft, object], None]]] = {
    "target": _target,
    "lib": _lib,
    "types": _types,
    "customConditions": _conditions,
    "jsxFactory": _jsx_name("jsxFactory"),
    "jsxFragmentFactory": _jsx_name("jsxFragmentFactory"),
    "jsxImportSource": _jsx_name("jsxImportSource"),
    "ignoreDeprecations": _quiet,
    "pretty": _quiet,
}


def _modules(draft: _Draft, module: object, resolution: object, package_type: str) -> None:
    """`module` and `moduleResolution` together: only some pairs exist, and Node must run the result."""
    wanted, how = _lower(module), _lower(resolution)
    if not wanted and how in _NODE_MODULES:
        wanted = how
    elif wanted == "commonjs" and how in _NODE_MODULES:
        # TypeScript refuses this pair (TS5110); the resolution says what was meant.
        draft.note("module", f"commonjs can't go with moduleResolution {how}; {how} is used for both")
        wanted = how
    if wanted in _NODE_MODULES:
        draft.options["module"] = wanted
        if how not in ("", *_NODE_MODULES):
            draft.note("moduleResolution", f"{how} can't go with module {wanted}; {wanted} is used for both")
        return
    draft.options["module"] = _plain_module(draft, wanted, package_type)
    draft.options["moduleResolution"] = "bundler"
    if how not in ("", "bundler", *_NODE_MODULES):
        draft.note("moduleResolution", f"{how} is not in TypeScript 7; bundler is used")


def _plain_module(draft: _Draft, wanted: str, package_type: str) -> str:
    if wanted in _ES_MODULES and package_type == "module":
        return "esnext"
    if wanted not in ("", "commonjs"):
        why = (
            "Node runs this release as CommonJS (package.json has no type: module)"
            if wanted in _ES_MODULES
            else "not in TypeScript 7"
        )
        draft.note("module", f"{wanted}: {why}; commonjs is used")
        # Under this option import statements may not become require() (TS1287): keep its other half.
        if draft.options.pop("verbatimModuleSyntax", False):
            draft.options["isolatedModules"] = True
            draft.note("verbatimModuleSyntax", "can't go with commonjs; isolatedModules is used")
    return "commonjs"


def _lower(value: object) -> str:
    return value.lower() if isinstance(value, str) else ""


def _strings(value: object) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [str(item) for item in value]
    return None


def _is_name(text: str) -> bool:
    """A package's or identifier's name, as opposed to a path (`./x`, `/x`, `a/../../x`, `C:\\x`)."""
    parts = text.split("/")
    return bool(text) and "\\" not in text and ":" not in text and not set(parts) & {"", ".", ".."}
