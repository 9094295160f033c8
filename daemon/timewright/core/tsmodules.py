"""`module` and `moduleResolution` together: only some pairs exist, and Node must run the result. Pure."""

from __future__ import annotations

from typing import Final

from timewright.core.tsdraft import Draft, lower

_NODE: Final = ("node16", "node18", "node20", "nodenext")
_ES: Final = ("es2015", "es2020", "es2022", "esnext", "preserve")
_OLD_NODE: Final = ("node", "node10")


def follow(draft: Draft, module: object, resolution: object) -> None:
    """Decide both options from what the spec asks for."""
    wanted, how = lower(module), lower(resolution)
    wanted = {"es6": "es2015"}.get(wanted, wanted)
    if not wanted and how in _NODE:
        wanted = how
    elif wanted == "commonjs" and how in _NODE:
        # TypeScript refuses this pair (TS5110); the resolution says what was meant.
        draft.note("module", f"commonjs can't go with moduleResolution {how}; {how} is used for both")
        wanted = how
    if wanted in _NODE:
        draft.options["module"] = wanted
        if how not in ("", *_NODE):
            draft.note("moduleResolution", f"{how} can't go with module {wanted}; {wanted} is used for both")
    elif draft.mixed:
        if wanted:
            draft.note("module", f"{wanted} gives .mjs and .cjs files the wrong kind of code; node16 is used")
        _commonjs_syntax(draft, wanted)
        draft.options["module"] = "node16"
    else:
        _plain(draft, wanted, how)


def _plain(draft: Draft, wanted: str, how: str) -> None:
    """One kind of module for all files, by the type of the package."""
    if not wanted and draft.package_type == "module":
        wanted = "esnext"
    is_es = wanted in _ES and draft.package_type == "module"
    draft.options["module"] = ("esnext" if wanted == "preserve" else wanted) if is_es else "commonjs"
    if not is_es and wanted not in ("", "commonjs"):
        why = (
            "Node runs this release as CommonJS (package.json has no type: module)"
            if wanted in _ES
            else "Node can't run it"
        )
        draft.note("module", f"{wanted}: {why}; commonjs is used")
    if not is_es:
        _commonjs_syntax(draft, wanted)
    _resolution(draft, how, is_es=is_es)


def _commonjs_syntax(draft: Draft, wanted: str) -> None:
    """Under this option import statements may not become require() (TS1287): keep its other half."""
    moved = wanted != "commonjs" and draft.package_type != "module"
    if moved and draft.options.pop("verbatimModuleSyntax", False):
        draft.options["isolatedModules"] = True
        draft.note("verbatimModuleSyntax", "can't go with commonjs; isolatedModules is used")


def _resolution(draft: Draft, how: str, *, is_es: bool) -> None:
    if draft.version >= (7, 0):
        draft.options["moduleResolution"] = "bundler"
        if how not in ("", "bundler", *_NODE):
            draft.note("moduleResolution", f"{how} is not in TypeScript 7; bundler is used")
    elif how in _OLD_NODE:
        draft.options["moduleResolution"] = "node10"
        draft.deprecate_if(True)
    elif draft.version >= (6, 0) or is_es:
        draft.options["moduleResolution"] = "bundler"
        if how == "classic":
            draft.note("moduleResolution", "classic does not find packages; bundler is used")
    elif how == "bundler":
        # TypeScript 5 has it for ES modules only (TS5095); this one reads the packages' exports as well.
        draft.options["module"] = "nodenext"
        draft.note("moduleResolution", "bundler can't go with commonjs in TypeScript 5; nodenext is used")
    else:
        draft.options["moduleResolution"] = "node10"
        if how:
            draft.note("moduleResolution", f"{how} does not find packages; node10 is used")
