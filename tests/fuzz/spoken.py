"""What others say to the daemon: settings, the worker host, forges, git, npm, replayed code, other users of
the same Temporal. Whatever it is, it is understood or told; what is shown of it is text, and not too much."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from timewright.api.problems import as_json
from timewright.config import Config, defaults, load, values
from timewright.core.commits import parse_commit, parse_log
from timewright.core.errors import TimewrightError
from timewright.core.forges import Repository, repository, same_place, trouble
from timewright.core.gitrefs import newest, parse_ls_remote, read_ref, url_problem
from timewright.core.gitwords import explain
from timewright.core.replays import ReplayReport, outcome_of, report_view, sentence
from timewright.core.stored import json_of
from timewright.core.verdict import Serving, culprit, telling_line, verdict
from timewright.core.webhooks import Delivery, verify
from timewright.edge import npm, worker
from timewright.edge.git import _entry, _link_answers
from timewright.rollhandle import progress_in
from timewright.views import iso

_HOME = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
_MOST = 64 * 1024  # characters of anything that is shown


def _shown(text: str) -> None:
    text.encode()
    assert len(text) <= _MOST, len(text)


def fuzz_config(data: bytes) -> None:
    """timewright.toml, and the same as environment variables."""
    path = _HOME / "timewright.toml"
    path.write_bytes(data)
    _load(path, {})
    lines = [line.partition("=") for line in data.decode("utf-8", "surrogateescape").split("\n")]
    names = [f"TIMEWRIGHT_{key.replace('.', '_').upper()}" for key in defaults()]
    env = {names[len(key) % len(names)]: text for key, _, text in lines}
    path.write_bytes(b"")
    _load(path, env)


def _load(path: Path, env: dict[str, str]) -> None:
    try:
        config = load(path, env)
    except TimewrightError as error:
        assert str(path) in str(error) or env  # noqa: PT017 - that there is one isn't what is tested
        str(error).encode()
        return
    _usable(config)


def _usable(config: Config) -> None:
    """All that the daemon makes of its settings at its start, or a TimewrightError."""
    json.dumps(values(config), allow_nan=False).encode()
    for path in (config.data_path, config.workflows_path, config.activities_path, config.toolchain_path):
        if path is not None:
            path.exists()
    config.api_socket.exists()
    for path in (*config.api_tls, config.tokens_path, config.source_path):
        if path is not None:
            path.exists()
    config.host_name.encode()
    for folder in config.folders:
        folder.exists()
    httpx.URL(config.worker_url)
    for one in config.followed:
        if one.settings.git:
            assert not url_problem(one.settings.git)
        read_ref(one.settings.ref)


def fuzz_worker(data: bytes) -> None:
    """An answer of the worker host, or of who answers in its place."""
    status, body = (data[0] * 2 if data else 200), data[1:]
    answer = worker.answer_of(body)
    reloaded = worker.reloaded_of(status, answer)
    for text in (reloaded.reason, reloaded.error, *reloaded.failed, *reloaded.failed.values()):
        _shown(text)
    _judged(worker.serving_of(status, answer))


def _judged(serving: Serving) -> None:
    _shown(serving.error + serving.temporal)
    for slot in serving.slots:
        json.dumps(asdict(slot), allow_nan=False, ensure_ascii=False).encode()
        for text in (slot.version, slot.state, slot.error, *slot.key, *slot.releases, *slot.failed.values()):
            _shown(text)
        _shown(telling_line(slot.error) + culprit(slot))
        assert abs(slot.pid) < 2**63
        assert slot.age >= 0
    found = verdict("a", "r", ("default", "q"), serving, address="here", pollers=(), youngest={"v": "a"})
    _shown(found.reason)


def fuzz_webhook(data: bytes) -> None:
    """A delivery: header lines, an empty line, a body; unsigned, and signed as it should be."""
    head, _, body = data.partition(b"\n\n")
    headers = [
        (name.strip(), value.strip())
        for line in head.decode("latin-1").split("\n")
        for name, _, value in [line.partition(":")]
    ]
    for secrets in (["secret"], ["whsec_c2VjcmV0", "other"], []):
        _delivered(verify(headers, body, secrets, 1.7e9))
    _delivered(verify([*headers, ("X-Gitlab-Token", "secret")], body, ["secret"], 1.7e9))


def _delivered(found: Any) -> None:
    if isinstance(found, Delivery):
        assert len(found.event) <= 500
        assert found.event.isprintable()
        assert found.ref is None or (found.ref.isprintable() and found.ref.startswith("refs/"))
        assert found.commit is None or found.commit.isalnum()
        as_json(asdict(found))
    else:
        _shown(found.message + found.hint)


def fuzz_forge(data: bytes) -> None:
    """What a forge answers to a commit status, where it sends us, and which repository a URL means."""
    text = data.decode("utf-8", "replace")
    first, _, rest = text.partition("\n")
    for kind in ("github", "gitlab", "gitea"):
        repo = Repository(kind, "https://forge.example/api/v3", "o/r")
        for status in (200, 302, 400, 401, 403, 404, 422, 429, 500):
            headers = {"retry-after": first, "x-ratelimit-remaining": "0", "x-ratelimit-reset": first}
            found = trouble(repo, "success", status, headers, rest, 1.7e9)
            if found is not None:
                _shown(found.message + found.hint)
                assert found.message.isprintable()
                assert found.after_s is None or 0 <= found.after_s <= 3700
        with suppress(ValueError):
            repository(kind, first, rest.partition("\n")[0])
    target = same_place("https://forge.example/api/v3/x", first)
    if target:
        with suppress(httpx.InvalidURL):  # which the caller tells
            url = httpx.URL(target)
            assert (url.scheme, url.host, url.port) == ("https", "forge.example", None), target


def fuzz_npm(data: bytes) -> None:
    """What npm prints, with words of its registry in it."""
    text = data.decode("utf-8", "replace")
    for said in (text, "\n".join(f"npm error {line}" for line in text.split("\n"))):
        for offline in (False, True):
            error = npm.explain(said, offline=offline)
            _shown(str(error))
            assert str(error).replace("\t", "").isprintable(), error


def fuzz_git(data: bytes) -> None:
    """Objects, names and words of a repository that somebody else made."""
    commits = [parse_commit("a" * 40, data), *(commit for commit, _ in parse_log(data))]
    for commit in commits:
        json.dumps(asdict(commit)).encode()
        assert (commit.author + commit.email + commit.subject).isprintable()
        iso(commit.at)
    text = data.decode("utf-8", "replace")
    _shown("".join(explain(text, 1)[1:]))
    assert "\x1b" not in explain(text, 1)[1]
    _, refs = parse_ls_remote(text)
    newest([name.removeprefix("refs/tags/") for name in refs], ">=0.0.1")
    with suppress(ValueError):
        read_ref(text)
    url_problem(text)
    list(_link_answers(data))
    for line in data.split(b"\0"):
        with suppress(ValueError):  # git's own form is another matter than names
            _entry(b"100644 blob " + b"a" * 40 + b"      12\t" + line, 0)


def fuzz_replay(data: bytes) -> None:
    """What the replayer says, in which code of a spec runs; and what lies in its cache."""
    with suppress(ValueError):
        found = outcome_of(json_of(data))
        _shown(sentence(found)[:_MOST])
        report = report_view(ReplayReport("warn", (found,)))
        json.dumps(report, allow_nan=False, ensure_ascii=False).encode()


def fuzz_progress(data: bytes) -> None:
    """The memo of a rollout, which any client of that Temporal may write."""
    with suppress(ValueError, RecursionError):
        value = json.loads(data.decode())
        found = progress_in(value)
        json.dumps(asdict(found), allow_nan=False, ensure_ascii=False).encode()
        for moment in (found.next_at, found.started, found.ended):
            iso(moment or None)
