"""Who calls, and what each call takes: peers of the Unix socket, tokens on the network, roles."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from timewright import log
from timewright.config import Config
from timewright.control import Actor, Control, Role
from timewright.core.errors import Code, RequestError, TimewrightError
from timewright.edge.tokens import Token, Tokens, find

#: The least role that each call takes, by its operationId. A call that isn't here can't be made.
LEAST: Mapping[str, Role] = MappingProxyType(
    {
        "listWorkflows": Role.VIEWER,
        "getWorkflow": Role.VIEWER,
        "putSpec": Role.DEPLOYER,
        "deleteSpec": Role.DEPLOYER,
        "deploy": Role.DEPLOYER,
        "undeploy": Role.DEPLOYER,
        "redeploy": Role.DEPLOYER,
        "rollback": Role.DEPLOYER,
        "getRollout": Role.VIEWER,
        "steerRollout": Role.DEPLOYER,
        "pin": Role.DEPLOYER,
        "unpin": Role.DEPLOYER,
        "suspend": Role.DEPLOYER,
        "resume": Role.DEPLOYER,
        "suspendAll": Role.ADMIN,
        "resumeAll": Role.ADMIN,
        "prune": Role.DEPLOYER,
        "getHistory": Role.VIEWER,
        "getWorkflowLogs": Role.VIEWER,
        "getDiff": Role.VIEWER,
        "getDrift": Role.VIEWER,
        "getLogs": Role.VIEWER,
        "getPlan": Role.VIEWER,
        "listSources": Role.VIEWER,
        "getSource": Role.VIEWER,
        "reconcile": Role.DEPLOYER,
        "listOperations": Role.VIEWER,
        "getOperation": Role.VIEWER,
        "followEvents": Role.VIEWER,
        "getAudit": Role.ADMIN,
        "getMetrics": Role.VIEWER,
        "getOpenApi": Role.VIEWER,
    }
)
#: Calls for which an actor has to see everybody's workflows: what they show is of all.
OF_ALL = frozenset({"getMetrics"})
#: Who asks these is nobody's business: the probes of service managers and load balancers.
OPEN = frozenset({"/healthz", "/readyz"})
#: Below this, a signature says who calls, and no token: api/webhook.py.
WEBHOOKS = "/api/v1/webhook/"

_NAMES_KEPT_S = 60.0  # users and groups are looked up again after so long


@dataclass(frozen=True)
class Peer:
    """The process at the other end of the Unix socket, as the kernel tells it."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True)
class Rule:
    """One of api.peers: what a user, or a group's members, may do. `owners` None: of all."""

    name: str
    of_group: bool
    role: Role
    owners: frozenset[str] | None


def rules(peers: Sequence[str]) -> tuple[Rule, ...]:
    """api.peers, read. Raises TimewrightError with every bad rule."""
    problems: list[str] = []
    found = []
    for text in peers:
        try:
            found.append(_rule(text))
        except ValueError as error:
            problems.append(f"api.peers: {text!r}: {error}")
    if problems:
        raise TimewrightError(
            "the settings are wrong:\n  " + "\n  ".join(problems),
            hint='"alice=admin", "bob=deployer:team-a,team-b", "@ops=viewer"',
        )
    return tuple(found)


def _rule(text: str) -> Rule:
    who, equals, what = text.partition("=")
    role, colon, owners = what.partition(":")
    name = who.strip().removeprefix("@")
    names = frozenset(
        owner.strip() for owner in re.split("[,+]", owners)
    )  # an environment variable splits at ","
    if not equals or not name:
        raise ValueError("must be USER=ROLE or @GROUP=ROLE")
    if role.strip().upper() not in Role.__members__:
        raise ValueError(f"{role.strip()!r} is no role; there are viewer, deployer and admin")
    if colon and "" in names:
        raise ValueError("has an owner without a name")
    level = Role[role.strip().upper()]
    sees = None if not colon or "*" in names else names
    if level is Role.ADMIN and sees is not None:
        raise ValueError("an admin sees all workflows; owners are for viewers and deployers")
    return Rule(name, who.strip().startswith("@"), level, sees)


def is_open(path: str) -> bool:
    """Whether a call is made without a token."""
    return path in OPEN or path.startswith(WEBHOOKS)


class Doorkeeper:
    """Tells who a caller is, or that they may not come in."""

    def __init__(self, config: Config) -> None:
        self._rules = rules(config.api.peers)
        self._file = Tokens(config.tokens_path)
        self._tokens: tuple[Token, ...] = ()
        self._signature: tuple[int, ...] | None = None
        self._people: dict[int, tuple[float, str, frozenset[str]]] = {}

    async def admit(self, scope: Mapping[str, Any]) -> Actor:
        """Who calls. Raises RequestError: UNAUTHORIZED on the network, FORBIDDEN on the socket."""
        peer: Peer | None = scope["state"].get("peer")
        if peer is not None:
            return await self._admit_peer(peer)
        return self._admit_token(_authorization(scope))

    def tokens(self) -> tuple[Token, ...]:
        """The tokens in force. A file that can't be used lets nobody in, until it is mended."""
        signature = self._file.signature()
        if signature != self._signature:
            self._signature = signature
            try:
                self._tokens = self._file.all()
            except TimewrightError as error:
                self._tokens = ()
                log.get().error("no token is accepted", because=error.message, hint=error.hint)
        return self._tokens

    def _admit_token(self, presented: bytes) -> Actor:
        token = find(self.tokens(), presented, time.time())
        if token is None:  # one answer, whatever is wrong with it
            raise RequestError(
                Code.UNAUTHORIZED,
                "this takes a valid token",
                hint="send `Authorization: Bearer tw_…`; timewright token create makes one",
            )
        return Actor(f"token:{token.name}", Role[token.role.upper()], token.owners)

    async def _admit_peer(self, peer: Peer) -> Actor:
        name, groups = await self._person(peer)
        if peer.uid in (0, os.geteuid()):
            return Actor(name, Role.ADMIN)
        for rule in self._rules:
            if rule.name in groups if rule.of_group else rule.name == name:
                return Actor(name, rule.role, rule.owners)
        raise RequestError(
            Code.FORBIDDEN,
            f"user {name} may not use timewright here",
            hint=f'an administrator can let them: api.peers = ["{name}=viewer"]',
        )

    async def _person(self, peer: Peer) -> tuple[str, frozenset[str]]:
        """The name of a user and of their groups; a directory service may be slow, so not in the loop."""
        known = self._people.get(peer.uid)
        if known is None or time.monotonic() - known[0] > _NAMES_KEPT_S:
            name, groups = await asyncio.to_thread(_look_up, peer)
            known = self._people[peer.uid] = (time.monotonic(), name, groups)
        return known[1:]


def allow(actor: Actor, operation: str, control: Control, workflow_id: str | None) -> None:
    """Raises RequestError: NOT_FOUND for a workflow they can't see, FORBIDDEN when their role is too low."""
    least = LEAST[operation]
    creates = operation == "putSpec" and workflow_id not in control.world.records
    if workflow_id is not None and not creates:
        control.workflow(actor, workflow_id)
    if actor.role < least:
        raise RequestError(
            Code.FORBIDDEN,
            f"{actor.name} is a {actor.role.name.lower()}; this takes a {least.name.lower()}",
        )
    if operation in OF_ALL and actor.owners is not None:
        raise RequestError(
            Code.FORBIDDEN, f"{actor.name} does not see all workflows; this shows something of each"
        )


def check_origin(headers: Mapping[str, str], scheme: str) -> None:
    """Raises FORBIDDEN for a page of another site that makes its visitor's browser call us."""
    origin = headers.get("origin")
    if origin is None:
        return
    parts = urlsplit(origin)
    if (parts.scheme, parts.netloc.lower()) != (scheme, headers.get("host", "").lower()):
        raise RequestError(Code.FORBIDDEN, "calls from another site's page are refused")


def caller(scope: Mapping[str, Any]) -> str:
    """Where a call comes from, for the audit."""
    peer: Peer | None = scope["state"].get("peer")
    if peer is not None:
        return f"socket, uid {peer.uid}, pid {peer.pid}"
    host, port = scope.get("client") or ("?", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _authorization(scope: Mapping[str, Any]) -> bytes:
    """The token of the one Authorization header; b'' when there is none that is right."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        return b""
    kind, _, token = found[0].partition(b" ")
    token = token.strip()
    return token if kind.lower() == b"bearer" and token.isascii() else b""


def _look_up(peer: Peer) -> tuple[str, frozenset[str]]:
    try:
        user = pwd.getpwuid(peer.uid)
        name, numbers = user.pw_name, os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        name, numbers = f"uid {peer.uid}", [peer.gid]
    groups = set()
    for number in numbers:
        try:
            groups.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return name, frozenset(groups)
