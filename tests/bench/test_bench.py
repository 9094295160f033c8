"""The bench's own parts: what it says of samples, what it leaves behind, and that its page is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as all_parts
from bench.common import Report, quantile, summary
from bench.drawings import CHART_MAKERS, charts
from bench.goals import GOALS, MissingError, Results, median
from bench.page import CHARTS, PAGE, PARTS, goals_table, page, read_results, write

REPO = Path(__file__).resolve().parents[2]


def results(**figures: float) -> Results:
    """One part, `change`, with medians by series (`__` for `/`)."""
    series = {name.replace("__", "/"): summary([value]) for name, value in figures.items()}
    return {"change": {"figures": series}}


def test_the_page_and_its_charts_are_what_the_results_say() -> None:
    if os.environ.get("UPDATE_DOCS"):
        write()
    found = read_results()
    assert PAGE.read_text("utf-8") == page(found, PAGE.read_text("utf-8")), "UPDATE_DOCS=1 makes it anew"
    made = charts(found)
    assert {path.name for path in CHARTS.glob("*.svg")} == set(made)
    for name, text in made.items():
        assert (CHARTS / name).read_text("utf-8") == text, name


def test_every_result_file_is_of_a_part_and_says_where_it_was_measured() -> None:
    for path in (REPO / "bench" / "results").glob("*.json"):
        content = json.loads(path.read_text())
        assert content["part"] == path.stem
        assert path.stem in PARTS
        assert content["commit"]
        assert content["machine"]["cores"] > 0
        assert set(content["figures"]) == set(content["samples"])
        for series, values in content["samples"].items():
            assert content["figures"][series]["n"] == len(values), series


def test_every_part_can_be_run_alone_and_is_run_with_all() -> None:
    assert set(all_parts.PARTS) == set(PARTS)
    for part in PARTS:
        assert (REPO / "bench" / f"{part}.py").is_file(), part


def test_a_median_is_not_moved_by_one_slow_round() -> None:
    found = summary([1.0, 1.1, 0.9, 1.0, 30.0])
    assert (found["median"], found["mad"], found["n"]) == (1.0, 0.1, 5)
    assert (found["low"], found["high"]) == (1.0, 1.1)


def test_p99_of_a_hundred_is_the_worst_but_one_or_the_worst() -> None:
    assert quantile([float(n) for n in range(100)], 0.99) == 99.0
    assert quantile([float(n) for n in range(100)], 0.5) == 50.0


def test_a_goal_that_is_missed_says_so() -> None:
    goal = next(goal for goal in GOALS if goal.bound == 80)
    peer, ours = "script-ts5/bundle_s", "timewright/bundle_s"
    good = results(**{f"1/{peer}": 8.0, f"1/{ours}": 0.1})
    bad = results(**{f"1/{peer}": 7.9, f"1/{ours}": 0.1})
    assert (goal.row(good).met, goal.row(good).value) == ("yes", 80.0)
    assert goal.row(bad).met == "**no**"
    assert goal.row({}).met == "not measured"


def test_a_ratio_over_several_sizes_is_the_worst_of_them() -> None:
    goal = next(goal for goal in GOALS if goal.bound == 80)
    series = {"1/script-ts5/bundle_s": 9.0, "1/timewright/bundle_s": 0.1}
    series |= {"10000/script-ts5/bundle_s": 9.0, "10000/timewright/bundle_s": 0.3}
    assert goal.row(results(**series)).value == pytest.approx(30.0)


def test_nothing_measured_makes_a_page_without_charts() -> None:
    text = page({}, PAGE.read_text("utf-8"))
    assert "not measured" in goals_table({})
    assert ".svg" not in text
    with pytest.raises(MissingError):
        median({}, "change", 1, "timewright", "dist_s")


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places for goals"):
        page({}, PAGE.read_text("utf-8").replace("<!-- goals -->", ""))


def test_every_chart_is_well_formed() -> None:
    made = charts(_everything())
    assert set(made) == {f"{name}.svg" for name in CHART_MAKERS}
    for text in made.values():
        ET.fromstring(text)
        assert "nan" not in text


def _everything() -> Results:
    """Some figure for every series that a chart may ask for."""
    series: dict[str, dict[str, list[str]]] = {
        "change": {
            f"{size}/{peer}": ["event_s", "dist_s", "bundle_s", "serving_s"]
            for size in (1, 1000)
            for peer in (
                "timewright",
                "timewright-rollback",
                "script-ts5",
                "script-ts7",
                "nodemon",
                "tsc-watch",
            )
        },
        "swap": {f"swaps/{peer}": ["calm_s", "p99_s", "worst_s"] for peer in ("versions", "in place")},
        "first": {
            f"{s}/{p}": ["placed_per_s"] for s in (1, 20) for p in ("timewright", "script-ts5", "script-ts7")
        },
        "restart": {f"10000/{p}": ["ready_s"] for p in ("timewright", "git status, tree")},
        "idle": {
            f"1000/{kind}": ["pss_mib", "cpu_ticks"]
            for kind in ("daemon", "compiler", "worker host", "worker processes", "tsc-watch")
        },
        "memory": {
            f"{size}/{kind}": ["used_mib", "loaded_mib"]
            for size in (1, 500)
            for kind in ("daemon", "compiler", "worker host", "worker processes")
        },
        "api": {
            f"1000/{when}": [
                f"{call}_{p}_ms"
                for call in ("healthz", "one workflow", "all workflows")
                for p in ("p50", "p99")
            ]
            for when in ("idle", "busy")
        },
        "rollout": {f"deploy/{peer}": ["serving_s"] for peer in ("in place", "versions", "rollback")},
        "git_push": {f"push/{peer}": ["serving_s"] for peer in ("webhook", "polling", "git-sync, signal")},
    }
    return {
        part: {
            "figures": {f"{name}/{m}": summary([0.1, 0.2, 0.4]) for name, found in one.items() for m in found}
        }
        for part, one in series.items()
    }


def test_a_report_is_written_whole_and_replaces_the_one_before(tmp_path: Path) -> None:
    report = Report("change", {"rounds": 2})
    for value in (1.0, 3.0):
        report.add(10, "timewright", {"dist_s": value})
    report.write(tmp_path)
    path = report.write(tmp_path)
    content: dict[str, Any] = json.loads(path.read_text())
    assert content["figures"]["10/timewright/dist_s"]["median"] == 2.0
    assert [one.name for one in tmp_path.iterdir()] == ["change.json"]


@pytest.mark.parametrize("ending", ["return", "raise SystemExit('a fault')", "os.kill(os.getpid(), 15)"])
def test_no_process_is_left_however_a_part_ends(tmp_path: Path, ending: str) -> None:
    """Also none whose parent is gone already, and none that took a session of its own."""
    script = tmp_path / "part.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, subprocess, time
        from bench.processes import run
        async def part():
            subprocess.Popen(["setsid", "sh", "-c", "echo $$ > {tmp_path}/one; exec sleep 100"])
            subprocess.run(["sh", "-c", "sleep 100 >/dev/null 2>&1 & echo $! > {tmp_path}/two"])
            while not os.path.exists("{tmp_path}/one") or not open("{tmp_path}/one").read().strip():
                time.sleep(0.01)
            {ending}
        run(part)
        """)
    )
    subprocess.run(
        [sys.executable, script],
        check=False,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'daemon'}"},
        timeout=60,
        capture_output=True,
    )
    for name in ("one", "two"):
        pid = int((tmp_path / name).read_text())
        assert not Path(f"/proc/{pid}").exists(), name


def test_a_part_that_fails_stops_no_other_and_the_exit_code_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def fake(part: str, *, full: bool) -> str:
        ran.append(part)
        return "exit code 1" if part == "first" else ""

    monkeypatch.setattr(all_parts, "run_part", fake)
    monkeypatch.setattr(all_parts, "_page", lambda: "")
    monkeypatch.setattr(all_parts, "none_left", nullcontext)  # other tests' processes are children too
    monkeypatch.setattr(sys, "argv", ["bench"])
    assert all_parts.main() == 1
    assert ran == list(all_parts.PARTS)
    assert "Error: first: exit code 1" in capsys.readouterr().err


def test_a_part_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 100\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(all_parts, "PARTS", {"api": 0.005})
    monkeypatch.setattr(sys, "executable", str(sleeper))
    monkeypatch.setattr(all_parts, "end_all", lambda: None)  # other tests' processes are children too
    assert "not done" in all_parts.run_part("api", full=False)
