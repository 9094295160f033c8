"""Settings: config.example.toml is their description, this module their types and defaults.

A test holds the two equal. Unknown keys are errors, with the nearest known key as a hint.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from timewright.core.errors import TimewrightError
from timewright.core.gitrefs import location, read_ref, url_problem
from timewright.core.names import name_problem
from timewright.core.notices import Kind, template_problem
from timewright.core.stored import is_number, toml_of


@dataclass(frozen=True)
class Source:
    path: str = "specs"
    git: str = ""
    ref: str = ""
    subdir: str = ""
    owner: str = ""
    interval_s: float = 60.0
    timeout_s: float = 120.0
    depth: int = 0
    max_clone_mib: int = 2048
    sparse: bool = False
    username: str = ""
    token_file: str = ""
    ssh_key: str = ""
    known_hosts: str = ""
    verify: str = "off"
    signers: str = ""
    keyring: str = ""
    webhook_secret_file: str = ""
    status: str = "off"
    status_url: str = ""
    status_token_file: str = ""
    status_context: str = ""
    prune: bool = False
    max_deletes: float = 0.1
    scan_interval_s: float = 10.0
    settle_s: float = 2.0
    vanish_s: float = 5.0
    allow_empty: bool = False
    max_spec_bytes: int = 8 * 1024 * 1024
    max_files: int = 500


@dataclass(frozen=True)
class Data:
    directory: str = "var"
    workflows_dir: str = ""
    activities_dir: str = ""


@dataclass(frozen=True)
class Compiler:
    mode: str = "check"
    timeout_s: float = 60.0
    memory_mib: int = 1024
    cache_mib: int = 256
    typescript: str = "pinned"
    node: str = "node"
    toolchain: str = ""


@dataclass(frozen=True)
class Dependencies:
    allow: list[str] = field(default_factory=lambda: ["*"])
    deny: list[str] = field(default_factory=list)
    offline: bool = False
    timeout_s: float = 300.0
    max_mib: int = 500


@dataclass(frozen=True)
class Worker:
    url: str = ""
    token_file: str = ""
    reload_timeout_s: float = 15.0
    check_interval_s: float = 5.0
    node_env: str = "production"
    confine: str = "off"
    may_read: list[str] = field(default_factory=list)
    may_write: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Temporal:
    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    task_queue: str = "default"


@dataclass(frozen=True)
class Rollout:
    strategy: str = "AllAtOnce"
    versioning: str = "PINNED"
    wait_s: float = 10.0
    sunset_s: float = 300.0
    keep: int = 3
    task_queue: str = "timewright"
    manager: str = "timewright"
    prometheus: str = ""
    checks: list[str] = field(default_factory=list)

    @property
    def urls(self) -> Mapping[str, str]:
        """The HTTP checks: name → URL."""
        return {name: url for name, _, url in (check.partition("=") for check in self.checks)}


@dataclass(frozen=True)
class Replay:
    mode: str = "auto"
    open: int = 10
    closed: int = 10
    timeout_s: float = 60.0
    most_mib: int = 64


@dataclass(frozen=True)
class Fleet:
    host: str = ""
    hosts: list[str] = field(default_factory=list)
    min_hosts: int = 1


@dataclass(frozen=True)
class Releases:
    keep: int = 5
    min_age_h: float = 24.0


@dataclass(frozen=True)
class Retry:
    tries: int = 5
    first_s: float = 5.0
    most_s: float = 180.0


@dataclass(frozen=True)
class Health:
    revert: bool = True
    trial_s: float = 60.0
    pollers: bool = True


@dataclass(frozen=True)
class Drift:
    interval_s: float = 300.0
    heal: bool = False


@dataclass(frozen=True)
class Api:
    socket: str = ""
    socket_mode: str = "0600"
    peers: list[str] = field(default_factory=list)
    listen: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tokens_file: str = ""


@dataclass(frozen=True)
class Notify:
    urls_file: str = ""
    on: list[str] = field(
        default_factory=lambda: ["failed", "rolled-back", "degraded", "recovered", "drift", "source"]
    )
    workflows: list[str] = field(default_factory=lambda: ["*"])
    owners: list[str] = field(default_factory=list)
    title: str = "$workflow $what ($host)"
    body: str = (
        "$because\ncommit $commit by $author: $subject\nrelease $release\nfrom $source\nowner $owner\n$at"
    )
    settle_s: float = 60.0
    repeat_s: float = 3600.0
    per_minute: int = 10
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Log:
    level: str = "info"
    format: str = "auto"


#: Tables of named blocks, each of which takes what it doesn't say from a section.
NAMED = {"sources": "source", "notifiers": "notify"}
_CHECK = re.compile(r"[A-Za-z0-9_-]+=https?://\S+")
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Followed:
    """One source as it is followed. `name`: '' where it is the only one. `prunes`: undeploy what it no longer
    has. `vanish`: seconds that a spec may be away; a commit is whole, so none for git."""

    name: str
    settings: Source
    prunes: bool
    vanish: float

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or "main"

    @property
    def prefix(self) -> str:
        """What its paths begin with, among those of all sources."""
        return f"{self.name}/" if self.name else ""


@dataclass(frozen=True)
class Config:
    """All settings. `origin`: `section.key` → where its value came from, where it isn't the default.
    `sources`, `notifiers`: the blocks of [sources.NAME] and [notifiers.NAME], complete with what [source] and
    [notify] say."""

    source: Source = field(default_factory=Source)
    data: Data = field(default_factory=Data)
    compiler: Compiler = field(default_factory=Compiler)
    dependencies: Dependencies = field(default_factory=Dependencies)
    worker: Worker = field(default_factory=Worker)
    temporal: Temporal = field(default_factory=Temporal)
    rollout: Rollout = field(default_factory=Rollout)
    replay: Replay = field(default_factory=Replay)
    fleet: Fleet = field(default_factory=Fleet)
    releases: Releases = field(default_factory=Releases)
    retry: Retry = field(default_factory=Retry)
    health: Health = field(default_factory=Health)
    drift: Drift = field(default_factory=Drift)
    api: Api = field(default_factory=Api)
    notify: Notify = field(default_factory=Notify)
    log: Log = field(default_factory=Log)
    notifiers: Mapping[str, Notify] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    base: Path = field(default_factory=Path.cwd)
    origin: Mapping[str, str] = field(default_factory=dict)

    def path(self, text: str) -> Path:
        """A path of the settings: relative ones are relative to their file, `credential:NAME` is what the
        unit loads (LoadCredential=)."""
        if text.startswith(CREDENTIAL):
            return _credential(text.removeprefix(CREDENTIAL))
        return Path(os.path.normpath(self.base / Path(text).expanduser()))

    @property
    def followed(self) -> tuple[Followed, ...]:
        """The sources: those of [sources.NAME], else the one of [source]."""
        if not self.sources:
            return (self._followed("", self.source),)
        return tuple(self._followed(name, settings) for name, settings in sorted(self.sources.items()))

    def _followed(self, name: str, settings: Source) -> Followed:
        said = "source.prune" in self.origin or f"sources.{name}.prune" in self.origin
        prunes = settings.prune if said or not settings.git else True
        return Followed(name, settings, prunes, 0.0 if settings.git else settings.vanish_s)

    @property
    def routes(self) -> Mapping[str, Notify]:
        """Who is told of what, by name: those of [notifiers.NAME], else the one of [notify] with URLs."""
        if self.notifiers:
            return dict(sorted(self.notifiers.items()))
        return {"main": self.notify} if self.notify.urls_file else {}

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that are followed as such, and not as repositories."""
        return tuple(self.path(one.settings.path) for one in self.followed if not one.settings.git)

    @property
    def source_path(self) -> Path:
        """The first followed folder; the one of [source] where all are repositories."""
        return next(iter(self.folders), self.path(self.source.path))

    @property
    def data_path(self) -> Path:
        return self.path(self.data.directory)

    @property
    def host_name(self) -> str:
        """This host's name in its fleet."""
        return self.fleet.host or socket.gethostname()

    @property
    def workflows_path(self) -> Path:
        return self.path(self.data.workflows_dir) if self.data.workflows_dir else self.data_path / "workflows"

    @property
    def activities_path(self) -> Path | None:
        return self.path(self.data.activities_dir) if self.data.activities_dir else None

    @property
    def worker_url(self) -> str:
        return self.worker.url or f"unix:{self.data_path / 'worker.sock'}"

    @property
    def api_socket(self) -> Path:
        """Where the API listens for this host's users."""
        return self.path(self.api.socket) if self.api.socket else self.data_path / "api.sock"

    @property
    def api_tls(self) -> tuple[Path | None, Path | None]:
        """The PEM files of certificate and key, where they are set."""
        cert, key = self.api.tls_cert, self.api.tls_key
        return (self.path(cert) if cert else None, self.path(key) if key else None)

    @property
    def tokens_path(self) -> Path:
        return self.path(self.api.tokens_file) if self.api.tokens_file else self.data_path / "tokens.toml"

    @property
    def state_path(self) -> Path:
        return self.data_path / "state.db"

    @property
    def toolchain_path(self) -> Path:
        """The worker package: configured, else the checkout's, else what `timewright setup` made."""
        if self.compiler.toolchain:
            return self.path(self.compiler.toolchain)
        return CHECKOUT if IS_CHECKOUT else PACKAGED

    @property
    def node_command(self) -> str:
        """The node to run: the configured one; where no node is on PATH, the one beside this Python,
        where `make setup` puts it."""
        beside = Path(sys.executable).parent / "node"
        if self.compiler.node == "node" and shutil.which("node") is None and beside.exists():
            return str(beside)
        return self.compiler.node

    def worker_token(self) -> str:
        """The bearer token for the worker host; '' when none is set."""
        if not self.worker.token_file:
            return ""
        path = self.path(self.worker.token_file)
        try:
            return path.read_text("utf-8").strip()
        except OSError as error:
            raise TimewrightError(
                f"worker.token_file {path} can't be read: {error.strerror}",
                hint="check the path and its mode",
            ) from None


#: Environment variables that people know from elsewhere → our setting.
KNOWN_VARIABLES = {
    "WORKFLOWS_DIR": "data.workflows_dir",
    "ACTIVITIES_DIR": "data.activities_dir",
    "WORKER_API_URL": "worker.url",
    "NODE_ENV": "worker.node_env",
    "TEMPORAL_ADDRESS": "temporal.address",
    "TEMPORAL_NAMESPACE": "temporal.namespace",
}
_CHOICES = {
    "source.verify": ("off", "head", "tag", "all-since-last"),
    "source.status": ("off", "github", "gitlab", "gitea"),
    "compiler.mode": ("check", "transpile", "off"),
    "compiler.typescript": ("pinned", "bundled"),
    "worker.confine": ("off", "pool"),
    "rollout.strategy": ("AllAtOnce", "Manual", "off"),
    "rollout.versioning": ("PINNED", "AUTO_UPGRADE"),
    "api.socket_mode": ("0600", "0660", "0666"),
    "replay.mode": ("auto", "off", "warn", "enforce"),
    "log.level": ("debug", "info", "warning", "error"),
    "log.format": ("auto", "pretty", "json"),
}
_POSITIVE = ("_s", "_bytes", "_mib", "max_files", "keep", "tries", "per_minute", "min_hosts")
FILE_NAME = "timewright.toml"
#: Where a host's settings are, as its units and its people expect them.
SYSTEM_FILE = Path("/etc/timewright/timewright.toml")
#: The worker package of a source checkout; and the one in a wheel, to which `timewright setup` adds its npm
#: packages. What to do where they are missing.
CHECKOUT = Path(__file__).resolve().parents[2] / "worker"
PACKAGED = Path(__file__).resolve().parent / "worker"
IS_CHECKOUT = (CHECKOUT / "package.json").is_file()
SETUP = "make setup" if IS_CHECKOUT else "timewright setup"
#: How a setting names a file that systemd hands over (LoadCredential=), instead of a path.
CREDENTIAL = "credential:"


def load(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The settings in force: defaults, then the file, then the environment, then `overrides`
    (`section.key` → value, from the command line). Without `path`, ./timewright.toml when it is there,
    else the system's.

    Raises TimewrightError that names the file and every bad key.
    """
    environment = os.environ if env is None else env
    chosen = path or next((file for file in (Path(FILE_NAME), SYSTEM_FILE) if os.path.isfile(file)), None)  # noqa: PTH113 - no error where we may not look
    given: dict[str, tuple[Any, str]] = {}
    problems: list[str] = []
    if chosen is not None:
        given.update(_from_file(chosen, problems))
    given.update(_from_environment(environment, problems))
    given.update(
        {key: (value, "command line") for key, value in (overrides or {}).items() if value is not None}
    )
    base = chosen.resolve().parent if chosen is not None else Path.cwd()
    config = _build(given, base, problems)
    if problems:
        raise TimewrightError(
            "the settings are wrong:\n  " + "\n  ".join(problems),
            hint="see config.example.toml for every key",
        )
    return config


def _credential(name: str) -> Path:
    """The file of a credential: by its own name, else as one of the unit's folder of them."""
    folder = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/timewright.service"))
    own = folder / name
    return own if own.exists() else folder / f"timewright_{name}"


def defaults() -> dict[str, Any]:
    """`section.key` → default, in the order of config.example.toml."""
    return {f"{section}.{key}": value for section, key, value in _walk(Config())}


def values(config: Config) -> dict[str, Any]:
    """`section.key` → value in force; `table.name.key` for what a named block says for itself."""
    found = {f"{section}.{key}": value for section, key, value in _walk(config)}
    for key in config.origin:
        if key.count(".") == 2:
            table, name, last = key.split(".")
            found[key] = getattr(getattr(config, table)[name], last)
    return found


def _walk(config: Config) -> list[tuple[str, str, Any]]:
    return [
        (section.name, item.name, getattr(getattr(config, section.name), item.name))
        for section in fields(config)
        if is_dataclass(getattr(config, section.name))
        for item in fields(getattr(config, section.name))
    ]


def _from_file(path: Path, problems: list[str]) -> dict[str, tuple[Any, str]]:
    try:
        content = toml_of(path.read_bytes())
    except OSError as error:
        problems.append(f"{path}: can't be read: {error.strerror}")
        return {}
    except ValueError as error:
        problems.append(f"{path}: is not TOML: {error}")
        return {}
    found: dict[str, tuple[Any, str]] = {}
    known = {key.split(".")[0] for key in defaults()}
    for section, block in content.items():
        if not isinstance(block, dict):
            problems.append(f"{path}: {section}: must be a section [{section}]")
            continue
        if section in NAMED:
            found.update(_named_blocks(path, section, block, problems))
            continue
        if section not in known:
            close = get_close_matches(section, known | NAMED.keys(), 1)
            hint = f"; did you mean [{close[0]}]?" if close else ""
            problems.append(f"{path}: [{section}]: no such section{hint}")
            continue
        found.update({f"{section}.{key}": (value, str(path)) for key, value in block.items()})
    return found


def _named_blocks(
    path: Path, table: str, block: Mapping[str, Any], problems: list[str]
) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for name, content in block.items():
        if not isinstance(content, dict):
            problems.append(f"{path}: {table}.{name}: must be a section [{table}.NAME]")
        elif not NAME.fullmatch(name):
            problems.append(f"{path}: [{table}.{name}]: a name has lower-case letters, digits and '-' only")
        else:
            found[f"{table}.{name}"] = ({}, str(path))
            found.update({f"{table}.{name}.{key}": (value, str(path)) for key, value in content.items()})
    return found


def _from_environment(env: Mapping[str, str], problems: list[str]) -> dict[str, tuple[Any, str]]:
    known = defaults()
    names = {f"TIMEWRIGHT_{key.replace('.', '_').upper()}": key for key in known}
    found: dict[str, tuple[Any, str]] = {}
    for variable, key in {**KNOWN_VARIABLES, **names}.items():
        if variable in env:
            found[key] = (_from_text(env[variable], known[key]), f"environment {variable}")
    for variable in env:
        if variable.startswith("TIMEWRIGHT_") and variable not in names and variable not in _NOT_SETTINGS:
            close = get_close_matches(variable, names, 1)
            problems.append(f"environment {variable}: no such setting" + (f"; {close[0]}?" if close else ""))
    return found


#: Variables of ours that are no settings: the config file's place, the daemon that the command line talks
#: to, and the tests' fault points.
_NOT_SETTINGS = (
    *("TIMEWRIGHT_CONFIG", "TIMEWRIGHT_SERVER", "TIMEWRIGHT_TOKEN", "TIMEWRIGHT_TOKEN_FILE"),
    *("TIMEWRIGHT_FAILPOINT", "TIMEWRIGHT_BUILD_ID"),
)


def _from_text(text: str, default: Any) -> Any:
    """An environment variable's text as the setting's type; text that doesn't fit stays text."""
    if isinstance(default, bool):
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            text.lower(), text
        )
    if isinstance(default, list):
        return [item.strip() for item in text.split(",") if item.strip()]
    for kind in (int, float):
        if isinstance(default, kind):
            try:
                return kind(text)
            except ValueError:
                return text
    return text


def _build(given: Mapping[str, tuple[Any, str]], base: Path, problems: list[str]) -> Config:
    known = defaults()
    sections: dict[str, dict[str, Any]] = {}
    named: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in NAMED}
    origin: dict[str, str] = {}
    for key, (value, where) in given.items():
        table, _, rest = key.partition(".")
        name, _, last = rest.rpartition(".") if table in NAMED else ("", "", "")
        if table in NAMED and not name:
            named[table].setdefault(rest, {})
            continue
        plain = f"{NAMED[table]}.{last}" if name else key
        if plain not in known:
            close = get_close_matches(plain, known, 1)
            problems.append(
                f"{where}: {key}: no such setting" + (f"; did you mean {close[0]}?" if close else "")
            )
            continue
        if isinstance(known[plain], float) and is_number(value, whole=True):
            value = float(value)
        if message := _wrong(plain, value, known[plain]):
            problems.append(f"{where}: {key}: {message}")
            continue
        section, short = plain.split(".", 1)
        block = named[table].setdefault(name, {}) if name else sections.setdefault(section, {})
        block[short] = value
        origin[key] = where
    if origin.get("source.path") == "command line":  # that folder, and nothing else
        named["sources"].clear()
        sections["source"].pop("git", None)
        origin = {key: where for key, where in origin.items() if not key.startswith("sources.")}
    config = Config(base=base, origin=origin)
    config = replace(
        config, **{name: replace(getattr(config, name), **block) for name, block in sections.items()}
    )
    blocks: dict[str, Any] = {
        table: {name: replace(getattr(config, NAMED[table]), **block) for name, block in named[table].items()}
        for table in NAMED
    }
    for name, block in named["sources"].items():
        if "path" in block and "git" not in block:  # a folder among repositories
            blocks["sources"][name] = replace(blocks["sources"][name], git="")
    config = replace(config, **blocks)
    problems += [f"{where}: {text}" for where, text in _across(config)]
    return config


def _across(config: Config) -> Iterator[tuple[str, str]]:
    """Settings that don't go together: where they stand, and what is wrong."""
    for one in config.followed:
        settings, block = one.settings, f"sources.{one.name}" if one.name else "source"

        def where(key: str, block: str = block) -> str:
            return config.origin.get(f"{block}.{key}", config.origin.get(f"source.{key}", block))

        if settings.verify != "off" and not (settings.signers or settings.keyring):
            yield where("verify"), f"{block}.verify needs {block}.signers, {block}.keyring or both"
        if settings.verify != "off" and not settings.git:
            yield where("verify"), f"{block}.verify is for git sources; this one is a folder"
        if settings.status != "off" and not settings.status_token_file:
            yield where("status"), f"{block}.status needs {block}.status_token_file"
        if settings.status != "off" and settings.git and (message := _no_forge(settings)):
            yield where("status"), f"{block}.status: {message}"
        if settings.status != "off" and not settings.git and f"{block}.status" in config.origin:
            yield where("status"), f"{block}.status is for git sources; this one is a folder"
    for name, route in config.notifiers.items():
        if not route.urls_file:
            yield config.origin.get(f"notifiers.{name}", "notifiers"), f"notifiers.{name} needs a urls_file"
    folders = [path for path in config.folders if config.folders.count(path) > 1]
    if folders:
        yield "sources", f"two sources follow the same folder {folders[0]}"


def _no_forge(settings: Source) -> str:
    from timewright.core.forges import repository  # loaded where it is needed: `status` has to be quick

    try:
        repository(settings.status, settings.git, settings.status_url)
    except ValueError as error:
        return str(error)
    return ""


def _wrong(key: str, value: Any, default: Any) -> str:
    if type(value) is not type(default):
        return f"must be {_words(default)}, is {value!r}"
    if isinstance(default, list) and not all(isinstance(item, str) for item in value):
        return f"must be a list of texts, is {value!r}"
    if message := _no_text(value if isinstance(default, list) else [value]):
        return message
    if key in _CHOICES and value not in _CHOICES[key]:
        return f"must be one of {', '.join(_CHOICES[key])}, is {value!r}"
    if key in ("compiler.cache_mib", "replay.open", "replay.closed", "source.depth"):
        if value < 0:
            return f"must be 0 or more, is {value!r}"
        return _too_large(value)
    if key == "source.git" and value and (message := url_problem(value)):
        return f"{message}; is {location(value)!r}"
    if key == "source.ref":
        return _wrong_ref(value)
    if key == "source.subdir" and (value.startswith("/") or ".." in value.split("/")):
        return f"must be a folder inside of the repository, is {value!r}"
    if key.endswith(_POSITIVE) and isinstance(value, int | float) and not value > 0:
        return f"must be more than 0, is {value!r}"
    if key in ("notify.title", "notify.body") and (message := template_problem(value)):
        return message
    if key == "notify.on" and (unknown := [word for word in value if word not in [*Kind]]):
        return f"must be of {', '.join(Kind)}; has {unknown[0]!r}"
    if key == "source.max_deletes" and not 0 <= value <= 1:
        return f"must be from 0 to 1, is {value!r}"
    if key == "rollout.checks" and (bad := [one for one in value if not _CHECK.fullmatch(one)]):
        return f'must be a list of "name=https://…", has {bad[0]!r}'
    if key == "rollout.prometheus" and value and not _is_web_address(value):
        return f"must be http://host:port, is {value!r}"
    if key == "fleet.host" and not re.fullmatch(r"[A-Za-z0-9._-]*", value):
        return f"has letters, digits, '.', '_' and '-' only, is {value!r}"
    if key in ("temporal.namespace", "temporal.task_queue", "rollout.task_queue") and (
        message := name_problem(value)
    ):
        return f"{message}: {value!r}"
    if key == "worker.url" and value and not (value.startswith("unix:/") or _is_web_address(value)):
        return f"must be unix:/path or http://host:port, is {value!r}"
    return _too_large(value)


def _too_large(value: Any) -> str:
    """'' for what no clock and no counter has a trouble with."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "must be a number that is not that large" if number and not is_number(value) else ""


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _no_text(values: Iterable[Any]) -> str:
    """What no path, header or log takes; '' when there is nothing of it."""
    for text in values:
        if isinstance(text, str) and ("\0" in text or not _is_unicode(text)):
            return f"holds a character that no text has: {text!r}"
        if isinstance(text, str) and text.startswith("~") and _homeless(text):
            return f"names a home that is not there: {text!r}"
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeError:
        return False
    return True


def _homeless(text: str) -> bool:
    try:
        Path(text).expanduser()
    except RuntimeError:
        return True
    return False


def _wrong_ref(value: str) -> str:
    try:
        read_ref(value)
    except ValueError as error:
        return str(error)
    return ""


def _words(default: Any) -> str:
    kinds: dict[type, str] = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list of texts",
    }
    return kinds[type(default)]
