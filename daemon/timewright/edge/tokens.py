"""The file of API tokens: who may call over the network. It holds hashes; a secret is shown only once."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w

from timewright.core.errors import TimewrightError
from timewright.core.stored import toml_of
from timewright.edge import files

ROLES = ("viewer", "deployer", "admin")
PREFIX = "tw_"
EVERYONE = "*"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST = 4 * 1024 * 1024  # bytes; a thousand tokens make 200 KB
_HASH = re.compile(r"[0-9a-f]{64}")
_KEYS = {"role", "owners", "created", "expires", "sha256"}
_HEAD = """# Who may call timewright's API over the network. Kept by `timewright token create|list|revoke`.
# No secrets: sha256 is the hash of one. Taking an entry out ends it at once.

"""


@dataclass(frozen=True)
class Token:
    """One token. `owners`: whose workflows it sees, None for all. Times: seconds since the epoch (UTC)."""

    name: str
    role: str
    owners: frozenset[str] | None
    created: float
    expires: float | None
    sha256: str

    def expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires


def find(tokens: tuple[Token, ...], presented: bytes, now: float) -> Token | None:
    """The token that was presented, unless it has expired. Takes as long whichever it is."""
    digest = hashlib.sha256(presented).hexdigest()
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, digest):
            found = token
    return None if found is None or found.expired(now) else found


class Tokens:
    """Reads and changes one file of tokens."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> tuple[Token, ...]:
        """All tokens; none when there is no file. Raises TimewrightError: it can't be read, it can be
        changed by others, or something in it is wrong."""
        try:
            with self.path.open("rb") as file:
                self._check_mode(os.fstat(file.fileno()))
                content = toml_of(file.read(_MOST + 1))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._wrong(f"can't be read: {error.strerror}", "check its mode and who owns it") from None
        except ValueError as error:
            raise self._wrong(f"is not TOML: {error}") from None
        return self._tokens(content)

    def create(
        self, name: str, role: str, owners: Iterable[str] = (), *, expires: float | None = None
    ) -> str:
        """Add a token; returns its secret, which is kept nowhere. `owners`: none is all. Raises
        TimewrightError."""
        if not _NAME.fullmatch(name):
            raise TimewrightError(
                f"{name!r} is no name of a token",
                hint="letters, digits, '.', '_' and '-', 64 at most; it starts with a letter or digit",
            )
        secret = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        digest = hashlib.sha256(secret.encode()).hexdigest()
        with self._changing() as tokens:
            if name in tokens:
                raise TimewrightError(
                    f"there is a token {name!r} already", hint=f"timewright token revoke {name}"
                )
            given = frozenset(owners)
            sees = given if given and EVERYONE not in given else None
            tokens[name] = Token(name, role, sees, time.time(), expires, digest)
        return secret

    def revoke(self, name: str) -> None:
        """Take a token out. Raises TimewrightError when there is none of that name."""
        with self._changing() as tokens:
            if name not in tokens:
                names = ", ".join(sorted(tokens)) or "none"
                raise TimewrightError(f"there is no token {name!r}", hint=f"there are: {names}")
            del tokens[name]

    def signature(self) -> tuple[int, ...]:
        """Changes whenever the file does; () when there is none."""
        try:
            found = self.path.stat()
        except OSError as error:
            return (error.errno or 0,)
        return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        """The tokens by name, to be changed; kept when the block ends well. One changer at a time."""
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TimewrightError(
                f"{folder} can't be used: {error.strerror}", hint="run as the daemon's user or as root"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            tokens = {token.name: token for token in self.all()}
            yield tokens
            self._write(tokens)
        except OSError as error:
            raise TimewrightError(
                f"{self.path} can't be written: {error.strerror}", hint="run as the daemon's user or as root"
            ) from None
        finally:
            os.close(descriptor)

    def _write(self, tokens: Mapping[str, Token]) -> None:
        text = _HEAD + tomli_w.dumps({"tokens": {name: _entry(token) for name, token in tokens.items()}})
        temporary = self.path.parent / files.unique("tokens-")
        owner = (self.path if self.path.exists() else self.path.parent).stat()
        try:
            files.write(temporary, text.encode(), mode=0o600)
            if os.geteuid() == 0:  # made with sudo: the daemon, another user, has to read it all the same
                os.chown(temporary, owner.st_uid, owner.st_gid)
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        files.sync_directory(self.path.parent)

    def _check_mode(self, found: os.stat_result) -> None:
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise self._wrong("can be changed by other users", f"chmod 600 {self.path}")
        if found.st_uid not in (0, os.geteuid()):
            raise self._wrong("belongs to another user", f"chown it to user {os.geteuid()}")

    def _tokens(self, content: Mapping[str, Any]) -> tuple[Token, ...]:
        block = content.get("tokens", {})
        if content.keys() - {"tokens"} or not isinstance(block, dict):
            raise self._wrong("must hold sections [tokens.NAME] only")
        return tuple(self._token(name, entry) for name, entry in block.items())

    def _token(self, name: str, entry: Any) -> Token:
        if not isinstance(entry, dict) or not _NAME.fullmatch(name):
            raise self._wrong("must hold sections [tokens.NAME] only")
        if unknown := sorted(entry.keys() - _KEYS):  # a misspelt `expires` would mean "never"
            raise self._wrong(f"tokens.{name} has an unknown key {unknown[0]!r}")
        role, digest, owners = entry.get("role"), entry.get("sha256"), entry.get("owners")
        if role not in ROLES:
            raise self._wrong(f"tokens.{name}.role must be one of {', '.join(ROLES)}")
        if not isinstance(digest, str) or not _HASH.fullmatch(digest):
            raise self._wrong(f"tokens.{name}.sha256 must be 64 hex digits")
        if not isinstance(owners, list) or not all(isinstance(owner, str) and owner for owner in owners):
            raise self._wrong(f"tokens.{name}.owners must be a list of texts")
        if not owners:
            raise self._wrong(f"tokens.{name}.owners must name an owner, or '{EVERYONE}' for all")
        created, expires = self._time(name, entry, "created"), self._time(name, entry, "expires")
        sees = None if EVERYONE in owners else frozenset(owners)
        return Token(name, role, sees, created or 0.0, expires, digest)

    def _time(self, name: str, entry: Mapping[str, Any], key: str) -> float | None:
        value = entry.get(key)
        if value is None:
            return None
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise self._wrong(f"tokens.{name}.{key} must be a time with its zone: 2026-11-23T05:13:44Z")
        if not 1970 <= value.year < 9999:
            raise self._wrong(f"tokens.{name}.{key} is of no year that a token can be of")
        return value.timestamp()

    def _wrong(self, what: str, hint: str = "") -> TimewrightError:
        return TimewrightError(
            f"{self.path}: {what}",
            hint=hint or "correct it, or remove it and make new tokens: timewright token create",
        )


def _entry(token: Token) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "role": token.role,
        "owners": sorted(token.owners) if token.owners is not None else [EVERYONE],
        "created": datetime.fromtimestamp(int(token.created), UTC),
    }
    if token.expires is not None:
        entry["expires"] = datetime.fromtimestamp(int(token.expires), UTC)
    return {**entry, "sha256": token.sha256}
