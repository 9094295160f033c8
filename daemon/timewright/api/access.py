"""Who calls: the peer of the Unix socket, or the bearer of a token."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from timewright.control import Actor, Role
from timewright.core.errors import Code, RequestError, TimewrightError
from timewright.edge.tokens import Tokens

_ROLES = {"viewer": Role.VIEWER, "deployer": Role.DEPLOYER, "admin": Role.ADMIN}
#: What a peer of the socket looks like in an ASGI scope's `client`: (UNIX, uid). No address looks so.
UNIX = "unix"


@dataclass(frozen=True)
class PeerRule:
    """`name` (a user, or a group where `group`) may do as `role`, for these owners (None: all)."""

    name: str
    group: bool
    role: Role
    owners: frozenset[str] | None


def read_rules(rules: Iterable[str]) -> tuple[PeerRule, ...]:
    """`alice=admin`, `bob=deployer:team-a+team-b`, `@ops=viewer`. Raises TimewrightError."""
    found = []
    for text in rules:
        name, equals, right = text.partition("=")
        role, colon, owners = right.partition(":")
        names = frozenset(owner.strip() for owner in owners.split("+") if owner.strip())
        plain = name.strip().removeprefix("@")
        if not equals or not plain or role.strip() not in _ROLES or (colon and not names):
            raise TimewrightError(
                f"api.peers: {text!r} is no rule",
                hint='like "alice=admin", "bob=deployer:team-a+team-b", "@ops=viewer"',
            )
        is_group = name.strip().startswith("@")
        found.append(PeerRule(plain, is_group, _ROLES[role.strip()], names or None))
    return tuple(found)


class Access:
    """Decides who a caller is."""

    def __init__(self, tokens: Tokens, rules: Iterable[str], own_uid: int) -> None:
        self.tokens, self._rules, self._own_uid = tokens, read_rules(rules), own_uid

    def actor(self, client: tuple[str, int] | None, authorization: str | None) -> Actor:
        """The caller. A token counts on the socket as well. Raises UNAUTHORIZED or FORBIDDEN."""
        if authorization is not None:
            return self._bearer(authorization)
        if client is not None and client[0] == UNIX:
            return self._peer(client[1])
        raise RequestError(
            Code.UNAUTHORIZED, "a valid bearer token is needed", hint="timewright token create NAME"
        )

    def _bearer(self, authorization: str) -> Actor:
        scheme, _, secret = authorization.partition(" ")
        token = self.tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            raise RequestError(
                Code.UNAUTHORIZED, "a valid bearer token is needed", hint="timewright token create NAME"
            )
        return Actor(f"token:{token.name}", _ROLES[token.role], frozenset(token.owners) or None)

    def _peer(self, uid: int) -> Actor:
        name = _user(uid)
        if uid in (0, self._own_uid):
            return Actor(name, Role.ADMIN)
        groups = _groups(uid)
        for rule in self._rules:
            if rule.name in groups if rule.group else rule.name in (name, str(uid)):
                return Actor(name, rule.role, rule.owners)
        raise RequestError(
            Code.FORBIDDEN,
            f"{name} may not talk to this daemon",
            hint="ask its admin for a line in api.peers",
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _groups(uid: int) -> set[str]:
    """The names of a user's groups. The kernel's list of a peer's groups can't be had from here; the user
    database has them."""
    with suppress(KeyError):
        user = pwd.getpwuid(uid)
        names = {group.gr_name for group in grp.getgrall() if user.pw_name in group.gr_mem}
        with suppress(KeyError):
            names.add(grp.getgrgid(user.pw_gid).gr_name)
        return names
    return set()
