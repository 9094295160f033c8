"""Webhooks: whether a delivery comes from one who knows the source's secret, and what it tells. Pure.

A body may be large, and its sender a stranger until its last byte. So a delivery is judged as it comes in:
what is wrong with its headers is known before any of the body is read, and no signature needs the body kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs

TOLERANCE_S: Final = 300.0  # that the clock of a sender who signs the time may be wrong
#: Headers with an HMAC-SHA256 of the body, in hex: whose they are, and what stands before the digits. Gitea
#: sends the headers of GitHub and Gogs too, Forgejo those of Gitea.
_OF_BODY: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "x-forgejo-signature": ("forgejo", ""),
        "x-gitea-signature": ("gitea", ""),
        "x-gogs-signature": ("gogs", ""),
        "x-hub-signature-256": ("github", "sha256="),
        "x-hub-signature": ("generic", "sha256="),  # Bitbucket, WebSub; with others it is SHA-1
        "x-signature-256": ("generic", "sha256="),
    }
)
_SHA1: Final = ("x-hub-signature", "sha1=")
_TOKEN: Final = "x-gitlab-token"
_ID, _TIME, _STANDARD = "webhook-id", "webhook-timestamp", "webhook-signature"
_EVENTS: Final = ("x-forgejo-event", "x-gitea-event", "x-gogs-event", "x-github-event", "x-gitlab-event")
#: GitLab's names of one delivery: the same each time it is tried.
_DELIVERIES: Final = ("idempotency-key", "x-gitlab-event-uuid")
_ONE_EACH: Final = (*_OF_BODY, _TOKEN, _ID, _TIME, _STANDARD)
_PREFIX: Final = "whsec_"
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")
_STAMP: Final = re.compile(r"[0-9]{1,12}")
_IDENTITY: Final = re.compile(r"[!-\-/-~]{1,256}")  # without ".", which parts what is signed
_COMMIT: Final = re.compile(r"(?!0+$)[0-9a-f]{40}(?:[0-9a-f]{24})?")
_PUSHES: Final = frozenset({"", "push", "tag_push"})
_UNCERTAIN: Final = frozenset({"system", "repository_update"})  # GitLab's, of a whole instance: also pushes
_LONGEST: Final = 500  # characters of a ref or an event


@dataclass(frozen=True)
class Delivery:
    """A delivery that is what its signature says.

    `provider`: github, gitlab, gitea, forgejo, gogs or generic. `event`: 'push', 'tag_push', 'ping', …, ''
    where none is named; it is not signed by all. `key`: the same for the same delivery, of what is signed
    alone. `ref`, `commit`: of a push (`refs/heads/main`), None where it tells none or is none.
    """

    provider: str
    event: str
    key: str
    ref: str | None = None
    commit: str | None = None

    @property
    def is_news(self) -> bool:
        """Whether the repository may be another one than before."""
        return self.event in _PUSHES or self.event in _UNCERTAIN


@dataclass(frozen=True)
class Refusal:
    """Why a delivery counts for nothing, and what to do. Says nothing of the secret."""

    message: str
    hint: str = ""


def verify(
    headers: Iterable[tuple[str, str]], body: bytes, secrets: Sequence[str], now: float
) -> Delivery | Refusal:
    """Judge a whole delivery. `headers`: all, with those that come twice. `secrets`: those of the source,
    more than one while they are changed. `now`: seconds since the epoch."""
    check = Check(headers, secrets, now)
    check.take(body)
    return check.verdict(body)


class Check:
    """Judges one delivery, whose body comes in pieces. Every signature that is there must be right."""

    def __init__(self, headers: Iterable[tuple[str, str]], secrets: Sequence[str], now: float) -> None:
        self._headers: dict[str, list[str]] = {}
        self._sha1 = False
        for name, value in headers:
            if name.lower() == _SHA1[0] and value.startswith(_SHA1[1]):
                self._sha1 = True  # proves nothing, and what is beside it proves it better
            else:
                self._headers.setdefault(name.lower(), []).append(value)
        self._secrets = [secret for secret in secrets if secret]
        self._now = now
        self._hash = hashlib.sha256()
        self._macs = [
            hmac.new(secret.encode("utf-8", "surrogatepass"), digestmod=hashlib.sha256)
            for secret in self._secrets
        ]
        self._signed: list[hmac.HMAC] = []  # over id, time and body, as Standard Webhooks has it
        #: What is wrong by the headers alone: the body need not be read.
        self.refusal: Refusal | None = next(self._faults(), None)

    def take(self, chunk: bytes) -> None:
        """The next piece of the body."""
        self._hash.update(chunk)
        for mac in (*self._macs, *self._signed):
            mac.update(chunk)

    def verdict(self, body: bytes | None) -> Delivery | Refusal:
        """What the delivery is, when all of it is taken. `body`: None where it was too large to keep; it is
        right all the same, and tells no ref."""
        if self.refusal is not None:
            return self.refusal
        wrong = [name for name in _ONE_EACH if self._has(name) and not self._is_right(name)]
        if wrong:
            return Refusal(
                f"{_title(wrong[0])} does not fit this source's secret",
                "give both sides the same secret, and let no proxy change the body",
            )
        content = _content(body)
        event = self._event(content)
        pushed = content if event in _PUSHES or event in _UNCERTAIN else {}
        return Delivery(self._provider, event, self._key(), _ref(pushed), _commit(pushed))

    def _faults(self) -> Iterator[Refusal]:
        twice = [name for name in _ONE_EACH if len(self._headers.get(name, ())) > 1]
        if twice:
            yield Refusal(f"{_title(twice[0])} came more than once")
        given = [name for name in (*_OF_BODY, _TOKEN, _STANDARD) if self._has(name)]
        if not given:
            yield self._unsigned()
        for name in given:
            if not self._one(name):
                yield Refusal(f"{_title(name)} is empty", "set the webhook's secret at the sender")
            elif name in _OF_BODY and not self._digits(name):
                yield Refusal(f"{_title(name)} is no SHA-256 signature")
            elif name == _STANDARD:
                yield from self._standard()
        if self._has(_TOKEN) and not self._is_right(_TOKEN):
            yield Refusal(f"{_title(_TOKEN)} is not this source's secret", "give both sides the same secret")

    def _unsigned(self) -> Refusal:
        if self._sha1:
            return Refusal(
                "a SHA-1 signature is not enough", "let the sender sign with SHA-256 (X-Hub-Signature-256)"
            )
        return Refusal("the delivery is not signed", "set the webhook's secret at the sender")

    def _standard(self) -> Iterator[Refusal]:
        """What is wrong with the three headers of Standard Webhooks; where nothing is, sets out to check."""
        identity, stamp = self._one(_ID), self._one(_TIME)
        if not _IDENTITY.fullmatch(identity):
            yield Refusal(f"{_title(_ID)} is missing, or no name without '.'")
        elif not _STAMP.fullmatch(stamp):
            yield Refusal(f"{_title(_TIME)} is missing, or no whole number of seconds")
        elif abs(self._now - int(stamp)) > TOLERANCE_S:
            yield Refusal(
                "it was signed more than 5 minutes from now",
                "if it was just sent, one of the clocks is wrong",
            )
        elif not (keys := [key for secret in self._secrets if (key := _standard_key(secret))]):
            yield Refusal(
                f"{_title(_STANDARD)} takes a secret that is {_PREFIX} and base64",
                "put the sender's signing token into this source's secret file",
            )
        else:
            head = f"{identity}.{stamp}.".encode()
            self._signed = [hmac.new(key, head, hashlib.sha256) for key in keys]

    def _is_right(self, name: str) -> bool:
        if name in _OF_BODY:
            return _any(_same(mac.hexdigest(), self._digits(name)) for mac in self._macs)
        if name == _TOKEN:
            return _any(_same(secret, self._one(name)) for secret in self._secrets)
        if name == _STANDARD:
            given = [item.removeprefix("v1,") for item in self._one(name).split() if item.startswith("v1,")]
            right = [base64.b64encode(mac.digest()).decode() for mac in self._signed]
            return _any(_same(mine, theirs) for mine in right for theirs in given)
        return True  # webhook-id and webhook-timestamp are part of what is signed

    def _key(self) -> str:
        """Never of a header that is not signed, nor of which of the signatures was sent along: whoever
        repeats a delivery could change both."""
        if self._signed:
            return "id:" + hashlib.sha256(_sent(self._one(_ID))).hexdigest()
        if any(self._has(name) for name in _OF_BODY):
            return "body:" + self._hash.hexdigest()
        names = "\0".join(self._one(name) for name in _DELIVERIES)  # with a token, nothing is signed
        return "token:" + hashlib.sha256(_sent(names) + self._hash.digest()).hexdigest()

    @property
    def _provider(self) -> str:
        for name, (provider, _) in _OF_BODY.items():
            if self._has(name):
                return provider
        return "gitlab" if self._has(_TOKEN) or self._has("x-gitlab-event") else "generic"

    def _event(self, content: Mapping[str, Any]) -> str:
        """GitLab says it in the body, which may be signed; the others in a header."""
        if self._provider == "gitlab":
            for name in ("object_kind", "event_name"):
                if isinstance(content.get(name), str):
                    return _word(content[name])
        return _word(next((self._one(name) for name in _EVENTS if self._has(name)), ""))

    def _has(self, name: str) -> bool:
        return name in self._headers

    def _one(self, name: str) -> str:
        return self._headers.get(name, [""])[0].strip()

    def _digits(self, name: str) -> str:
        """The hex digits of a signature, '' where it is none."""
        prefix = _OF_BODY[name][1]
        value = self._one(name)
        digits = value.removeprefix(prefix)
        return digits.lower() if value.startswith(prefix) and _HEX.fullmatch(digits) else ""


def _same(mine: str, theirs: str) -> bool:
    """Whether a header is what we have. Takes as long wherever they differ, and however long they are."""
    ours = hashlib.sha256(mine.encode("utf-8", "surrogatepass")).digest()
    return hmac.compare_digest(ours, hashlib.sha256(_sent(theirs)).digest())


def _any(found: Iterable[bool]) -> bool:
    """As `any`, but which of them it was can't be told by the time it took."""
    return bool(sum([*found]))


def _sent(header: str) -> bytes:
    """A header as it was sent: servers read it as Latin-1, in which UTF-8 looks like other letters."""
    try:
        return header.encode("latin-1")
    except UnicodeError:
        return header.encode("utf-8", "surrogatepass")


def _standard_key(secret: str) -> bytes:
    """The key in `whsec_…`, b'' where it is none. Only with its prefix: else what one sender signs with a key
    could be shown again as the body of another kind of signature with the same key."""
    if not secret.startswith(_PREFIX):
        return b""
    text = secret.removeprefix(_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return b""


def _content(body: bytes | None) -> Mapping[str, Any]:
    """The object that a body is: JSON, or the form with JSON in it that GitHub sends unless told otherwise.
    Empty for all else: who may speak may say what they like."""
    if body is None:
        return {}
    try:
        if body.startswith(b"payload="):
            body = parse_qs(body.decode("utf-8"), max_num_fields=10)["payload"][0].encode()
        found = json.loads(body)
    except (ValueError, RecursionError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


def _ref(content: Mapping[str, Any]) -> str | None:
    ref = content.get("ref")
    fits = isinstance(ref, str) and ref.startswith("refs/") and ref.isprintable() and len(ref) <= _LONGEST
    return ref if fits else None


def _commit(content: Mapping[str, Any]) -> str | None:
    """None also for a ref that was deleted."""
    after = content.get("after")
    return after if isinstance(after, str) and _COMMIT.fullmatch(after) else None


def _word(text: str) -> str:
    """`Tag Push Hook` → `tag_push`."""
    plain = "".join(char for char in text if char.isprintable())[:_LONGEST]
    return plain.strip().lower().removesuffix(" hook").replace(" ", "_")


def _title(name: str) -> str:
    """`x-hub-signature-256` → `X-Hub-Signature-256`."""
    return name if name.startswith("webhook-") else name.title().replace("Gitlab", "GitLab")
