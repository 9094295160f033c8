"""Documents of ours that somebody else may have written since: whatever their bytes are, they are values of
the shape that we wrote, or a ValueError. Pure.

`tomllib` and `json` raise more than that: RecursionError for what is nested deeply, and all take numbers and
letters that no database, clock or terminal takes.
"""

from __future__ import annotations

import json
import math
import posixpath
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import rtoml

_MOST_INT: Final = 2**63 - 1  # of a database
_MOST_FLOAT: Final = 1e15
_LAST_MOMENT: Final = 253_402_300_800.0  # the year 10000: no clock shows more


def toml_of(data: bytes) -> dict[str, Any]:
    """A TOML document that people write. Raises ValueError for all that is none, with the place of it."""
    try:
        return tomllib.loads(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def receipt_of(data: bytes) -> dict[str, Any]:
    """A TOML document that we write. Raises ValueError. Not by `tomllib`, which takes twenty times as long: a
    host has one for each release, and its start reads all that are live."""
    found: dict[str, Any] = rtoml.loads(data.decode())
    return found


def json_of(data: bytes | str) -> Any:
    """A JSON document, in the strict sense: no NaN, no half of a character. Raises ValueError."""
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        value = json.loads(text, parse_constant=_no_number)
        if "\\ud" in text or "\\uD" in text:  # only so can half of a character come in
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def shaped(kind: Any, value: Any, where: str = "it") -> Any:
    """A plain value as a `kind`: a dataclass, an enum, text, number, `tuple[X, ...]`, `Mapping[str, X]`, or
    one of these or None. Raises ValueError that names what does not fit; nothing is converted but lists to
    tuples, and whole numbers where any number will do."""
    if kind is Any:
        return value
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else shaped(_only(inner), value, where)
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(shaped(inner[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {key: shaped(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind in (int, float) and is_number(value, whole=kind is int):
        return kind(value)
    if kind in (str, bool) and type(value) is kind:
        str(value).encode()  # half of a character is a ValueError, too
        return value
    raise ValueError(f"{where} must be {getattr(kind, '__name__', kind)}")


def is_number(value: object, *, whole: bool = False) -> bool:
    """Whether a value is a number that databases and clocks take."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return abs(value) <= _MOST_INT
    return not whole and isinstance(value, float) and math.isfinite(value) and abs(value) <= _MOST_FLOAT


def is_moment(value: object) -> bool:
    """Whether a value is a time that a clock could show, in seconds since the epoch."""
    return is_number(value) and 0 <= float(value) < _LAST_MOMENT  # type: ignore[arg-type]


def is_part(name: object) -> bool:
    """Whether a value is one plain part of a path, and nothing that leads elsewhere."""
    return isinstance(name, str) and "/" not in name and is_inside(name) and not name.startswith(".")


def is_inside(path: object) -> bool:
    """Whether a value is a path that stays below the folder that it is put after."""
    return isinstance(path, str) and _is_inside(path)


@lru_cache(maxsize=4096)
def _is_inside(path: str) -> bool:
    """Asked of each file of each receipt: mostly the same names."""
    if "\0" in path or not path or path.startswith("/"):
        return False
    return path == posixpath.normpath(path) and path.split("/")[0] not in (".", "..")


def _dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a {kind.__name__}")
    known = _hints(kind)
    if unknown := sorted(str(key) for key in value.keys() - known.keys()):
        raise ValueError(f"{where} has an unknown key {unknown[0]!r}")
    for item in fields(kind):
        if item.name not in value and item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{where}.{item.name} is missing")
    return kind(**{key: shaped(known[key], item, f"{where}.{key}") for key, item in value.items()})


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return {key: hint for key, hint in get_type_hints(kind).items() if key in {f.name for f in fields(kind)}}


def _only(kinds: tuple[Any, ...]) -> Any:
    """The one kind of `X | None`."""
    (kind,) = (kind for kind in kinds if kind is not types.NoneType)
    return kind


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
