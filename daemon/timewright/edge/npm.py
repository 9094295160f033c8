"""Runs npm, and says in one sentence why it failed. Scripts of packages never run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from timewright.core.errors import DeployError, Reason
from timewright.core.masking import printable
from timewright.edge import process

#: What npm may see of our environment: how to run, and how this host reaches its registry.
_PASSED: Final = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
)
_PASSED_FOLDED: Final = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
#: Ends of settings and variables whose value is a file that npm reads.
_NAMING_FILES: Final = (
    "cafile",
    "certfile",
    "keyfile",
    "ssl_cert_file",
    "ssl_cert_dir",
    "node_extra_ca_certs",
)
_FLAGS: Final = (
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-bin-links",
    "--no-update-notifier",
    "--no-progress",
    "--loglevel=error",
)
#: npm's codes for what may be well in a minute.
_PASSING: Final = frozenset(
    {
        *("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EPIPE", "ECONNABORTED"),
        *("ENETUNREACH", "EHOSTUNREACH", "ERR_SOCKET_TIMEOUT", "UND_ERR_CONNECT_TIMEOUT", "FETCH_ERROR"),
        *("E408", "E429", "E500", "E502", "E503", "E504"),
    }
)
_LINE: Final = re.compile(r"^npm (?:error|ERR!) ?(.*)$", re.MULTILINE)


def command(node: str) -> list[str]:
    """How npm is run with this node. Raises DeployError(COMPILER_UNAVAILABLE) when there is none."""
    found = shutil.which(node)
    if found is not None:
        cli = Path(found).resolve().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if cli.is_file():
            return [found, str(cli)]
        beside = Path(found).parent / "npm"
        if os.access(beside, os.X_OK):
            return [str(beside)]
    npm = shutil.which("npm")
    if npm is None:
        raise DeployError(
            Reason.COMPILER_UNAVAILABLE,
            "npm was not found, and the spec needs packages",
            hint="install Node with npm",
        )
    return [npm]


def environment(node: str, cache: Path, host: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of npm: nothing of it comes from a spec."""
    given = dict(os.environ if host is None else host)
    env = {
        name: value
        for name, value in given.items()
        if name in _PASSED or name.casefold() in _PASSED_FOLDED or name.casefold().startswith("npm_config_")
    }
    found = shutil.which(node)
    if found is not None:
        env["PATH"] = f"{Path(found).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env.setdefault("npm_config_cache", str(cache))
    env.setdefault("HOME", str(cache))
    env.setdefault("npm_config_fetch_retries", "1")  # the daemon tries again by itself
    return env


async def install(directory: Path, *, node: str, cache: Path, offline: bool, timeout: float) -> None:  # noqa: ASYNC109
    """`npm install` in a directory of ours. `timeout`: seconds.

    Raises DeployError: DEPENDENCY_FAILED for what another try can't mend, DEPENDENCY_UNAVAILABLE for
    what it may, STORAGE_FAILED, COMPILER_UNAVAILABLE without npm. Cancelling it kills npm.
    """
    env = environment(node, cache)
    cage = _cage(directory, env, node)
    await _run("install", directory, env, node, offline, timeout, cage)


async def ci(directory: Path, *, node: str, cache: Path | None, offline: bool, timeout: float) -> None:  # noqa: ASYNC109
    """`npm ci`: exactly what the lock file there says. `cache`: None for npm's own. Errors as `install`."""
    env = dict(os.environ) if cache is None else {**os.environ, "npm_config_cache": str(cache)}
    if (found := shutil.which(node)) is not None:
        env["PATH"] = f"{Path(found).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    await _run("ci", directory, env, node, offline, timeout)


async def _run(
    verb: str,
    directory: Path,
    env: Mapping[str, str],
    node: str,
    offline: bool,
    timeout: float,  # noqa: ASYNC109 - as in process.run
    cage: process.Confine | None = None,
) -> None:
    where = ["--offline"] if offline else []
    try:
        finished = await process.run(
            [*command(node), verb, *_FLAGS, *where], cwd=directory, env=env, timeout=timeout, confine=cage
        )
    except TimeoutError:
        raise DeployError(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"npm was not done within {timeout:.0f} s",
            hint="is the registry slow? dependencies.timeout_s allows more",
        ) from None
    if finished.code != 0:
        said = f"{finished.stderr.decode('utf-8', 'replace')}\n{finished.stdout.decode('utf-8', 'replace')}"
        raise explain(said.replace(str(directory), "."), offline=offline)


def _cage(directory: Path, env: Mapping[str, str], node: str) -> process.Confine:
    """npm itself, its cache, its settings and the files that they name: nothing else of this host."""
    folded = {name.casefold(): value for name, value in env.items()}
    script = Path(command(node)[-1]).resolve()
    settings = [Path(folded.get("npm_config_userconfig") or Path(env["HOME"], ".npmrc"))]
    settings += [Path(folded.get("npm_config_globalconfig") or script.parents[4] / "etc" / "npmrc")]
    named = [value for name, value in folded.items() if name.endswith(_NAMING_FILES)]
    named += [name for path in settings for name in _files_named(path, env)]
    binary = Path(shutil.which(node) or node).resolve()
    read = (script.parents[1], binary, *settings, *map(Path, named))
    cache = Path(folded["npm_config_cache"])
    cache.mkdir(parents=True, exist_ok=True)
    return process.Confine(read, write=(directory, cache), network=True, modes=True)


def _files_named(npmrc: Path, env: Mapping[str, str]) -> list[str]:
    """Files that npm's settings name: certificates."""
    try:
        rows = [line.partition("=") for line in npmrc.read_text("utf-8", errors="replace").splitlines()]
    except OSError:
        return []
    named = [value.strip().strip("\"'") for key, _, value in rows if key.strip().endswith(_NAMING_FILES)]
    return [re.sub(r"\$\{(\w+)\}", lambda found: env.get(found[1], ""), value) for value in named]


def explain(said: str, *, offline: bool = False) -> DeployError:
    """npm's output as one error for a person."""
    lines = [printable(line.strip()) for line in _LINE.findall(said)]  # a registry has its words in it
    code = next((line.split()[1] for line in lines if line.startswith("code ") and len(line.split()) > 1), "")
    told = [
        re.sub(r"^(404|notarget|network|code|errno|syscall|ERESOLVE) +", "", line)
        for line in lines
        if line and not line.startswith(("code ", "errno ", "syscall ", "A complete log", "path "))
    ]
    if code == "ENOTCACHED" or (offline and code in _PASSING):
        return DeployError(
            Reason.DEPENDENCY_FAILED,
            f"{_missing(told)} is not in npm's cache, and dependencies.offline is on",
            hint="turn it off once, or fill the cache on a host that reaches the registry",
        )
    if code in _PASSING:
        return DeployError(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"npm can't reach its registry: {code}" + (f" ({_short(told[0])})" if told else ""),
            hint="it is tried again by itself; check the network and npm's registry setting",
        )
    if code == "ENOSPC":
        return DeployError(Reason.STORAGE_FAILED, "npm: no space left on the disk", hint="make room")
    text, hint = _judged(code, told)
    return DeployError(Reason.DEPENDENCY_FAILED, text, hint=hint)


def _judged(code: str, told: list[str]) -> tuple[str, str]:
    whole = "\n".join(told)
    if code == "E404":
        named = re.search(r"'([^'\n]+)' (?:is not in|could not be found)", whole)
        what = named[1] if named else "a package"
        return f"npm's registry has no {what}", "check the name in package.json"
    if code == "ETARGET":
        named = re.search(r"No matching version found for (\S+?)\.?(?:\s|$)", whole)
        return (
            f"npm's registry has no version {named[1] if named else 'that fits'}",
            "check the version in package.json",
        )
    if code == "ERESOLVE":
        wants = re.search(r"Could not resolve dependency:\s*(.+)", whole)
        found = re.search(r"Found: (\S+)", whole)
        text = f"packages don't fit together: {_short(wants[1]) if wants else _short(whole)}"
        return text + (f", found {found[1]}" if found else ""), "change one of the versions in package.json"
    if code == "EINTEGRITY":
        return f"a package is not what the lock file says: {_short(whole)}", "make package-lock.json anew"
    text = "; ".join(_short(line) for line in told[:3]) or "npm failed and said nothing"
    return f"npm: {code + ': ' if code else ''}{text}", ""


def _missing(told: list[str]) -> str:
    named = re.search(r"(?:request to|for) \S*/(@[^/\s]+(?:/|%2f)[^/\s]+|[^/\s]+)", " ".join(told))
    return named[1].replace("%2f", "/") if named else "a package"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:199]}…"
