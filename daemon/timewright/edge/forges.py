"""Sends commit statuses to a forge. Its token is read from its file each time, and goes nowhere else."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import httpx

from timewright.core.errors import TimewrightError
from timewright.core.forges import Repository, StatusRequest, Trouble, same_place, trouble
from timewright.core.masking import mask
from timewright.edge import secretfile

_MOST_ANSWER = 64 * 1024  # bytes that are read of an answer
_MOST_REDIRECTS = 3
_PATIENCE_S = 15.0  # in all: a byte now and then is no answer either


class ForgeError(TimewrightError):
    """A status was not set. `transient`: it may be another time, and not before `after_s` seconds where the
    forge says so."""

    def __init__(
        self, message: str, *, hint: str = "", transient: bool = False, after_s: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.transient, self.after_s = transient, after_s


async def send(repo: Repository, request: StatusRequest, state: str, token_file: Path) -> None:
    """Set a commit status; `state` is ours, for what `request` says. Raises ForgeError; nothing in it shows
    the token."""
    try:
        token = secretfile.read(token_file, "source.status_token_file")[0]
    except TimewrightError as error:
        raise ForgeError(error.message, hint=error.hint, transient=True) from None  # it may be mended
    if not (token.isascii() and token.isprintable()):
        raise ForgeError(
            f"source.status_token_file {token_file} holds no token", hint="a token is one line of ASCII"
        )
    name, before = request.token
    headers = {**request.headers, name: before + token, "user-agent": "timewright"}
    headers["accept-encoding"] = "identity"  # what is packed small can be 8 GiB
    try:
        async with asyncio.timeout(_PATIENCE_S):
            found = await _exchange(repo, request, state, headers, token)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _unreachable(repo, error) from None
    if found is not None:
        raise ForgeError(found.message, hint=found.hint, transient=found.transient, after_s=found.after_s)


async def _exchange(
    repo: Repository, request: StatusRequest, state: str, headers: dict[str, str], token: str
) -> Trouble | None:
    url = request.url
    # the CAs of this host, as git has them: a forge of one's own often has its own
    trust = await asyncio.to_thread(ssl.create_default_context)
    async with httpx.AsyncClient(
        verify=trust, headers=headers, timeout=_PATIENCE_S, follow_redirects=False
    ) as client:
        for _ in range(_MOST_REDIRECTS + 1):
            async with client.stream(request.method, url, json=request.body) as response:
                text = mask(await _text(response), [token])
                # httpx would make a GET of a 301; GitHub means the same request at the new place
                target = response.headers.get("location", "") if response.is_redirect else ""
                if not target or not (url := same_place(url, target)):
                    break
    return trouble(repo, state, response.status_code, dict(response.headers), text, time.time())


async def _text(response: httpx.Response) -> str:
    """The beginning of an answer."""
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk[: _MOST_ANSWER - len(data)]
        if len(data) >= _MOST_ANSWER:
            break
    return data.decode("utf-8", "replace")


def _unreachable(repo: Repository, error: Exception) -> ForgeError:
    who = f"{repo.forge} at {repo.api}"
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return ForgeError(f"{who} does not answer in {_PATIENCE_S:g} s", transient=True)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return ForgeError(
            f"{who} shows a certificate that this host does not trust",
            hint="add its CA to those of the host, or check status_url",
            transient=True,
        )
    if isinstance(error, httpx.ConnectError):
        return ForgeError(f"{who} can't be reached", hint="check status_url and the network", transient=True)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return ForgeError(f"{who} has no valid address", hint="check status_url")
    return ForgeError(f"{who} broke off ({type(error).__name__})", transient=True)
