"""The verbs, as a person or a script uses them. Mock compile mode: these tests are about the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.specs import greeter

REPO = Path(__file__).resolve().parents[2]


class Desk:
    """A directory with a source folder and a data directory, and the command at hand."""

    def __init__(self, home: Path) -> None:
        self.home, self.specs, self.data = home, home / "specs", home / "data"
        self.specs.mkdir()

    def put(self, name: str, spec: Any) -> None:
        (self.specs / name).write_text(spec if isinstance(spec, str) else json.dumps(spec))

    def run(self, *arguments: str, where: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        verb, *rest = arguments
        paths = ["--source", str(self.specs), "--data", str(self.data)] if where else []
        return subprocess.run(
            [sys.executable, "-m", "timewright.cli.main", verb, *paths, *rest],
            cwd=self.home,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPO / "daemon"),
                "TIMEWRIGHT_COMPILER_MODE": "off",
                **env,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_apply_without_a_settings_file_puts_everything_under_the_data_directory(desk: Desk) -> None:
    desk.put("one.json", greeter("one", "x"))
    done = desk.run("apply")
    assert done.returncode == 0, done.stderr
    assert (desk.data / "workflows" / "one" / "dist" / "workflow.js").is_file()
    assert {path.name for path in desk.home.iterdir()} == {"specs", "data"}


def test_apply_exits_with_1_when_a_spec_failed_and_deploys_the_others(desk: Desk) -> None:
    desk.put("bad.json", {**greeter("bad", "x"), "success": False})
    desk.put("good.json", greeter("good", "x"))
    done = desk.run("apply")
    assert done.returncode == 1
    assert "NotCompiled" in done.stdout
    assert (desk.data / "workflows" / "good").is_symlink()
    assert not (desk.data / "workflows" / "bad").exists()


def test_apply_twice_does_nothing_the_second_time(desk: Desk) -> None:
    desk.put("one.json", greeter("one", "x"))
    desk.run("apply")
    desk.run("apply")
    assert [event["new"] for event in _events(desk) if event["kind"] == "status"] == ["DEPLOYING", "DEPLOYED"]


def _events(desk: Desk) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in desk.run("logs", "--json").stdout.splitlines()]
    return [event for event in events if event["kind"] == "status"]


def test_plan_says_what_and_why_with_exit_code_3_and_changes_nothing(desk: Desk) -> None:
    desk.put("one.json", greeter("one", "x"))
    done = desk.run("plan")
    assert done.returncode == 3
    assert "+ deploy    one: new spec one.json" in done.stdout
    assert not desk.data.exists()
    desk.run("apply")
    again = desk.run("plan")
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout


def test_plan_exits_with_1_when_a_spec_is_refused(desk: Desk) -> None:
    desk.put("bad.json", "{")
    done = desk.run("plan")
    assert done.returncode == 1
    assert "bad.json is refused" in done.stdout


def test_a_deleted_spec_is_kept_without_prune_and_the_plan_says_so(desk: Desk) -> None:
    desk.put("one.json", greeter("one", "x"))
    desk.put("two.json", greeter("two", "x"))
    desk.run("apply")
    (desk.specs / "two.json").unlink()
    assert "two.json is gone; kept because prune is off" in desk.run("plan").stdout
    assert "- undeploy  two: two.json is gone" in desk.run("plan", "--prune").stdout
    assert desk.run("apply").returncode == 0
    assert desk.json("status", "two")["sync"] == "OutOfSync"
    desk.run("apply", "--prune")
    assert desk.json("status", "two")["status"] == "UNDEPLOYED"
    assert not (desk.data / "workflows" / "two").exists()


def test_an_emptied_source_undeploys_nothing_even_with_prune(desk: Desk) -> None:
    for name in ("one", "two"):
        desk.put(f"{name}.json", greeter(name, "x"))
    desk.run("apply")
    for path in desk.specs.iterdir():
        path.unlink()
    desk.run("apply", "--prune")
    assert {item["status"] for item in desk.json("status")["workflows"]} == {"DEPLOYED"}
    assert "looks like an accident" in desk.json("status", "one")["held"]


def test_status_of_an_unknown_workflow_says_what_to_try(desk: Desk) -> None:
    desk.put("one.json", greeter("one", "x"))
    desk.run("apply")
    done = desk.run("status", "nope")
    assert done.returncode == 1
    assert done.stderr.endswith("Error: there is no workflow 'nope' here\nTry: timewright list\n")


def test_status_before_anything_was_deployed_says_so(desk: Desk) -> None:
    done = desk.run("status")
    assert done.returncode == 1
    assert "nothing was deployed there yet" in done.stderr


def test_list_is_tab_separated_for_scripts(desk: Desk) -> None:
    desk.put("one.json", greeter("one", "x"))
    desk.run("apply")
    workflow_id, status, release = desk.run("list").stdout.strip().split("\t")
    assert (workflow_id, status, len(release)) == ("one", "DEPLOYED", 12)


def test_validate_names_every_problem_with_its_place(desk: Desk) -> None:
    desk.put("bad.json", {**greeter("bad", "x"), "name": 7, "deploy": {"taskqueue": "q"}})
    desk.put("good.json", greeter("good", "x"))
    done = desk.run("validate", "specs/bad.json", "specs/good.json", where=False)
    assert done.returncode == 1
    assert "name: must be a string" in done.stdout
    assert "did you mean 'taskQueue'?" in done.stdout
    assert "ok     specs/good.json" in done.stdout


def test_an_unknown_setting_is_an_error_with_a_suggestion(desk: Desk) -> None:
    (desk.home / "timewright.toml").write_text('[source]\npaht = "x"\n')
    done = desk.run("config")
    assert done.returncode == 1
    assert "source.paht: no such setting; did you mean source.path?" in done.stderr
    assert "Try:" in done.stderr


def test_config_says_where_a_setting_comes_from(desk: Desk) -> None:
    done = desk.run("config", where=False, TEMPORAL_ADDRESS="10.0.0.9:7233")
    assert 'address = "10.0.0.9:7233"  # environment TEMPORAL_ADDRESS' in done.stdout


def test_init_writes_settings_that_load_and_overwrites_nothing(desk: Desk) -> None:
    assert desk.run("init", "fresh", where=False).returncode == 0
    done = desk.run("config", "--config", "fresh/timewright.toml", "--json", where=False)
    assert json.loads(done.stdout)["source.prune"]["value"] is False
    assert desk.run("init", "fresh", where=False).returncode == 1


def test_doctor_says_what_to_do_about_what_is_missing(desk: Desk) -> None:
    done = desk.run("doctor", TIMEWRIGHT_COMPILER_NODE="no-such-node", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert done.returncode == 1
    assert "no-such-node can't be run" in done.stdout
    assert "install Node 20 or newer" in done.stdout
    assert "nobody answers at 127.0.0.1:1" in done.stdout
    assert "confinement" in done.stdout


def test_wrong_usage_exits_with_2(desk: Desk) -> None:
    assert desk.run("apply", "--no-such-option").returncode == 2


def test_a_terminal_escape_in_a_spec_reaches_no_terminal(desk: Desk) -> None:
    desk.put("one.json", {**greeter("one", "x"), "name": "\x1b[31mred\nforged line"})
    desk.run("apply")
    for verb in (["status", "one"], ["status"], ["logs"], ["plan"]):
        assert "\x1b" not in desk.run(*verb).stdout


@pytest.mark.parametrize("data", ["specs", "specs/var", "specs/deep/er/var"])
def test_a_data_directory_in_the_source_is_refused(desk: Desk, data: str) -> None:
    """Its releases would be read as specs, and each deploy would wake the next pass (faults.md D16)."""
    words = ["--source", str(desk.specs), "--data", str(desk.home / data)]
    done = desk.run("apply", *words, where=False)
    assert done.returncode == 1
    assert "lies in the source" in done.stderr
    assert "Try: give it, or the source, a folder of its own" in done.stderr
    assert list(desk.specs.rglob("*")) == []


def test_a_data_directory_where_no_spec_is_looked_for_may_lie_in_the_source(desk: Desk) -> None:
    words = ["--source", str(desk.home), "--data", str(desk.home / ".timewright")]
    desk.put("one.json", greeter("one", "x"))
    assert desk.run("apply", *words, where=False).returncode == 0
    assert desk.run("apply", *words, where=False).returncode == 0, "nothing of ours was taken for a spec"
