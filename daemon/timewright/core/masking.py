"""Keeps secrets out of texts that people are shown. Pure.

A release's code is the user's own, and they may well have written a password into it; a file that was edited
by hand at night even more so. What looks like a secret is masked: too much is better than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from timewright.core.packrules import may_hold_secrets

__all__ = ["MASK", "mask", "may_hold_secrets", "printable"]

MASK: Final = "***"
_SHORTEST: Final = 4  # of the values that are told to be secret; shorter ones are in every text

_NAMES: Final = (
    r"pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?key"
    r"|credentials?|auth(?:orization)?|cookie|dsn|connection[_-]?string"
)
_ASSIGNED: Final = re.compile(
    rf"""(?P<name>(?<![\w.$-])[\w.$-]{{0,60}}(?:{_NAMES})[\w$-]{{0,60}}["']?\s*(?::\s*\w+\s*=|[:=])\s*)(?P<quote>["'`])(?:\\.|(?!(?P=quote)).)+""",
    re.IGNORECASE,
)
_IN_URL: Final = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,30}://)[^\s/@'\"`]+@", re.IGNORECASE)
_QUERY: Final = re.compile(
    rf"(?P<name>[?&][\w-]{{0,60}}(?:{_NAMES})[\w-]{{0,60}}=)[^\s&'\"`]+", re.IGNORECASE
)
_BEARER: Final = re.compile(r"(?P<name>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_SHAPES: Final = re.compile(
    r"\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|npm_\w{16,}|sk-[\w-]{16,}|[sr]k_(?:live|test)_\w{8,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|xox[abeoprs]-[\w-]{10,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
#: A line of a key whose first line is out of sight; a digest too, and that is no loss.
_BLOB: Final = re.compile(r"(?<![\w+/=])(?=[\w+/]{0,200}[A-Z])(?=[\w+/]{0,200}\d)[\w+/]{48,}={0,2}")
_KEY_BLOCK: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL
)


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without what looks like a secret, nor any of `secrets`. Keeps its lines."""
    for secret in sorted({item for item in secrets if len(item) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _KEY_BLOCK.sub(lambda found: "\n".join([MASK] * (found[0].count("\n") + 1)), text)
    text = _IN_URL.sub(rf"\g<scheme>{MASK}@", text)
    text = _ASSIGNED.sub(rf"\g<name>\g<quote>{MASK}", text)
    text = _QUERY.sub(rf"\g<name>{MASK}", text)
    text = _BEARER.sub(rf"\g<name>{MASK}", text)
    return _BLOB.sub(MASK, _SHAPES.sub(MASK, text))


def printable(line: str) -> str:
    """A line that does nothing to a terminal: control and invisible characters are spelled out."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() or c == "\t" else _spelled(c) for c in line)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
