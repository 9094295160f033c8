"""Talks to the worker host: says "look again" after a publish, and asks what it really runs."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from timewright.core.stored import is_number
from timewright.core.verdict import Serving, Slot

_MAX_ANSWER = 8 * 1024 * 1024  # bytes: a host that answers more is not ours
_MOST_ROWS = 20_000  # of one list; 10,000 workflows in a pool each make 10,000
_MOST_RELEASES = 100_000  # of all pools
_MOST_TEXT, _MOST_NAME = 4096, 512  # characters


@dataclass(frozen=True)
class Reloaded:
    """The host's answer to a reload. `ok`: the release is being served.

    `reason`: '' or the host's word (LoadFailed, TemporalUnreachable, Timeout, Superseded, …), or
    'Unreachable' when there was no answer. `failed`: workflow id → why its release can't be loaded.
    """

    ok: bool
    reason: str = ""
    error: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)


class WorkerHost:
    """A client of one worker host. `url`: `unix:/path/of.sock` or `http://host:port`."""

    def __init__(self, url: str, *, token: str = "", timeout: float = 15.0) -> None:
        self.url = url
        headers = {"accept-encoding": "identity"}  # what is packed small can be 8 GiB
        if token:
            headers["authorization"] = f"Bearer {token}"
        self.failures = 0  # notifications without an answer, or with none but an HTTP error
        self._said: tuple[int, bytes] = (0, b"")  # the last answer to what it runs, and what it meant
        self._meant, self._at = Serving(False), 0.0
        self._directory: int | None = None
        self._patience = timeout + 2.0  # in all: a byte now and then is no answer either
        self._socket = Path(url.removeprefix("unix:")) if url.startswith("unix:") else None
        base = "http://worker" if self._socket else url
        self._client = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=2.0),
            transport=httpx.AsyncHTTPTransport(uds=self._short_path()) if self._socket else None,
            follow_redirects=False,
            trust_env=False,
            verify=url.startswith("https:"),  # reading the certificates takes 50 ms, for a socket as well
        )

    def _short_path(self) -> str | None:
        """A socket's path fits in 107 bytes or can't be used; through the directory's descriptor
        any depth works (Linux)."""
        if self._socket is None or len(os.fsencode(self._socket)) <= 100:
            return str(self._socket)
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        self._directory = os.open(self._socket.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{self._socket.name}"

    async def close(self) -> None:
        await self._client.aclose()
        if self._directory is not None:
            with suppress(OSError):
                os.close(self._directory)

    async def reload(
        self, workflow_id: str, *, action: str, release: str = "", version: str = ""
    ) -> Reloaded:
        """Tell the host that a workflow changed. Never raises for what the host does or doesn't say."""
        body = {"workflowId": workflow_id, "action": action}
        if release:
            body |= {"release": release, "poolVersion": version}
        try:
            status, answer = await self._call("POST", "/workflows/reload", body)
        except _NoAnswerError as error:
            self.failures += 1
            return Reloaded(False, "Unreachable", str(error))
        found = reloaded_of(status, answer)
        if not found.ok and not answer.get("reason"):  # with one the host has heard, and says what is wrong
            self.failures += 1
        return found

    async def sync(self) -> bool:
        """Tell the host to look at the whole tree again; whether it answered that it did."""
        try:
            status, _ = await self._call("POST", "/workflows/sync", {})
        except _NoAnswerError:
            self.failures += 1
            return False
        self.failures += status != 200
        return status == 200

    async def serving(self) -> Serving:
        """Ask what the host runs. Never raises for what the host does or doesn't say."""
        try:
            status, data = await self._ask("GET", "/workflows", None)
        except _NoAnswerError as error:
            return Serving(False, error=str(error))
        now = time.monotonic()
        if (status, data) != self._said:
            self._said, self._at = (status, data), now
            self._meant = serving_of(status, answer_of(data))
            return self._meant
        older = now - self._at  # at rest nothing is different but that
        slots = tuple(replace(slot, age=slot.age + older) for slot in self._meant.slots)
        return replace(self._meant, slots=slots)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, dict[str, Any]]:
        status, data = await self._ask(method, path, body)
        return status, answer_of(data)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(self._patience),
                self._client.stream(method, path, json=body) as response,
            ):
                data = bytearray()
                async for chunk in response.aiter_raw():
                    data += chunk
                    if len(data) > _MAX_ANSWER:
                        raise _NoAnswerError("its answer does not end")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _NoAnswerError(_describe(error)) from None
        return response.status_code, bytes(data)


class _NoAnswerError(Exception):
    """There was no answer, or none that ends."""


def _describe(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return "nobody answers there"
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "it does not answer in time"
    return f"it broke off ({type(error).__name__})"


# What an answer says -----------------------------------------------------------------------------
# Code of specs runs beside the host: what answers may be anybody. Texts end up in a database, rows in memory.


def answer_of(data: bytes) -> dict[str, Any]:
    """The object that an answer's body is; an empty one for all else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def reloaded_of(status: int, answer: Mapping[str, Any]) -> Reloaded:
    """What the answer to a reload means."""
    if status == 200 and answer.get("success", True) is True:
        return Reloaded(True)
    failed = {
        _text(item["workflowId"], _MOST_NAME): _text(item.get("error", ""))
        for item in _dicts(answer.get("failed"))
        if "workflowId" in item
    }
    reason = _text(answer.get("reason") or f"HTTP {status}", _MOST_NAME)
    return Reloaded(False, reason, _text(answer.get("error") or "", 2000), failed)


def serving_of(status: int, answer: Mapping[str, Any]) -> Serving:
    """What the answer to "what do you run" means."""
    if status in (404, 405, 501):
        return Serving(True, plain=True)
    pools = answer.get("pools")
    if status != 200 or not isinstance(pools, list):
        return Serving(False, error=f"it answered HTTP {status} to GET /workflows")
    temporal = answer.get("temporal")
    unreachable = ""
    if isinstance(temporal, dict) and temporal.get("reachable") is False:
        unreachable = f"Temporal at {_text(temporal.get('address', '?'), _MOST_NAME)} does not answer"
    rows = _dicts(pools)
    listed = [len(row["releases"]) for row in rows if isinstance(row.get("releases"), list)]
    if len(pools) > _MOST_ROWS or sum(listed) > _MOST_RELEASES:
        return Serving(False, error="it says that it runs more than any host can")
    return Serving(True, temporal=unreachable, slots=tuple(_slot(row) for row in rows))


def _slot(pool: Mapping[str, Any]) -> Slot:
    releases = [item for item in _dicts(pool.get("releases"), _MOST_RELEASES) if "workflowId" in item]
    names = [_text(item["workflowId"], _MOST_NAME) for item in releases]
    return Slot(
        key=(_text(pool.get("namespace", ""), _MOST_NAME), _text(pool.get("taskQueue", ""), _MOST_NAME)),
        version=_text(pool.get("poolVersion", ""), _MOST_NAME),
        state=_text(pool.get("state", ""), _MOST_NAME),
        releases={
            name: _text(item.get("release", ""), _MOST_NAME)
            for name, item in zip(names, releases, strict=True)
        },
        current=pool.get("current") is not False,
        kept=pool.get("kept") is True,
        pid=_whole(pool.get("pid")),
        age=_age(pool.get("startedAt")),
        restarts=_whole(pool.get("restarts")),
        error=_text(pool.get("lastError") or ""),
        unreachable=pool.get("unreachable") is True,
        failed={
            name: _text(item["error"])
            for name, item in zip(names, releases, strict=True)
            if item.get("error")
        },
    )


def _dicts(value: object, most: int = _MOST_ROWS) -> list[dict[str, Any]]:
    return [item for item in value[:most] if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object, most: int = _MOST_TEXT) -> str:
    """A value as text that a database takes: half of a character is shown as '?'."""
    text = value if isinstance(value, str) else repr(value) if is_number(value) else ""
    return text[:most].encode("utf-8", "replace").decode()


def _whole(value: object) -> int:
    return value if isinstance(value, int) and is_number(value, whole=True) else 0


def _age(moment: object) -> float:
    """Seconds since a moment in ISO 8601; very old where it can't be read."""
    try:
        began = datetime.fromisoformat(str(moment))
        return max(0.0, (datetime.now(UTC) - began).total_seconds())
    except (ValueError, TypeError):
        return 1e9
