"""Version ranges as npm means them, over the semantic-version package."""

from __future__ import annotations

from collections.abc import Iterable

from semantic_version import NpmSpec, Version


def is_range(text: str) -> bool:
    """Whether a text is a version or a range of versions, and no tag, URL or path."""
    return _parsed(text) is not None


def admits(wanted: str, version: str) -> bool:
    """Whether a range admits a version. False for a text that is no range, or no version."""
    spec = _parsed(wanted)
    try:
        return spec is not None and Version(version) in spec
    except ValueError:
        return False


def newest(wanted: str, versions: Iterable[str]) -> str | None:
    """The newest of some versions that a range admits; None when it admits none."""
    fitting = [version for version in versions if admits(wanted, version)]
    return max(fitting, key=Version, default=None)


def is_exact(text: str) -> bool:
    """Whether a text is one plain version."""
    try:
        Version(text)
    except ValueError:
        return False
    return True


def _parsed(text: str) -> NpmSpec | None:
    if len(text) > 200:
        return None
    try:
        return NpmSpec(text)
    except ValueError:
        return None
