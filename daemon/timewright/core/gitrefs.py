"""Which ref of a remote a source follows. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from semantic_version import Version

_SEMVER: Final = "semver:"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BAD_NAME: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|[/.]$|\.lock(?:/|$)|/\.")
_SCP: Final = re.compile(r"^[\w.-]+@[\w.-]+:(?!//).+|^[\w-]+\.[\w.-]+:(?!//).+")
_SCHEMES: Final = ("https://", "http://", "ssh://", "git://", "file://", "git+ssh://", "ssh+git://")


@dataclass(frozen=True)
class Follow:
    """What a source's `ref` asks for. One of: `commit`, `versions` (a range of npm's kind), or `names`: refs
    of the remote, the first one there counts; none of them is its default branch."""

    commit: str = ""
    versions: str = ""
    names: tuple[str, ...] = ()

    @property
    def default(self) -> bool:
        return not (self.commit or self.versions or self.names)


def read_ref(text: str) -> Follow:
    """`source.ref` as what to follow. Raises ValueError with what is wrong."""
    if not text:
        return Follow()
    if text.startswith(_SEMVER):
        from semantic_version import NpmSpec  # the settings are read by verbs that have to be quick

        wanted = text.removeprefix(_SEMVER).strip()
        try:
            NpmSpec(wanted or "*")
        except ValueError:
            raise ValueError(f"{wanted!r} is no range of versions, such as ^1.2 or >=1.0 <2") from None
        return Follow(versions=wanted or "*")
    if _COMMIT.fullmatch(text):
        return Follow(commit=text)
    if _BAD_NAME.search(text) or text == "@":
        raise ValueError(f"{text!r} is no name of a branch or tag")
    if text.startswith("refs/"):
        return Follow(names=(text,))
    return Follow(names=(f"refs/heads/{text}", f"refs/tags/{text}"))


def url_problem(url: str) -> str:
    """Why git is not given this URL; '' when it is."""
    if url.startswith("-") or any(not char.isprintable() or char == " " for char in url):
        return "is no URL of a repository"
    if "::" in url.split("/")[0]:  # helper::address runs a program of that name
        return "must not name a remote helper"
    if url.startswith((*_SCHEMES, "/", "./", "../")) or _SCP.match(url):
        return ""
    return "must be an https, ssh, http or file URL, user@host:path, or a path"


def is_path(url: str) -> bool:
    """A repository on this host's disk."""
    return url.startswith(("/", "./", "../"))


def newest(tags: Iterable[str], versions: str) -> str | None:
    """The tag with the highest version in a range: `v1.4.0` of v1.3.9, v1.4.0, v2.0.0 for ^1.2. Builds and
    pre-releases count as in npm."""
    from semantic_version import NpmSpec

    spec = NpmSpec(versions)
    found = [(version, tag) for tag in tags if (version := version_of(tag)) is not None and version in spec]
    return max(found, key=lambda item: (item[0], item[1]), default=(None, None))[1]


def version_of(tag: str) -> Version | None:
    """`v1.2.3`, `1.2.3`, `release/1.2.3` as a version; None for what is none."""
    from semantic_version import Version

    text = tag.rsplit("/", 1)[-1].removeprefix("v")
    try:
        return Version(text)
    except ValueError:
        return None


def goes_back(old: str, new: str) -> bool:
    """Whether one tag is of an earlier version than another."""
    before, after = version_of(old), version_of(new)
    return before is not None and after is not None and bool(after < before)


def parse_ls_remote(text: str) -> tuple[str, Mapping[str, str]]:
    """The default branch ('' when it isn't told) and ref → object, of `git ls-remote --symref`. For an
    annotated tag, `refs/tags/x^{}` is the commit."""
    head, refs = "", {}
    for line in text.splitlines():
        what, _, name = line.partition("\t")
        if what.startswith("ref: "):
            head = what.removeprefix("ref: ") if name == "HEAD" else head
        elif name:
            refs[name] = what
    return head, refs


def is_followed(follow: Follow, default: str, ref: str) -> bool:
    """Whether a push to `ref` (`refs/heads/main`) may be news. `default`: the remote's default branch, ''
    when it isn't known."""
    if follow.versions:
        return ref.startswith("refs/tags/")
    if follow.default:
        return not default or ref == default
    return bool(follow.commit) or ref in follow.names


_USER: Final = re.compile(r"^(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^/@:]*)(?::[^/@]*)?@", re.IGNORECASE)


def location(url: str) -> str:
    """A repository's URL as people are shown it: without password or token."""
    found = _USER.match(url)
    if found is None:
        return _printable(url)
    keeps = found["scheme"].lower().startswith("ssh") and found["user"]
    return _printable(found["scheme"] + (f"{found['user']}@" if keeps else "") + url[found.end() :])


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text)
