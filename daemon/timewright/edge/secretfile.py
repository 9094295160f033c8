"""Secrets in files of their own: read at each use, so that a new one counts at once."""

from __future__ import annotations

from pathlib import Path

from timewright.core.errors import TimewrightError

_MOST = 64 * 1024  # bytes: what is larger is another file


def read(path: Path, setting: str) -> tuple[str, ...]:
    """The lines of a file with something in them. `setting`: the one that names it. Raises TimewrightError
    with nothing of what is in it: it can't be read, is no text, or is empty."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise _unusable(path, setting, f"is larger than {_MOST} bytes")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise _unusable(path, setting, f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _unusable(path, setting, "is no text in UTF-8") from None
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not lines:
        raise _unusable(path, setting, "is empty")
    return lines


def _unusable(path: Path, setting: str, what: str) -> TimewrightError:
    return TimewrightError(
        f"{setting} {path} {what}", hint="it holds the secret alone, and the daemon's user may read it"
    )
