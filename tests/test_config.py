from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from timewright.config import KNOWN_VARIABLES, Config, defaults, load, values
from timewright.core.errors import TimewrightError

from tests.support import ROOT

EXAMPLE = ROOT / "config.example.toml"


def config(tmp_path: Path, text: str, env: dict[str, str] | None = None, **overrides: Any) -> Config:
    path = tmp_path / "timewright.toml"
    path.write_text(text, "utf-8")
    return load(path, env or {}, overrides)


def refusal(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> str:
    with pytest.raises(TimewrightError) as caught:
        config(tmp_path, text, env)
    assert caught.value.hint == "see config.example.toml for every key"
    return caught.value.message


# The example is the description ----------------------------------------------------------------


def test_the_example_holds_every_setting_with_its_default() -> None:
    sections = tomllib.loads(EXAMPLE.read_text("utf-8"))
    listed = {
        f"{section}.{key}": value for section, block in sections.items() for key, value in block.items()
    }
    assert listed == defaults()
    assert list(listed) == list(defaults()), "in the same order"
    assert {key: type(value) for key, value in listed.items()} == {k: type(v) for k, v in defaults().items()}


def test_every_setting_of_the_example_has_a_comment_above_it() -> None:
    above = ""
    for line in EXAMPLE.read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            assert above.startswith("#"), f"{line} has no comment"
        else:
            above = line  # keys that follow each other share one comment


def test_the_example_loads_as_it_stands() -> None:
    assert values(load(EXAMPLE, {})) == defaults()


# Where values come from ------------------------------------------------------------------------


def test_without_a_file_the_defaults_are_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load(None, {})
    assert values(found) == defaults()
    assert found.base == tmp_path
    assert found.origin == {}


def test_a_file_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("timewright.toml").write_text('[log]\nlevel = "debug"\n')
    assert load(None, {}).log.level == "debug"


def test_environment_beats_file_and_command_line_beats_both(tmp_path: Path) -> None:
    text = '[source]\npath = "file"\n[log]\nlevel = "error"\n[releases]\nkeep = 7\n'
    env = {"TIMEWRIGHT_SOURCE_PATH": "env", "TIMEWRIGHT_LOG_LEVEL": "debug"}
    found = config(tmp_path, text, env, **{"source.path": "line", "source.prune": None})
    assert (found.source.path, found.log.level, found.releases.keep) == ("line", "debug", 7)
    assert found.origin == {
        "source.path": "command line",
        "log.level": "environment TIMEWRIGHT_LOG_LEVEL",
        "releases.keep": str(tmp_path / "timewright.toml"),
    }


@pytest.mark.parametrize("key", defaults())
def test_every_setting_can_be_given_by_environment(tmp_path: Path, key: str) -> None:
    default = defaults()[key]
    given: Any = {bool: "false" if default is True else "true", int: "7", float: "0.5"}.get(type(default), "")
    if isinstance(default, str):
        given = {
            "compiler.mode": "off", "compiler.typescript": "bundled",
            "worker.url": "unix:/x", "worker.confine": "pool",
            "log.level": "error", "log.format": "json", "api.socket_mode": "0660",
            "rollout.strategy": "Manual", "replay.mode": "warn", "rollout.versioning": "AUTO_UPGRADE",
            "rollout.prometheus": "http://p:9090",
            "source.git": "/srv/repo.git", "source.verify": "head", "source.status": "gitea",
        }.get(key, "text")  # fmt: skip
    if isinstance(default, list):
        lists = {"notify.on": "deployed, failed", "rollout.checks": "a=http://h/a, b=https://h/b"}
        given = lists.get(key, "ms, @acme/*")
    needed = {"git": "https://git.example.org/o/r", "signers": "signers", "status_token_file": "token"}
    needs = needed if key in ("source.verify", "source.status") else {}
    env = {f"TIMEWRIGHT_SOURCE_{name.upper()}": value for name, value in needs.items()}
    found = config(tmp_path, "", {**env, f"TIMEWRIGHT_{key.replace('.', '_').upper()}": given})
    taken = values(found)[key]
    text = ", ".join(taken) if isinstance(taken, list) else str(taken).lower()
    assert text.lower() == given.lower()
    assert values(found)[key] != default


@pytest.mark.parametrize(("variable", "key"), KNOWN_VARIABLES.items())
def test_variables_known_from_elsewhere_work(tmp_path: Path, variable: str, key: str) -> None:
    value = "http://127.0.0.1:8080" if key == "worker.url" else "mine"
    found = config(tmp_path, "", {variable: value})
    assert values(found)[key] == value
    assert found.origin == {key: f"environment {variable}"}


def test_our_own_variable_beats_the_one_from_elsewhere(tmp_path: Path) -> None:
    env = {"TEMPORAL_NAMESPACE": "a", "TIMEWRIGHT_TEMPORAL_NAMESPACE": "b"}
    assert config(tmp_path, "", env).temporal.namespace == "b"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("yes", True), ("TRUE", True), ("0", False), ("no", False), ("false", False)],
)
def test_yes_and_no_are_read_as_people_write_them(tmp_path: Path, text: str, value: bool) -> None:
    assert config(tmp_path, "", {"TIMEWRIGHT_SOURCE_PRUNE": text}).source.prune is value


def test_a_whole_number_will_do_where_a_number_is_wanted(tmp_path: Path) -> None:
    assert config(tmp_path, "[source]\nsettle_s = 3\n").source.settle_s == 3.0


# Paths -----------------------------------------------------------------------------------------


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    home = tmp_path / "etc"
    home.mkdir()
    text = (
        '[source]\npath = "../specs"\n[data]\ndirectory = "var"\nactivities_dir = "acts"\n'
        '[compiler]\ntoolchain = "../tools"\n'
    )
    found = config(home, text)
    assert found.source_path == tmp_path / "specs"
    assert found.data_path == home / "var"
    assert found.workflows_path == home / "var" / "workflows"
    assert found.activities_path == home / "acts"
    assert found.toolchain_path == tmp_path / "tools"
    assert found.state_path == home / "var" / "state.db"
    assert found.worker_url == f"unix:{home}/var/worker.sock"


def test_absolute_paths_and_home_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = config(tmp_path, '[source]\npath = "/srv/specs"\n[data]\nworkflows_dir = "~/live"\n')
    assert found.source_path == Path("/srv/specs")
    assert found.workflows_path == Path("/home/me/live")
    assert found.activities_path is None


def test_the_token_is_read_from_its_file_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert config(tmp_path, '[worker]\ntoken_file = "token"\n').worker_token() == "secret"
    assert config(tmp_path, "").worker_token() == ""
    with pytest.raises(TimewrightError, match=r"worker.token_file .*/none can't be read: No such file"):
        config(tmp_path, '[worker]\ntoken_file = "none"\n').worker_token()


# What is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[source]\nprun = true", "source.prun: no such setting; did you mean source.prune?"),
        ("[sorce]\nprune = true", "[sorce]: no such section; did you mean [source]?"),
        ("[sorce]", "[sorce]: no such section; did you mean [source]?"),
        ("source = 1", "source: must be a section [source]"),
        ('[source]\nprune = "yes"', "source.prune: must be true or false, is 'yes'"),
        ("[source]\nprune = 1", "source.prune: must be true or false, is 1"),
        ("[source]\nmax_files = 1.5", "source.max_files: must be a whole number, is 1.5"),
        ("[source]\nmax_files = true", "source.max_files: must be a whole number, is True"),
        ("[source]\nmax_files = 0", "source.max_files: must be more than 0, is 0"),
        ("[source]\nsettle_s = true", "source.settle_s: must be a number, is True"),
        ("[source]\nsettle_s = -1", "source.settle_s: must be more than 0, is -1.0"),
        ("[source]\nsettle_s = nan", "source.settle_s: must be more than 0, is nan"),
        ("[source]\nmax_deletes = 2", "source.max_deletes: must be from 0 to 1, is 2.0"),
        ("[source]\npath = 7", "source.path: must be text, is 7"),
        ("[source.path]\nx = 1", "source.path: must be text, is {'x': 1}"),
        ('[compiler]\nmode = "fast"', "compiler.mode: must be one of check, transpile, off, is 'fast'"),
        ('[log]\nlevel = "loud"', "log.level: must be one of debug, info, warning, error"),
        ('[worker]\nurl = "localhost:80"', "worker.url: must be unix:/path or http://host:port"),
        ('[temporal]\nnamespace = ""', "temporal.namespace: must not be empty"),
        ('[temporal]\ntask_queue = "a\\nb"', "temporal.task_queue: has characters that can't be printed"),
        ("[retry]\ntries = 0", "retry.tries: must be more than 0"),
        ("[source", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, text: str, words: str) -> None:
    message = refusal(tmp_path, text)
    assert words in message
    assert str(tmp_path / "timewright.toml") in message


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (
            {"TIMEWRIGHT_SOURCE_PRUN": "1"},
            "TIMEWRIGHT_SOURCE_PRUN: no such setting; TIMEWRIGHT_SOURCE_PRUNE?",
        ),
        ({"TIMEWRIGHT_SOURCE_PRUNE": "maybe"}, "source.prune: must be true or false, is 'maybe'"),
        ({"TIMEWRIGHT_RELEASES_KEEP": "5.5"}, "releases.keep: must be a whole number, is '5.5'"),
        ({"TIMEWRIGHT_SOURCE_SETTLE_S": "soon"}, "source.settle_s: must be a number, is 'soon'"),
        ({"WORKER_API_URL": "nowhere"}, "environment WORKER_API_URL: worker.url: must be"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, env: dict[str, str], words: str) -> None:
    assert words in refusal(tmp_path, "", env)


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = '[source]\nprun = true\nmax_files = 0\n[log]\nlevel = "loud"\n[nope]\n'
    message = refusal(tmp_path, text, {"TIMEWRIGHT_X": "1"})
    for words in ("source.prun", "source.max_files", "log.level", "[nope]", "TIMEWRIGHT_X"):
        assert words in message


def test_a_file_that_was_named_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TimewrightError, match=r"none\.toml: can't be read: No such file"):
        load(tmp_path / "none.toml", {})


def test_our_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    assert values(config(tmp_path, "", {"TIMEWRIGHT_CONFIG": "x", "PATH": "/bin"})) == defaults()


# Several sources


def test_a_lone_source_has_no_prefix(tmp_path: Path) -> None:
    [one] = config(tmp_path, '[source]\ngit = "https://git.example.org/x.git"\n').followed
    assert (one.name, one.title, one.prefix, one.prunes, one.vanish) == ("", "main", "", True, 0.0)


def test_a_folder_prunes_only_when_it_is_told_to(tmp_path: Path) -> None:
    assert [one.prunes for one in config(tmp_path, "").followed] == [False]
    assert [one.prunes for one in config(tmp_path, "[source]\nprune = true\n").followed] == [True]
    text = '[source]\ngit = "/srv/x.git"\nprune = false\n'
    assert [one.prunes for one in config(tmp_path, text).followed] == [False]


def test_named_sources_take_what_they_dont_say_from_the_section(tmp_path: Path) -> None:
    text = """
    [source]
    git = "git@git.example.org:shop.git"
    interval_s = 5
    [sources.payments]
    subdir = "payments"
    owner = "payments"
    [sources.orders]
    subdir = "orders"
    ref = "semver:^1"
    [sources.local]
    path = "here"
    """
    found = config(tmp_path, text)
    assert [(one.name, one.prefix) for one in found.followed] == [
        ("local", "local/"),
        ("orders", "orders/"),
        ("payments", "payments/"),
    ]
    assert {one.name: one.settings.interval_s for one in found.followed}["orders"] == 5.0
    assert found.sources["payments"].owner == "payments"
    assert found.sources["orders"].git == "git@git.example.org:shop.git"
    assert found.folders == (tmp_path / "here",)
    assert values(found)["sources.orders.ref"] == "semver:^1"


def test_a_folder_on_the_command_line_is_followed_alone(tmp_path: Path) -> None:
    text = '[source]\ngit = "/srv/x.git"\n[sources.a]\nsubdir = "a"\n'
    [one] = config(tmp_path, text, None, **{"source.path": str(tmp_path / "mine")}).followed
    assert (one.name, one.settings.git, found_path(one)) == ("", "", str(tmp_path / "mine"))


def found_path(one: Any) -> str:
    return str(one.settings.path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[source]\ngit = "ext::sh -c id"\n', "source.git: "),
        ('[source]\ngit = "--upload-pack=id"\n', "source.git: is no URL"),
        ('[source]\nref = "semver:one"\n', "no range of versions"),
        ('[source]\nref = "-x"\n', "no name of a branch"),
        ('[source]\nsubdir = "../x"\n', "inside of the repository"),
        ('[source]\nverify = "always"\n', "must be one of off, head, tag, all-since-last"),
        ('[source]\ngit = "/x"\nverify = "head"\n', "source.verify needs source.signers"),
        ('[source]\nverify = "head"\nsigners = "s"\n', "this one is a folder"),
        ('[source]\ngit = "/x"\nstatus = "github"\n', "needs source.status_token_file"),
        (
            '[source]\ngit = "/x"\nstatus = "github"\nstatus_token_file = "t"\n',
            "no host that could be a forge",
        ),
        ('[source]\nstatus = "gitea"\nstatus_token_file = "t"\n', "source.status is for git sources"),
        ('[sources.Team]\npath = "x"\n', "lower-case letters"),
        ("[sources]\nteam = 1\n", "must be a section [sources.NAME]"),
        ('[sources.a]\npth = "x"\n', "sources.a.pth: no such setting; did you mean source.path"),
        ("[sources.a]\n[sources.b]\n", "two sources follow the same folder"),
        ('[source]\ngit = "https://ada:secret@git.example.org/ x"\n', "https://git.example.org/ x"),
    ],
)
def test_a_wrong_source_is_explained(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TimewrightError) as caught:
        config(tmp_path, text)
    assert says in caught.value.message
    assert "secret" not in caught.value.message
