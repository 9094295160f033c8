"""Metrics over a real world with the mock compiler; the page, the alerts and the board are held to them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from timewright.cli.main import cli
from timewright.control import Control
from timewright.core.errors import DeployError, Reason
from timewright.core.state import TRANSITIONS, Health
from timewright.metrics import Metrics

from tests.support import ROOT
from tests.test_control import ROOT as ADMIN
from tests.test_control import deploy
from tests.test_reconcile import Bench, _bench

PAGE, ALERTS, BOARD = (ROOT / "docs" / name for name in ("metrics.md", "alerts.yaml", "grafana.json"))
NAME = re.compile(r"\b(?:timewright|process|python)_[a-z_]+\b")
ASKED = re.compile(r"`timewright ([^`]*)`")
HEAD = """\
# Metrics

`GET /metrics` of the API, in Prometheus' text format, for callers that see all workflows: a viewer's token
without owners (`timewright token create prometheus --role viewer`). [grafana.json](grafana.json) is a
dashboard to import, [alerts.yaml](alerts.yaml) are rules to load. This page is made by `UPDATE_DOCS=1 pytest
tests/test_metrics.py`; a test compares.

```yaml
scrape_configs:
  - job_name: timewright
    authorization: { credentials_file: /etc/prometheus/timewright.token }
    static_configs: [{ targets: ["host:8080"] }]
```

Only `timewright_workflow_healthy` and `timewright_workflow_synced` have a series for each workflow: alerts
have to name it. All else is counted by word. The worker host has metrics of its own (`GET /metrics`).

| metric | kind | labels | what |
|---|---|---|---|
"""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        yield found


@pytest.fixture
def metrics(bench: Bench) -> Metrics:
    return Metrics(bench.world, bench.reconciler)


def families(metrics: Metrics) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    for family in families(metrics).values():
        for sample in family.samples:
            if sample.name == f"timewright_{name}" and sample.labels == labels:
                return float(sample.value)
    return 0.0


async def test_a_deploy_a_failure_and_a_rollback_are_counted(bench: Bench, metrics: Metrics) -> None:
    await deploy(bench, "x", "y")
    assert value(metrics, "transitions_total", old="DEPLOYING", new="DEPLOYED") == 2
    assert value(metrics, "workflows", status="DEPLOYED") == 1
    assert value(metrics, "stage_seconds_count", stage="reload") == 2
    assert value(metrics, "deploy_seconds_count", result="DEPLOYED") == 2
    assert value(metrics, "passes_total") == 2
    Control(bench.world, bench.reconciler).rollback(ADMIN, "one")
    await bench.settle()
    assert value(metrics, "workflows", status="ROLLED_BACK") == 1
    assert value(metrics, "workflows_pinned", kind="rollback") == 1
    assert value(metrics, "workflow_synced", workflow="one", pool="default/one") == 0
    bench.compiler.failures = [DeployError(Reason.TYPE_CHECK_FAILED, "no")]
    bench.put("one", "z")
    await bench.settle()
    assert value(metrics, "failures_total", reason="TypeCheckFailed") == 1


async def test_what_stands_is_told_and_absent_words_are_zero(bench: Bench, metrics: Metrics) -> None:
    await deploy(bench, "x")
    Control(bench.world, bench.reconciler).suspend(ADMIN, None)
    assert value(metrics, "suspended") == 1
    assert value(metrics, "workflows_by_health", health="Suspended") == 1
    found = families(metrics)["timewright_workflows_by_health"].samples
    assert {sample.labels["health"]: sample.value for sample in found}["Missing"] == 0
    bench.specs.rename(bench.specs.with_name("away"))
    await bench.settle()
    assert value(metrics, "source_complete") == 0


async def test_a_new_spec_that_fails_wakes_nobody_and_one_that_ran_still_may(
    bench: Bench, metrics: Metrics
) -> None:
    await deploy(bench, "x")
    bench.compiler.failures = [DeployError(Reason.TYPE_CHECK_FAILED, "no")]
    bench.put("two", "x")
    await bench.settle()
    told = {s.labels["workflow"] for s in families(metrics)["timewright_workflow_healthy"].samples}
    assert told == {"one"}
    assert value(metrics, "workflow_synced", workflow="two", pool="default/two") == 0
    assert value(metrics, "workflows", status="DEPLOYMENT_FAILED") == 1


async def test_a_suspension_hides_no_workflow_that_is_not_healthy(bench: Bench, metrics: Metrics) -> None:
    await deploy(bench, "x")
    Control(bench.world, bench.reconciler).suspend(ADMIN, "one")
    bench.world.set_health("one", Health.DEGRADED, "it crashed")
    assert value(metrics, "workflow_healthy", workflow="one", pool="default/one") == 0
    assert value(metrics, "workflows_suspended") == 1
    assert value(metrics, "workflows_by_health", health="Degraded") == 1


async def test_an_undeployed_workflow_is_no_longer_told_by_name(bench: Bench, metrics: Metrics) -> None:
    await deploy(bench, "x")
    Control(bench.world, bench.reconciler).undeploy(ADMIN, "one")
    await bench.settle()
    assert families(metrics)["timewright_workflow_healthy"].samples == []
    assert families(metrics)["timewright_workflow_synced"].samples == []
    assert value(metrics, "workflows", status="UNDEPLOYED") == 1


@pytest.mark.parametrize("trouble", ["down", "answers 500"])
async def test_a_failed_notification_is_counted_once_and_a_look_is_none(
    bench: Bench, metrics: Metrics, trouble: str
) -> None:
    if trouble == "down":
        await bench.worker.stop()
    bench.worker.status = 500
    await deploy(bench, "x")
    assert value(metrics, "notification_failures_total") == 1
    await bench.world.worker.serving()
    assert value(metrics, "notification_failures_total") == 1


async def test_counters_begin_at_zero_so_that_the_first_event_is_an_increase(metrics: Metrics) -> None:
    found = families(metrics)
    transitions = {
        (s.labels["old"], s.labels["new"]): s.value for s in found["timewright_transitions"].samples
    }
    assert transitions["DEPLOYING", "DEPLOYMENT_FAILED"] == 0
    assert len(transitions) == sum(map(len, TRANSITIONS.values()))
    assert {s.labels["reason"] for s in found["timewright_failures"].samples} == set(Reason)


async def test_only_three_series_are_added_for_each_workflow(bench: Bench, metrics: Metrics) -> None:
    await deploy(bench, "x")
    before = {name: len(family.samples) for name, family in families(metrics).items()}
    record = bench.world.record("one")
    for number in range(100):
        bench.world.records[f"w{number}"] = replace(record, workflow_id=f"w{number}")
    after = {name: len(family.samples) for name, family in families(metrics).items()}
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    names = ("workflow_healthy", "workflow_synced", "workflow_release_info")
    assert grown == {f"timewright_{name}": 100 for name in names}


async def test_names_follow_the_rules_of_prometheus(bench: Bench, metrics: Metrics) -> None:
    await everything(bench)
    for family in families(metrics).values():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", family.name), family.name
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        samples = {sample.name for sample in family.samples}
        totals = {name for name in samples if name.endswith("_total")}
        assert totals == (samples if family.type == "counter" else set()), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
        words = set(family.name.split("_"))
        assert not words & {"ms", "milliseconds", "kb", "mb", "mib", "minutes", "created"}, family.name


def page(metrics: Metrics) -> str:
    rows = []
    for name, family in sorted(families(metrics).items()):
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le", "quantile"})
        shown = ", ".join(f"`{label}`" for label in labels)
        full = f"{name}_total" if family.type == "counter" else name
        rows.append(f"| `{full}` | {family.type} | {shown} | {family.documentation} |")
    return HEAD + "\n".join(rows) + "\n"


async def everything(bench: Bench) -> None:
    """Something of every kind, so that every series is there."""
    await deploy(bench, "x", "y")
    bench.compiler.failures = [DeployError(Reason.TYPE_CHECK_FAILED, "no")]
    bench.put("one", "z")
    await bench.settle()


async def test_the_page_describes_every_metric_and_no_other(bench: Bench, metrics: Metrics) -> None:
    await everything(bench)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page(metrics), "utf-8")
    assert PAGE.read_text("utf-8") == page(metrics)


async def test_alerts_and_dashboard_ask_only_for_metrics_and_labels_that_there_are(
    bench: Bench, metrics: Metrics
) -> None:
    await everything(bench)
    samples = [sample for family in families(metrics).values() for sample in family.samples]
    known = {sample.name for sample in samples}
    labels = {label for sample in samples for label in sample.labels} | {"instance", "job"}
    asked = [*expressions_of_alerts(), *expressions_of_board()]
    assert len(asked) > 20
    for expression in asked:
        names = set(NAME.findall(expression))
        assert names, expression
        assert names <= known, f"{expression}: {names - known}"
        for block in re.findall(r"\{([^}]*)\}", expression):
            assert {part.split("=")[0].strip("!~ ") for part in block.split(",") if part} <= labels, (
                expression
            )
        for words in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            assert {word.strip() for word in words.split(",")} <= labels, expression


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions_of_alerts() -> list[str]:
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} == set(rule["annotations"])
    return [rule["expr"] for rule in rules()]


def expressions_of_board() -> list[str]:
    board = json.loads(BOARD.read_text("utf-8"))
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]}
    assert len(places) == len(board["panels"])
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_what_an_alert_tells_people_to_run_is_a_command() -> None:
    commands = [words for rule in rules() for words in ASKED.findall(rule["annotations"]["description"])]
    assert len(commands) > 10
    for words in commands:
        verb, *arguments = re.sub(r"\{\{.*?\}\}", "one", words).split()
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None, words
        command.make_context(verb, arguments)


def test_a_cause_pages_once_and_names_its_host() -> None:
    """Hosts share one Prometheus: what is held together is of the same host, what is said names it."""
    for rule in rules():
        assert "on ()" not in rule["expr"], rule["alert"]
        assert "$labels.instance" in rule["annotations"]["summary"], rule["alert"]
    (unhealthy,) = (rule for rule in rules() if rule["alert"] == "TimewrightWorkflowNotHealthy")
    assert "and on (job, instance) timewright_temporal_reachable == 1" in unhealthy["expr"]
    assert "suspended" not in unhealthy["expr"]


def test_a_table_of_what_is_now_asks_for_now() -> None:
    tables = [p for p in json.loads(BOARD.read_text("utf-8"))["panels"] if p["type"] == "table"]
    assert tables
    assert all(target["instant"] for panel in tables for target in panel["targets"])
