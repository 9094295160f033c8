"""The tokens file: who may call the API over the network. It holds hashes, never a token.

[token.ci]
role = "deployer"   owners = ["team-a"]   hash = "sha256…"   created = 1700000000.0   expires = 1800000000.0
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from timewright.core.errors import TimewrightError
from timewright.edge import files

PREFIX = "tw_"
ROLES = ("viewer", "deployer", "admin")


@dataclass(frozen=True)
class Token:
    """One token's rights. `owners` empty: of all. `expires`: seconds since the epoch, None for never. Its
    hash is not shown by repr."""

    name: str
    role: str
    owners: tuple[str, ...]
    created: float
    expires: float | None
    hash: str

    def __repr__(self) -> str:
        return f"Token({self.name!r}, {self.role!r}, {self.owners!r})"


class Tokens:
    """The tokens file of one daemon, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""  # why nobody gets in, '' when that isn't so
        self._stamp: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def find(self, secret: str) -> Token | None:
        """The token of a secret, if it is in force. Takes as long for a wrong one as for a right one."""
        self._refresh()
        given = _hash(secret)
        found = None
        for token in self._tokens:
            if hmac.compare_digest(given, token.hash):
                found = token
        if found is None or (found.expires is not None and time.time() >= found.expires):
            return None
        return found

    def all(self) -> tuple[Token, ...]:
        """Every token. Raises TimewrightError when the file can't be read."""
        return _read(self.path)

    def create(
        self, name: str, role: str, owners: Iterable[str] = (), *, expires: float | None = None
    ) -> str:
        """Make a token; returns its secret, which can't be had again. Raises TimewrightError."""
        known = {token.name: token for token in self.all()}
        if name in known:
            raise TimewrightError(
                f"there is a token {name!r} already", hint=f"timewright token revoke {name}"
            )
        secret = PREFIX + secrets.token_urlsafe(32)
        token = Token(name, role, tuple(owners), time.time(), expires, _hash(secret))
        self._write([*known.values(), token])
        return secret

    def revoke(self, name: str) -> None:
        """Take a token's rights. Raises TimewrightError when there is none of that name."""
        tokens = self.all()
        kept = [token for token in tokens if token.name != name]
        if len(kept) == len(tokens):
            raise TimewrightError(f"there is no token {name!r}", hint="timewright token list")
        self._write(kept)

    def _write(self, tokens: Iterable[Token]) -> None:
        rows = {token.name: _row(token) for token in tokens}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(self.path, tomli_w.dumps({"token": rows}).encode(), mode=0o600)
        except OSError as error:
            raise TimewrightError(f"{self.path} can't be written: {error.strerror}") from None

    def _refresh(self) -> None:
        try:
            found = self.path.stat()
            stamp: tuple[int, int, int] | None = (found.st_mtime_ns, found.st_ino, found.st_size)
        except FileNotFoundError:
            stamp = None
        except OSError:
            stamp = (-1, -1, -1)
        if stamp == self._stamp and stamp != (-1, -1, -1):
            return
        self._stamp, self._tokens, self.problem = stamp, (), ""
        try:
            self._tokens = _read(self.path)
        except TimewrightError as error:
            self.problem = error.message


def _read(path: Path) -> tuple[Token, ...]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise TimewrightError(f"{path} can't be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise TimewrightError(f"{path} is open to others", hint=f"chmod 600 {path}")
        try:
            rows = tomllib.loads(file.read(1_000_000).decode()).get("token", {})
            return tuple(_token(name, row) for name, row in rows.items())
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise TimewrightError(f"{path} is no tokens file: {error}") from None


def _token(name: str, row: Mapping[str, Any]) -> Token:
    if row["role"] not in ROLES or not isinstance(row["hash"], str):
        raise ValueError(f"token {name}: role must be one of {', '.join(ROLES)}")
    expires = row.get("expires")
    owners = tuple(str(owner) for owner in row.get("owners", ()))
    return Token(name, row["role"], owners, float(row["created"]), expires and float(expires), row["hash"])


def _row(token: Token) -> dict[str, Any]:
    row = {"role": token.role, "owners": list(token.owners), "created": token.created, "hash": token.hash}
    return row if token.expires is None else {**row, "expires": token.expires}


def _hash(secret: str) -> str:
    """A token is 256 random bits: a plain digest of it can't be guessed back."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
