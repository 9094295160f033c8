"""Which old versions of a pool go on, and names that Temporal takes."""

from __future__ import annotations

from timewright.core.deployments import (
    Deployment,
    Old,
    Routing,
    Version,
    crowded,
    deployment_name,
    hosts_of,
    keeping,
)

NOW = 10_000.0


def kept(
    *versions: Version,
    newest: str = "new",
    current: str = "new",
    olds: tuple[Old, ...] | None = None,
    most: int = 3,
    rolling: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(serve, forget, delete) of pool versions that are named as their Build IDs, with a `p`."""
    deployment = Deployment("q", current=current, versions=versions)
    if olds is None:
        olds = tuple(Old(f"p{one.build_id}", one.build_id) for one in versions if one.build_id != newest)
    found = keeping(deployment, olds, newest, rolling=rolling, sunset=60, most=most, settle=10, now=NOW)
    return found.serve, found.forget, found.delete


def test_what_takes_executions_or_drains_goes_on() -> None:
    for status in (Routing.CURRENT, Routing.RAMPING, Routing.DRAINING):
        assert kept(Version("old", status), current="old") == (("pold",), (), ())


def test_a_drained_version_ends_after_its_sunset_and_then_its_record() -> None:
    young = Version("old", Routing.DRAINED, since=NOW - 59)
    assert kept(young) == (("pold",), (), ())
    done = Version("old", Routing.DRAINED, since=NOW - 61)
    assert kept(done) == ((), ("pold",), ("old",))


def test_a_version_that_never_took_an_execution_ends_at_once() -> None:
    assert kept(Version("old", Routing.INACTIVE)) == ((), ("pold",), ("old",))
    assert kept(olds=(Old("pold", "old"),)) == ((), ("pold",), ())  # Temporal has not even heard of it


def test_a_version_whose_rollout_may_yet_route_to_it_is_served_on() -> None:
    assert kept(Version("old", Routing.INACTIVE), rolling=("old",))[:2] == (("pold",), ())
    assert kept(olds=(Old("pold", "old"),), rolling=("old",)) == (("pold",), (), ())


def test_of_versions_without_open_executions_only_the_newest_wait_for_their_end() -> None:
    versions = [Version(f"v{n}", Routing.DRAINING, left=NOW - 100 + n) for n in range(5)]
    olds = tuple(Old(f"p{one.build_id}", one.build_id, 0, NOW - 11) for one in versions)
    serve, forget, delete = kept(*versions, olds=olds)
    assert serve == ("pv2", "pv3", "pv4")
    assert (forget, delete) == (
        (),
        (),
    )  # they may be needed again: the executions were not seen, and that is all


def test_open_executions_keep_a_version_however_many_there_are() -> None:
    versions = [Version(f"v{n}", Routing.DRAINING, left=NOW - 100 + n) for n in range(5)]
    for running, empty in ((1, None), (None, None), (0, NOW - 9)):
        olds = tuple(Old(f"p{one.build_id}", one.build_id, running, empty) for one in versions)
        assert len(kept(*versions, olds=olds)[0]) == 5


def test_workers_without_versions_end_when_a_version_takes_their_executions() -> None:
    before = (Old("plain", ""),)
    assert kept(olds=before, current="") == (("plain",), (), ())
    assert kept(olds=before, current="new") == ((), ("plain",), ())


def test_another_pool_version_of_the_same_code_is_not_kept() -> None:
    assert kept(Version("new", Routing.CURRENT), olds=(Old("before", "new"),)) == ((), ("before",), ())


def test_the_current_and_the_ramping_version_are_never_deleted() -> None:
    there = Deployment(
        "q",
        current="a",
        ramping="b",
        versions=(Version("a", Routing.DRAINED), Version("b", Routing.INACTIVE)),
    )
    assert keeping(there, (), "new", sunset=0, most=1, settle=0, now=NOW).delete == ()


def test_names_are_those_of_task_queues_where_temporal_takes_them() -> None:
    assert deployment_name("orders") == "orders"
    odd = deployment_name("orders.eu:1")
    assert odd.startswith("orders-eu-1-")
    assert odd != deployment_name("orders.eu.1")
    assert deployment_name("日本") != deployment_name("中国")


def test_a_warning_comes_long_before_temporals_limit() -> None:
    many = tuple(Version(str(n), Routing.DRAINING) for n in range(75))
    assert crowded(Deployment("q", versions=many[:74])) == ""
    assert "75 of the 100" in crowded(Deployment("q", versions=many))


def test_pollers_tell_their_host() -> None:
    polls = {"12@alpha/timewright/abc": 1.0, "13@alpha/timewright/def": 1.0, "14@beta": 2.0}
    assert hosts_of(polls, "") == {"alpha": 2, "beta": 1}
    assert hosts_of(polls, "abc") == {"alpha": 1, "beta": 1}
