"""What the fuzzers found, by name: each was a crash, a loop of crashes, or a way out of the data folder."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from timewright.config import load
from timewright.core.commits import Commit, parse_commit
from timewright.core.errors import DeployError, TimewrightError
from timewright.core.orders import Phase, Progress
from timewright.core.replays import Step, does, had, outcome_of
from timewright.edge import listing
from timewright.edge.dependencies import Dependencies, Installed
from timewright.edge.git import Git
from timewright.edge.holds import Holds
from timewright.edge.npm import explain
from timewright.edge.pools import Pools
from timewright.edge.receipts import Receipt
from timewright.edge.releases import RECEIPT, Releases
from timewright.edge.worker import answer_of, reloaded_of, serving_of
from timewright.rollhandle import progress_in

from tests.support import make_receipt, publish

DEEP = "[" * 20_000


# The data directory ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        f"warnings = {DEEP}",  # RecursionError, at each start
        "created = nan",  # no NULL in the state file: no start
        f"created = {'9' * 30}",  # more than SQLite's integers
        "created = inf",
        'rollout = "{"',
        'rollout = "5"',
        'workflows = "../../../etc/passwd"',
        'workflows = "/etc/passwd"',
        'workflows = "src/../../x.ts"',
        'workflows = "workflow.ts"',  # beside src/: its output would lie beside dist/
        'root = "../.."',
        'dependencies = "../../elsewhere"',
        'isolation = "root"',
        'task_queue = ""',
        'files = { "../../etc/passwd" = "x" }',
    ],
)
def test_a_receipt_that_says_what_none_of_ours_says_is_no_receipt(tmp_path: Path, line: str) -> None:
    releases = Releases(tmp_path)
    releases.prepare()
    receipt = publish(releases)
    releases.make_live("hello", receipt.release)
    path = releases.path("hello", receipt.release) / RECEIPT
    key = line.split(" ")[0]
    rows = [row for row in path.read_text().splitlines() if not row.startswith((f"{key} =", f"[{key}]"))]
    path.write_text("\n".join([line, *rows]))
    assert list(releases.live()) == []
    assert releases.kept("hello") == []
    assert releases.differences("hello", receipt.release)[0].path == RECEIPT


def test_a_receipt_with_every_entry_below_its_root_is_one() -> None:
    for entry, root in (("src/a.ts", "src"), ("a.ts", "."), ("lib/x/a.ts", "lib/x")):
        receipt = make_receipt(workflows=entry, root=root)
        assert Receipt.from_toml(receipt.to_toml()) == receipt


def test_a_list_of_kept_versions_that_cannot_be_read_keeps_all_of_them(tmp_path: Path) -> None:
    """An empty list would have let retention take what open executions run on."""
    pools, key = Pools(tmp_path), ("default", "q")
    for name in ("v1", "v2", "v3"):
        home = pools.home(key) / name
        home.mkdir(parents=True)
        home.joinpath("pool.toml").write_text(f'pool_version = "{name}"\nbuild_id = "b"\nsdk = "1"\n')
    pools.make_current(key, "v3")
    for damaged in (b"", b"versions = 5", b'versions = ["../.."]', f"x = {DEEP}".encode(), b"\xff"):
        (pools.home(key) / "kept.toml").write_bytes(damaged)
        assert pools.kept(key) == ("v1", "v2"), damaged[:40]
    pools.collect(key, {"v3"})
    assert {"v1", "v2", "v3"} <= {path.name for path in pools.home(key).iterdir()}


def test_what_is_kept_of_a_commit_is_not_believed_where_git_would_read_it(tmp_path: Path) -> None:
    """Ids go to `git cat-file --batch`, one a line: two lines would answer for one file with another."""
    path = tmp_path / "adopted.json"
    sha, digest = "a" * 40, "d" * 64
    good: dict[str, Any] = {"a.json": [sha, digest, None]}
    commit = Commit(sha)
    listing.store(path, listing.Adopted("anchor", "shape", commit, 1.0, files={}))
    whole = path.read_text()
    for row in ([f"{sha}\nHEAD", digest, None], ["--textconv", digest, None], [sha, "x", None], 5, [sha]):
        path.write_text(whole.replace('"files":{}', '"files":' + json.dumps({**good, "b": row})))
        with pytest.raises(ValueError, match=r"b (is|has) no|'b' is no"):
            listing.load(path)
    path.write_text(whole.replace('"files":{}', '"files":' + json.dumps(good)))
    assert listing.load(path) is not None


def test_a_folder_of_decisions_with_one_that_is_none_gives_the_others(tmp_path: Path) -> None:
    holds = Holds(tmp_path)
    holds.prepare()
    holds.write("good", {"pin": {"kind": "pin"}})
    (tmp_path / "bad.json").write_bytes(b"[" * 100_000)
    (tmp_path / "worse.json").write_bytes(b'{"pin": "\\ud800"}')
    assert [name for name, _ in holds.read()] == ["good"]


# npm's registry --------------------------------------------------------------------------------


async def test_a_compiler_whose_package_claims_to_be_another_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry says one version, the package's own file another: that one becomes a path."""
    victim = tmp_path / "victim"
    victim.mkdir()
    sets = Dependencies(tmp_path / "dependencies", tmp_path / "toolchain", cache=tmp_path / "cache")
    sets.prepare()

    async def install(needs: object, home: Path, say: object) -> Installed:
        package = home / "node_modules" / "typescript"
        package.mkdir(parents=True)
        package.joinpath("package.json").write_text('{"version": "/../../victim"}')
        return Installed(home)

    monkeypatch.setattr(sets, "_install", install)
    with pytest.raises(DeployError, match="is none"):
        await sets.tool("typescript", "^5.0.0")
    assert victim.is_dir()


# Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"a = {DEEP}", "is not TOML: it is nested too deeply"),
        (f"[source]\nmax_files = {'9' * 5000}", "is not TOML"),
        (f"[source]\ninterval_s = {'9' * 400}", "source.interval_s: must be a number"),
        ("[source]\ninterval_s = inf", "source.interval_s: must be a number that is not that large"),
        ("[source]\ninterval_s = nan", "source.interval_s: must be"),
        (f"[source]\nmax_files = {'9' * 30}", "source.max_files: must be a number that is not that large"),
        ('[source]\npath = "~nobody-here/specs"', "source.path: names a home that is not there"),
        ('[data]\ndirectory = "a\\u0000b"', "data.directory: holds a character that no text has"),
        ('[worker]\nurl = "http://["', "worker.url: must be"),
        ('[worker]\nurl = "http://host:99999"', "worker.url: must be"),
        ('[rollout]\nprometheus = "http://"', "rollout.prometheus: must be"),
    ],
)
def test_a_setting_that_ended_the_start_with_a_traceback_is_told(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "timewright.toml"
    path.write_text(text)
    with pytest.raises(TimewrightError) as caught:
        load(path, {})
    assert f"{path}: " in caught.value.message
    assert words in caught.value.message


def test_an_environment_variable_that_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(TimewrightError, match=r"data\.directory: holds a character"):
        load(None, {"TIMEWRIGHT_DATA_DIRECTORY": "a\udcff"})


# The worker host -------------------------------------------------------------------------------


def test_half_a_character_from_the_worker_host_gets_into_no_database() -> None:
    answer = answer_of(b'{"pools": [{"state": "\\ud800", "lastError": "\\udfff"}]}')
    (slot,) = serving_of(200, answer).slots
    assert (slot.state, slot.error) == ("?", "?")
    found = reloaded_of(500, answer_of(b'{"reason": "\\ud800", "failed": [{"workflowId": "\\ud800"}]}'))
    assert (found.reason, dict(found.failed)) == ("?", {"?": ""})


def test_words_of_the_worker_host_are_cut_whatever_they_are() -> None:
    long = "x" * 1_000_000
    pool = {"state": long, "poolVersion": long, "releases": [{"workflowId": long, "error": long}]}
    (slot,) = serving_of(200, {"pools": [pool]}).slots
    assert max(map(len, (slot.state, slot.version, *slot.releases, *slot.failed.values()))) <= 4096
    assert len(reloaded_of(500, {"reason": long}).reason) <= 512


@pytest.mark.parametrize(
    "pools", [[{}] * 20_001, [{"releases": [{}] * 100_001}], [{"releases": [{}] * 11_000}] * 10]
)
def test_a_worker_host_that_claims_more_than_any_host_runs_is_not_believed(pools: list[Any]) -> None:
    """8 MiB of `{},{},…` took 2 GB and seconds of the event loop."""
    found = serving_of(200, {"pools": pools})
    assert (found.reachable, found.slots) == (False, ())


# Repositories ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["idna", "punycode", "unicode_escape", "rot13", "hex", "undefined", "\0"]
)
def test_a_commit_in_an_encoding_that_is_a_program_is_read_all_the_same(encoding: str) -> None:
    """One such commit, and its source was followed no more: idna raises, whatever it is asked to do."""
    data = f"author Zoë <z@example.org> 1700000000 +0000\nencoding {encoding}\n\nWhat it does\\x41\n"
    commit = parse_commit("a" * 40, data.encode())
    assert (commit.author, commit.subject) == ("Zoë", "What it does\\x41")


def test_a_commit_in_an_old_encoding_is_still_read_in_it() -> None:
    data = "author Zoë <z@example.org> 1700000000 +0000\nencoding ISO-8859-1\n\nWas es tut\n"
    assert parse_commit("a" * 40, data.encode("latin-1")).author == "Zoë"


async def test_a_link_whose_text_looks_like_an_answer_of_git_answers_for_no_other(tmp_path: Path) -> None:
    """Git tells the text of such a link with its lines: one was taken for the answer of the next link."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "secret").write_text("not a spec\n")
    (tmp_path / "good.json").write_text("{}\n")
    secret = git("hash-object", "-w", "secret")
    (tmp_path / "a.json").symlink_to(f"/elsewhere\n{secret} blob 11")
    (tmp_path / "b.json").symlink_to("good.json")
    git("add", "a.json", "b.json", "good.json")
    git("commit", "-qm", "Links")
    repo = Git(tmp_path / ".git")
    good = git("rev-parse", "HEAD:good.json")
    assert await repo.follow_links(git("rev-parse", "HEAD"), ["a.json", "b.json"]) == [None, good]


# Temporal and the replayer ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "memo",
    [
        5,
        {"phase": "won"},
        {"next_at": 1e300},
        {"next_at": float("nan")},
        {"because": "\ud800"},
        {"step": "1"},
        {"guilty": "all"},
    ],
)
def test_a_memo_that_another_program_wrote_is_no_progress(memo: Any) -> None:
    with pytest.raises(ValueError, match=r".*"):
        progress_in(memo)


def test_a_memo_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    assert progress_in({"phase": "ramping", "percent": 5, "somethingNewer": 1}) == Progress(
        Phase.RAMPING, percent=5.0
    )


def test_the_name_of_a_command_is_no_format() -> None:
    """Code of a spec runs in the replayer: what it says was handed to str.format."""
    step = Step("{0.__class__.__mro__}", "x")
    assert had(step) == does(step) == "{0.__class__.__mro__}"
    for value in ({"ms": "x"}, {"ms": 1e999}, {"ms": True}):
        with pytest.raises(ValueError, match="not an outcome"):
            outcome_of({"workflowId": "a", "runId": "r", "ok": False, "old": {"kind": "timer", **value}})
    with pytest.raises(ValueError, match="not an outcome"):
        outcome_of({"workflowId": "a", "runId": "r", "ok": False, "eventId": float("inf")})


def test_words_of_a_registry_do_nothing_to_a_terminal() -> None:
    error = explain("npm error code EINTEGRITY\nnpm error sha512 \x1b]0;owned\x07 wanted\u202e")
    assert str(error).isprintable()
