"""When a rollout goes badly, and whom it waits for."""

from __future__ import annotations

from timewright.core.orders import Ask, Closed, Look, Order, Phase, missing_hosts, why_bad
from timewright.core.rollout import Watch

ORDER = Order("default", "q", "b", "q")


def test_a_failure_rate_counts_once_enough_executions_have_closed() -> None:
    watch = Watch(failure_rate=0.1, min_executions=5)
    assert why_bad(watch, Look(new=Closed(0, 4))) == ""
    assert why_bad(watch, Look(new=Closed(4, 1))).startswith(
        "1 of 5 executions on the new version failed (20%; 0%"
    )


def test_a_version_that_fails_as_the_one_before_did_is_not_to_blame() -> None:
    watch = Watch(failure_rate=0.1, min_executions=5)
    assert why_bad(watch, Look(new=Closed(50, 50), old=Closed(55, 45))) == ""
    assert why_bad(watch, Look(new=Closed(50, 50), old=Closed(70, 30)))


def test_stuck_workflow_tasks_metric_and_check_end_a_rollout() -> None:
    assert "fail again and again" in why_bad(Watch(), Look(stuck=1))
    assert why_bad(Watch(task_failures=2), Look(stuck=1)) == ""
    assert why_bad(Watch(above=0.5), Look(metric=0.7)) == "the query gives 0.7, above 0.5"
    assert why_bad(Watch(above=0.5), Look(metric=0.5)) == ""
    assert why_bad(Watch(), Look(check="ledger answers 500")) == "its check fails: ledger answers 500"
    assert why_bad(Watch(), Look()) == ""


def test_it_waits_for_named_hosts_or_for_so_many() -> None:
    assert missing_hosts(ORDER, []) == "1 more host"
    assert missing_hosts(ORDER, ["alpha"]) == ""
    named = Order("default", "q", "b", "q", hosts=("alpha", "beta"), min_hosts=1)
    assert missing_hosts(named, ["alpha", "other"]) == "beta"
    many = Order("default", "q", "b", "q", min_hosts=3)
    assert missing_hosts(many, ["alpha"]) == "2 more hosts"


def test_a_return_to_the_version_before_waits_for_one_host_only() -> None:
    back = Order("default", "q", "b", "q", hosts=("alpha", "beta"), min_hosts=2, back=True)
    assert missing_hosts(back, []) == "a host that serves it"
    assert missing_hosts(back, ["beta"]) == ""


def test_words() -> None:
    assert Ask("abort", "ada", "late").words == "ada: late"
    assert Ask("abort").words == "somebody"
    assert [phase for phase in Phase if phase.over] == [Phase.PROMOTED, Phase.ROLLED_BACK, Phase.SUPERSEDED]
