"""Commit statuses: which repository of which forge a git URL means, what to send there, and what its answer
says. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from timewright.core.masking import mask, printable

_SSH_HOSTS: Final = MappingProxyType({"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"})
_SCP: Final = re.compile(r"(?:[^@/]+@)?(?P<host>\[[0-9a-fA-F:.]+\]|[^:/@]+):(?!//)(?P<path>.+)")
_SHA: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST_CONTEXT: Final = 255  # characters, for all of them
STATES: Final = ("pending", "success", "failure")


_MOST_WAIT_S: Final = 3700.0  # GitHub's limits are of an hour
_MOST_SAID: Final = 200  # characters of a forge's own words


@dataclass(frozen=True)
class _Forge:
    """`api`: where it lies below a host. `description`: its characters at most. `words`: for our states.
    `token`: the header for it, and what stands before it there. `needs`: what the token must be able to."""

    api: str
    description: int
    words: Mapping[str, str]
    token: tuple[str, str]
    needs: str
    accept: str = "application/json"


_PLAIN: Final = MappingProxyType({state: state for state in STATES})
_FORGES: Final = MappingProxyType(
    {
        "github": _Forge(
            "/api/v3",
            140,
            _PLAIN,
            ("Authorization", "Bearer "),
            "the permission 'Commit statuses: write' (a classic token: the scope repo:status)",
            "application/vnd.github+json",
        ),
        "gitlab": _Forge(
            "/api/v4",
            255,
            MappingProxyType({"pending": "running", "success": "success", "failure": "failed"}),
            ("PRIVATE-TOKEN", ""),
            "the scope api, and the role Developer (Maintainer where the branch is protected)",
        ),
        "gitea": _Forge(
            "/api/v1",
            255,
            _PLAIN,
            ("Authorization", "token "),
            "the scope write:repository, and a user who may write there",
        ),
    }
)


@dataclass(frozen=True)
class Repository:
    """One repository of a forge. `api`: its address, without a slash at the end. `path`: `owner/name`, or
    with GitLab `group/subgroup/name`."""

    forge: str
    api: str
    path: str


@dataclass(frozen=True)
class StatusRequest:
    """What to send. The token goes into the header `token[0]`, after `token[1]`."""

    url: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    token: tuple[str, str]
    method: str = "POST"


def repository(forge: str, url: str, api: str = "") -> Repository:
    """What a git URL means to a forge (github, gitlab, gitea). `api`: its API, '' where the URL tells.
    Raises ValueError with what is wrong and what to do; it shows no password of the URL."""
    host, path, secure = _split(url)
    if not host and not api:
        raise ValueError(
            'the repository has no host that could be a forge; set status_url, or status = "off"'
        )
    if not api and not secure:
        raise ValueError(
            "the repository is fetched over http, and a token should not travel so; set status_url"
        )
    base = _base(forge, api) if api else _default(forge, host)
    below = urlsplit(base).path.removesuffix(_FORGES[forge].api).strip("/")
    if below and path.startswith(f"{below}/"):  # a forge that has a part of its host's paths
        path = path.removeprefix(f"{below}/")
    parts = path.split("/")
    enough = len(parts) >= 2 if forge == "gitlab" else len(parts) == 2
    if not enough or any(part in ("", ".", "..") for part in parts):
        shape = "GROUP/NAME" if forge == "gitlab" else "OWNER/NAME"
        raise ValueError(f"the repository's path {printable(path)!r} is not {shape} as {forge} has it")
    return Repository(forge, base, path)


def status_request(repo: Repository, sha: str, state: str, description: str, context: str) -> StatusRequest:
    """Set one status of one commit. `state`: pending, success or failure. `context` names the status: one of
    the same name is replaced. Raises ValueError for what is no commit."""
    if not _SHA.fullmatch(sha):
        raise ValueError(f"{sha!r} is no commit")
    forge = _FORGES[repo.forge]
    body = {"state": forge.words[state], "description": cut(description, forge.description)}
    name = cut(context, _MOST_CONTEXT)
    if repo.forge == "gitlab":
        url = f"{repo.api}/projects/{quote(repo.path, safe='')}/statuses/{sha}"
        body["name"] = name
    else:
        url = f"{repo.api}/repos/{quote(repo.path)}/statuses/{sha}"
        body["context"] = name
    return StatusRequest(url, body, MappingProxyType({"Accept": forge.accept}), forge.token)


@dataclass(frozen=True)
class Trouble:
    """Why a status was not set. `transient`: it may be another time, and not before `after_s` seconds where
    the forge says so."""

    message: str
    hint: str = ""
    transient: bool = False
    after_s: float | None = None


def trouble(
    repo: Repository, state: str, status: int, headers: Mapping[str, str], text: str, now: float
) -> Trouble | None:
    """What a forge's answer means; None: the status is set. `headers`: by lower-case names. `text`: of the
    answer, without the token. `now`: seconds since the epoch."""
    if 200 <= status < 300 or (status == 400 and _is_there_already(repo, state, text)):
        return None
    who, said = f"{repo.forge} at {repo.api}", _said(text)
    answered = f"{who} answered {status}" + (f": {said}" if said else "")
    needs = f"the token of status_token_file needs {_FORGES[repo.forge].needs}"
    if status == 429 or (status == 403 and _is_limited(headers, said)):
        return Trouble(f"{who} takes no more requests for now", "", True, _wait(headers, now))
    if status in (408, 425) or status >= 500:
        return Trouble(answered, "", True, _wait(headers, now))
    if status == 401:
        return Trouble(f"{who} does not accept the token", f"has it expired? {needs}")
    if status in (403, 404):
        known = "" if status == 403 else f"; is there {repo.path} with that commit?"
        return Trouble(answered, needs + known)
    if 300 <= status < 400:
        return Trouble(
            f"{who} sends us elsewhere ({status}), where the token is not sent",
            "has the repository moved? set the source's git and status_url to where it is now",
        )
    return Trouble(answered, "check the source's git, status and status_url")


def same_place(url: str, location: str) -> str:
    """Where a redirect leads, '' where that is not the very same server: the token is not for another."""
    try:
        target = urljoin(url, location)
        mine, theirs = urlsplit(url), urlsplit(target)
    except ValueError:
        return ""
    return target if (mine.scheme, mine.netloc) == (theirs.scheme, theirs.netloc) else ""


def _is_there_already(repo: Repository, state: str, text: str) -> bool:
    """GitLab refuses to set what is set."""
    found = re.search(r"Cannot transition status via :\w+ from :(\w+)", text)
    return repo.forge == "gitlab" and found is not None and found[1] == _FORGES["gitlab"].words[state]


def _is_limited(headers: Mapping[str, str], said: str) -> bool:
    """GitHub says "forbidden" to who asks too often."""
    spent = headers.get("x-ratelimit-remaining", "").strip() == "0"
    return spent or "retry-after" in headers or "rate limit" in said.lower()


def _wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, where an answer says so."""
    after = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", after):
        return min(float(after), _MOST_WAIT_S)
    for family in ("x-ratelimit", "ratelimit"):
        reset = headers.get(f"{family}-reset", "").strip()
        if headers.get(f"{family}-remaining", "").strip() == "0" and re.fullmatch(r"[0-9]{1,12}", reset):
            return min(max(float(reset) - now, 1.0), _MOST_WAIT_S)
    return None


def _said(text: str) -> str:
    """The forge's own words, on one line."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ""  # a proxy's page
    said = (found.get("message") or found.get("error")) if isinstance(found, dict) else ""
    return cut(mask(said if isinstance(said, str) else json.dumps(said)), _MOST_SAID) if said else ""


def cut(text: str, most: int) -> str:
    """A text on one line, of so many characters: it ends with a whole word, and says that it was cut."""
    line = printable(" ".join(text.split()))
    if len(line) <= most:
        return line
    head = line[: most - 1]
    whole = head if line[most - 1] == " " else head.rpartition(" ")[0]
    return (whole if len(whole) * 2 >= most - 1 else head).rstrip() + "…"


def _split(url: str) -> tuple[str, str, bool]:
    """Host (with its port, for https), path, and whether it is not plain http. Host '': it is on a disk."""
    found = urlsplit(url) if "://" in url else None
    if found is None:
        scp = _SCP.fullmatch(url)
        if scp is None or url.startswith(("/", ".")):
            return "", _path(url), True
        return _host(scp["host"]), _path(scp["path"]), True
    if found.scheme == "file":
        return "", _path(found.path), True
    host = _host(found.netloc.rpartition("@")[2] if found.scheme.startswith("http") else _bare(found.netloc))
    return host, _path(unquote(found.path)), found.scheme not in ("http", "git")


def _bare(netloc: str) -> str:
    """A host of ssh: its port is not the API's."""
    return re.sub(r":\d*$", "", netloc.rpartition("@")[2])


def _host(text: str) -> str:
    lower = text.lower()
    return _SSH_HOSTS.get(lower, lower)


def _path(text: str) -> str:
    return text.strip("/").removesuffix(".git").rstrip("/")


def _default(forge: str, host: str) -> str:
    if forge == "github" and host in ("github.com", "www.github.com"):
        return "https://api.github.com"
    if forge == "github" and host.endswith(".ghe.com"):
        return f"https://api.{host.removeprefix('api.')}"
    return f"https://{host}{_FORGES[forge].api}"


def _base(forge: str, api: str) -> str:
    """`status_url` as it is meant: with or without its last part."""
    found = urlsplit(api)
    if found.scheme not in ("http", "https") or not found.hostname or found.query or found.fragment:
        raise ValueError("status_url must be http(s)://HOST/…")
    if found.username is not None:
        raise ValueError("status_url holds a user name; the token is in status_token_file")
    base, last = api.rstrip("/"), _FORGES[forge].api
    own = forge == "github" and found.hostname.startswith("api.")
    return base if own or base.endswith(last) else base + last
