"""Commits as people are shown them, and what git prints of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

SHORT_COMMIT: Final = 10
_MOST: Final = 200  # characters of a subject or a name that are kept
_ENCODING: Final = re.compile(
    r"utf-?8|us-ascii|iso-?8859-\d\d?|latin-?1|(?:windows-|cp)125\d|koi8-[ru]|shift[-_]?jis|sjis|euc-?(?:jp|kr)"
    r"|iso-2022-jp|gb2312|gbk|gb18030|big5",
    re.IGNORECASE,
)
_PERSON: Final = re.compile(r"(?P<name>.*?) ?<(?P<email>[^<>]*)> (?P<at>-?\d+)(?: [+-]\d{4})?$")


@dataclass(frozen=True)
class Commit:
    """One commit. `at`: of its author, seconds since the epoch. `source`: which of our sources has it.
    `dirty`: a work tree at this commit, with changes that are in no commit."""

    sha: str
    author: str = ""
    email: str = ""
    subject: str = ""
    at: float = 0.0
    source: str = ""
    dirty: bool = False

    @property
    def short(self) -> str:
        return self.sha[:SHORT_COMMIT] + ("-dirty" if self.dirty else "")

    @property
    def revision(self) -> str:
        """What records and history call it."""
        return self.sha + ("-dirty" if self.dirty else "")

    def __str__(self) -> str:
        return f"{self.short} ({self.subject!r} by {self.author})"


def parse_commit(sha: str, data: bytes) -> Commit:
    """A commit object, as `git cat-file commit` prints it. What can't be read in it is left empty."""
    head, _, message = data.partition(b"\n\n")
    encoding, author = "utf-8", b""
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"author" and not author:
            author = value
        elif key == b"encoding":
            encoding = value.decode("ascii", "replace")
    person = _PERSON.match(_text(author, encoding))
    subject = _subject(_text(message, encoding))
    if person is None:
        return Commit(sha, subject=subject)
    return Commit(sha, clean(person["name"]), clean(person["email"]), subject, _moment(person["at"]))


#: What `git log` is asked to print: NUL-separated, since no field can hold a NUL.
LOG_FORMAT: Final = "%x00%H%x00%an%x00%ae%x00%at%x00%s%x00"
_FIELDS: Final = 5


def parse_log(data: bytes) -> Iterator[tuple[Commit, tuple[str, ...]]]:
    """Commits and the paths that each changed, from `git log -z --name-only --format=LOG_FORMAT`, newest
    first. A path that is no UTF-8 comes with surrogates, as the file system's names do."""
    words = iter(data.split(b"\0"))
    pending: tuple[Commit, list[str]] | None = None
    for word in words:
        text = word.lstrip(b"\n")
        if _is_sha(text):
            if pending is not None:
                yield pending[0], tuple(pending[1])
            author, email, at, subject = (_text(next(words, b""), "utf-8") for _ in range(_FIELDS - 1))
            commit = Commit(text.decode(), clean(author), clean(email), _subject(subject), _moment(at))
            pending = (commit, [])
        elif text and pending is not None:
            pending[1].append(text.decode("utf-8", "surrogateescape"))
    if pending is not None:
        yield pending[0], tuple(pending[1])


def origins(log: Iterator[tuple[Commit, tuple[str, ...]]], paths: set[str]) -> Mapping[str, Commit]:
    """Which commit last changed each of `paths`, as far as the log goes."""
    found: dict[str, Commit] = {}
    for commit, changed in log:
        for path in changed:
            if path in paths and path not in found:
                found[path] = commit
        if len(found) == len(paths):
            break
    return found


def clean(text: str) -> str:
    """Text of a stranger, on one line and without what would do something to a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text.strip())[:_MOST]


def _subject(message: str) -> str:
    """The first paragraph of a message, on one line."""
    paragraph = message.strip().split("\n\n", 1)[0]
    return clean(" ".join(paragraph.split()))


def _text(data: bytes, encoding: str) -> str:
    """Python knows encodings that are programs (idna, punycode, unicode_escape): those no commit names."""
    known = _ENCODING.fullmatch(encoding) is not None
    try:
        return data.decode(encoding if known else "utf-8", "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def _moment(text: str) -> float:
    """Seconds since the epoch; 0 for what is no time that a clock could show."""
    value = int(text) if re.fullmatch(r"-?\d{1,12}", text) else 0
    return float(value) if 0 < value < 253_402_300_800 else 0.0


def _is_sha(text: bytes) -> bool:
    return len(text) in (40, 64) and re.fullmatch(rb"[0-9a-f]+", text) is not None
