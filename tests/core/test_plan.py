"""The planner's cases, as sentences; and that no world makes it raise, waver or remove by mistake."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.actions import (
    Action,
    Clear,
    Deploy,
    Hold,
    Refuse,
    Revert,
    Rollback,
    Settle,
    Undeploy,
)
from timewright.core.digest import Placement
from timewright.core.errors import Reason
from timewright.core.plan import plan, suspension_of
from timewright.core.state import Asked, Failure, Health, Pin, Pinned, Record, Status, Suspension
from timewright.core.worlds import Broken, Desired, Live, Observed, Policy, Wanted

from tests.support import (
    KEEP,
    NOW,
    PRUNE,
    deployed,
    desired,
    digest,
    make_broken,
    make_live,
    make_record,
    make_wanted,
    observed,
)


def planned(wish: Desired, world: Observed, policy: Policy = KEEP, now: float = NOW) -> tuple[Action, ...]:
    return plan(wish, world, policy, now)


def only(wish: Desired, world: Observed, policy: Policy = KEEP, now: float = NOW) -> Action:
    (action,) = planned(wish, world, policy, now)
    return action


def by_id(actions: tuple[Action, ...]) -> dict[str | None, Action]:
    return {action.workflow_id: action for action in actions}


def failed(transient: bool, version: str = "v1", **changes: Any) -> Record:
    failure = Failure(Reason.STORAGE_FAILED if transient else Reason.TYPE_CHECK_FAILED, "no", (), transient)
    values = {"status": Status.DEPLOYMENT_FAILED, "failure": failure, "applied": "", "attempts": 1, **changes}
    return make_record(version=version, **values)


# One spec --------------------------------------------------------------------------------------


def test_a_new_spec_is_deployed() -> None:
    assert only(desired(make_wanted()), observed()) == Deploy(make_wanted(), "new spec hello.json")


def test_a_changed_spec_is_deployed_and_says_from_what_to_what() -> None:
    action = only(desired(make_wanted(version="v2")), deployed("hello"))
    short = (digest("hello v1")[:12], digest("hello v2")[:12])
    assert action == Deploy(make_wanted(version="v2"), f"hello.json changed: release {short[0]} → {short[1]}")


def test_what_is_live_and_pooled_needs_nothing() -> None:
    assert planned(desired(make_wanted()), deployed("hello")) == ()


def test_a_spec_that_came_back_is_deployed_again() -> None:
    gone = make_record(status=Status.UNDEPLOYED, applied="")
    assert isinstance(only(desired(make_wanted()), observed(gone)), Deploy)


def test_a_release_that_the_tree_lost_is_deployed_again() -> None:
    action = only(desired(make_wanted()), observed(make_record()))
    assert action == Deploy(make_wanted(), "the tree has lost the release of hello.json")


def test_a_release_that_its_pool_does_not_serve_is_deployed_again() -> None:
    action = only(desired(make_wanted()), deployed("hello", pooled=False))
    assert isinstance(action, Deploy)
    assert "is not yet in pool default/default" in action.because


def test_an_interrupted_deploy_is_taken_up_again() -> None:
    world = observed(make_record(status=Status.DEPLOYING), make_live())
    action = only(desired(make_wanted()), world)
    assert action == Deploy(make_wanted(), "the deploy of hello.json was interrupted and is taken up again")


def test_work_under_way_for_the_same_digest_is_left_alone() -> None:
    world = observed(make_record(status=Status.DEPLOYING), busy={"hello": digest("hello v1")})
    assert planned(desired(make_wanted()), world) == ()


def test_work_under_way_for_an_older_digest_is_overtaken() -> None:
    world = observed(make_record(status=Status.DEPLOYING), busy={"hello": digest("hello v1")})
    assert isinstance(only(desired(make_wanted(version="v2")), world), Deploy)


def test_an_undeploy_under_way_is_overtaken_when_the_spec_comes_back() -> None:
    world = observed(make_record(status=Status.UNDEPLOYING, attempted=""), make_live(), busy={"hello": ""})
    assert isinstance(only(desired(make_wanted()), world), Settle)


# Failures --------------------------------------------------------------------------------------


def test_a_transient_failure_is_retried_when_its_time_has_come() -> None:
    action = only(desired(make_wanted()), observed(failed(True, retry_at=NOW)))
    assert action == Deploy(make_wanted(), "retry 1 of hello.json after StorageFailed")


def test_what_failed_where_it_went_live_is_tried_again_before_it_counts_as_deployed() -> None:
    """The disk was full between the link and the worker host's word, and behind that."""
    record = failed(True, attempts=1, retry_at=NOW + 5)
    assert planned(desired(make_wanted()), observed(record, make_live())) == ()
    assert isinstance(only(desired(make_wanted()), observed(record, make_live()), now=NOW + 5), Deploy)


@pytest.mark.parametrize(
    "record",
    [failed(True, retry_at=NOW + 1), failed(True, retry_at=None), failed(False, retry_at=NOW - 1)],
    ids=["not due", "given up", "not transient"],
)
def test_a_failure_is_not_retried_without_a_reason_to(record: Record) -> None:
    assert planned(desired(make_wanted()), observed(record)) == ()


def test_a_failed_spec_that_changed_is_tried_at_once() -> None:
    record = failed(True, retry_at=NOW + 1000)
    assert isinstance(only(desired(make_wanted(version="v2")), observed(record)), Deploy)


def test_going_back_to_what_is_live_after_a_failure_is_only_recorded() -> None:
    record = failed(False, version="v2", applied=digest("hello v1"))
    action = only(desired(make_wanted()), observed(record, make_live()))
    assert isinstance(action, Settle)
    assert "which is live" in action.because


# Settling the record ---------------------------------------------------------------------------


def test_a_spec_that_moved_to_another_file_is_only_recorded() -> None:
    action = only(desired(make_wanted(source="moved.json")), deployed("hello"), PRUNE)
    assert isinstance(action, Settle)
    assert action.because == "the spec moved from hello.json to moved.json; nothing else changed"


@pytest.mark.parametrize(
    "record",
    [make_record(held="prune is off"), make_record(applied=""), make_record(status=Status.UNDEPLOYING)],
)
def test_a_record_that_is_behind_the_world_is_settled(record: Record) -> None:
    assert isinstance(
        only(desired(make_wanted()), observed(replace(record, attempted=""), make_live())), Settle
    )


# What the source no longer has -----------------------------------------------------------------


def test_a_spec_that_went_away_is_undeployed_when_prune_is_on() -> None:
    wish = desired(make_wanted("other"))
    because = "hello.json is gone from the source and prune is on"
    assert by_id(planned(wish, deployed("hello", "other"), PRUNE)) == {"hello": Undeploy("hello", because)}


def test_a_spec_that_went_away_is_kept_when_prune_is_off() -> None:
    action = only(desired(), deployed("hello"), KEEP)
    assert isinstance(action, Hold)
    assert action.reason is Reason.PRUNE_BLOCKED
    assert action.because.startswith("hello.json is gone; kept because prune is off (`timewright prune hello")


@pytest.mark.parametrize(("word", "policy", "kind"), [(True, KEEP, Undeploy), (False, PRUNE, Hold)])
def test_a_specs_own_word_on_pruning_wins(word: bool, policy: Policy, kind: type) -> None:
    wish = desired(make_wanted("other"))
    world = observed(make_live("other"), make_record("other"), make_live(prune=word), make_record())
    assert isinstance(only(wish, world, policy), kind)


def test_a_failed_spec_that_never_ran_is_forgotten_when_it_goes() -> None:
    action = only(desired(), observed(failed(False)), KEEP)
    assert action == Undeploy("hello", "hello.json is gone and nothing of it was live")


def test_an_interrupted_undeploy_is_taken_up_again() -> None:
    world = observed(make_record(status=Status.UNDEPLOYING), make_live())
    assert isinstance(by_id(planned(desired(make_wanted("other")), world, PRUNE))["hello"], Undeploy)


def test_an_interrupted_undeploy_waits_while_the_source_is_empty() -> None:
    world = observed(make_record(status=Status.UNDEPLOYING), make_live())
    assert isinstance(only(desired(), world, PRUNE), Hold)


def test_what_is_undeployed_already_needs_nothing() -> None:
    assert planned(desired(), observed(make_record(status=Status.UNDEPLOYED)), PRUNE) == ()


def test_what_runs_without_a_record_is_pruned_like_the_rest() -> None:
    actions = planned(desired(make_wanted("other")), observed(make_live()), PRUNE)
    assert isinstance(by_id(actions)["hello"], Undeploy)


@pytest.mark.parametrize("world", [deployed("hello"), observed(make_record()), observed(failed(False))])
def test_a_source_that_could_not_be_read_completely_removes_nothing(world: Observed) -> None:
    action = only(desired(complete=False), world, PRUNE)
    assert isinstance(action, Hold)
    assert "could not be read completely: the disk is away" in action.because


def test_an_incomplete_source_still_deploys_what_could_be_read() -> None:
    assert isinstance(only(desired(make_wanted(), complete=False), observed()), Deploy)


@pytest.mark.parametrize("live", [("a",), ("a", "b")])
def test_an_empty_source_looks_like_an_accident(live: tuple[str, ...]) -> None:
    """Also where a single workflow is all that runs."""
    for action in planned(desired(), deployed(*live), PRUNE):
        assert isinstance(action, Hold)
        assert "the source is empty" in action.because


def test_a_file_that_cannot_be_read_may_be_the_spec_that_is_missing() -> None:
    """Renamed while it was half written, say."""
    wish = desired(make_wanted("other"), make_broken("elsewhere.json"))
    action = by_id(planned(wish, deployed("hello", "other"), PRUNE))["hello"]
    assert isinstance(action, Hold)
    assert action.reason is Reason.PRUNE_BLOCKED
    assert "elsewhere.json can't be read, and may be its spec" in action.because


def test_a_broken_policy_is_nobodys_spec() -> None:
    wish = desired(make_wanted("other"), make_broken("all.policy.yaml"))
    assert isinstance(by_id(planned(wish, deployed("hello", "other"), PRUNE))["hello"], Undeploy)


def test_a_broken_file_of_another_workflow_holds_no_removal_up() -> None:
    wish = desired(make_wanted("other"), make_broken("b.json", "b"))
    assert isinstance(by_id(planned(wish, deployed("hello", "other", "b"), PRUNE))["hello"], Undeploy)


def test_an_empty_source_that_is_meant_undeploys_everything() -> None:
    actions = planned(desired(), deployed("a", "b"), Policy(prune=True, allow_empty=True))
    assert [type(action) for action in actions] == [Undeploy, Undeploy]


@pytest.mark.parametrize(("gone", "kind"), [(1, Undeploy), (2, Undeploy), (3, Hold)])
def test_more_removals_at_once_than_allowed_are_held_back(gone: int, kind: type) -> None:
    ids = [f"w{number:02}" for number in range(20)]
    actions = planned(desired(*map(make_wanted, ids[gone:])), deployed(*ids), Policy(True, max_deletes=0.1))
    assert [type(action) for action in actions] == [kind] * gone


def test_what_is_kept_anyway_does_not_count_as_removed() -> None:
    kept = deployed("a", "b", "c", prune=False)
    world = observed(*kept.records.values(), *kept.live.values(), make_record("d"), make_live("d"))
    actions = by_id(planned(desired(make_wanted("e")), world, PRUNE))
    assert isinstance(actions["d"], Undeploy)
    assert isinstance(actions["a"], Hold)


def test_a_file_that_is_being_written_is_neither_there_nor_gone() -> None:
    assert planned(desired(settling=["hello.json"]), deployed("hello", "b"), KEEP)[0].workflow_id == "b"
    assert planned(desired(settling=["hello.json"]), deployed("hello"), PRUNE) == ()


# Broken files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow_id", [None, "hello"])
def test_a_broken_file_of_a_known_workflow_is_a_failure_and_no_removal(workflow_id: str | None) -> None:
    action = only(desired(make_broken(workflow_id=workflow_id)), deployed("hello"), PRUNE)
    assert isinstance(action, Refuse)
    assert action.workflow_id == "hello"
    assert action.because == "hello.json is refused: workflowId: is missing"


def test_a_broken_file_that_nobody_owns_is_refused_by_its_name() -> None:
    action = only(desired(make_broken("x.json")), observed())
    assert isinstance(action, Refuse)
    assert (action.workflow_id, action.source) == (None, "x.json")


def test_a_file_that_broke_after_its_spec_moved_on_is_nobodys() -> None:
    wish = desired(make_wanted(source="moved.json"), make_broken("hello.json"))
    actions = by_id(planned(wish, deployed("hello"), PRUNE))
    assert isinstance(actions["hello"], Settle)
    assert isinstance(actions[None], Refuse)


def test_a_broken_file_belongs_to_the_workflow_that_it_last_held() -> None:
    world = observed(
        make_record("z-old", source="x.json", status=Status.UNDEPLOYED, read_at=1.0),
        make_record("a-new", source="x.json", read_at=2.0),
        make_live("a-new"),
    )
    actions = planned(desired(make_broken("x.json"), make_wanted("b")), world, PRUNE)
    assert not [action for action in actions if isinstance(action, Undeploy)]
    assert isinstance(by_id(actions)["a-new"], Refuse)


# Twins -----------------------------------------------------------------------------------------


def test_two_files_with_one_id_are_both_refused_each_naming_the_other() -> None:
    wish = desired(make_wanted(source="a.json"), make_wanted(source="b.json", version="v2"))
    action = only(wish, deployed("hello"), PRUNE)
    assert isinstance(action, Refuse)
    assert action.reason is Reason.DUPLICATE_WORKFLOW_ID
    assert action.because == "a.json is refused: its workflowId 'hello' is also used by b.json"


def test_ids_that_differ_only_in_case_are_both_refused() -> None:
    wish = desired(make_wanted("hello", source="a.json"), make_wanted("Hello", source="b.json"))
    actions = by_id(planned(wish, observed()))
    assert {key: type(action) for key, action in actions.items()} == {"hello": Refuse, "Hello": Refuse}
    assert actions["Hello"].because == "b.json is refused: its workflowId 'Hello' is also used by a.json"


@pytest.mark.parametrize("broken_id", ["hello", "Hello"])
def test_a_broken_file_claims_its_id_as_well_as_a_whole_one(broken_id: str) -> None:
    wish = desired(make_wanted(source="a.json"), make_broken("b.json", broken_id))
    actions = planned(wish, deployed("hello"), PRUNE)
    assert {action.workflow_id for action in actions} == {"hello", broken_id}
    assert all(isinstance(action, Refuse) and "is also used by" in action.because for action in actions)


def test_two_broken_files_of_one_id_are_one_failure() -> None:
    action = only(desired(make_broken("a.json", "hello"), make_broken("b.json", "hello")), observed())
    assert isinstance(action, Refuse)
    assert "is missing" in " ".join(map(str, action.problems))


# Clashes ---------------------------------------------------------------------------------------

TYPE: Any = {"workflow_types": ("run",)}
ACTIVITY: Any = {"activity_names": ("charge",)}


@pytest.mark.parametrize(
    ("names", "words"), [(TYPE, "the workflow type 'run'"), (ACTIVITY, "the activity 'charge'")]
)
def test_a_newcomer_loses_a_name_that_is_taken_in_its_pool(names: Any, words: str) -> None:
    wish = desired(make_wanted("old", **names), make_wanted("new", **names))
    action = only(wish, observed(make_record("old"), make_live("old", **names)))
    assert isinstance(action, Refuse)
    assert (action.workflow_id, action.reason) == ("new", Reason.NAME_CONFLICT)
    assert f"{words} is also exported by old on task queue 'default'" in action.because


@pytest.mark.parametrize("names", [TYPE, ACTIVITY])
def test_two_newcomers_with_one_name_both_lose(names: Any) -> None:
    actions = planned(desired(make_wanted("a", **names), make_wanted("b", **names)), observed())
    assert [(type(action), action.workflow_id) for action in actions] == [(Refuse, "a"), (Refuse, "b")]


def test_one_name_on_two_task_queues_is_no_clash() -> None:
    other = Placement("default", "other")
    actions = planned(
        desired(make_wanted("a", **TYPE), make_wanted("b", placement=other, **TYPE)), observed()
    )
    assert [type(action) for action in actions] == [Deploy, Deploy]


def test_a_type_and_an_activity_of_one_name_are_no_clash() -> None:
    wish = desired(make_wanted("a", workflow_types=("x",)), make_wanted("b", activity_names=("x",)))
    assert [type(action) for action in planned(wish, observed())] == [Deploy, Deploy]


def test_who_moves_to_a_queue_where_its_name_is_taken_is_a_newcomer_there() -> None:
    there = Placement("default", "there")
    wish = desired(
        make_wanted("old", placement=there, **TYPE), make_wanted("mover", "v2", placement=there, **TYPE)
    )
    world = observed(
        *(make_record("old"), make_live("old", placement=there, **TYPE)),
        *(make_record("mover"), make_live("mover", **TYPE)),
    )
    assert only(wish, world).workflow_id == "mover"


ALONE = Placement("default", "default", "process")


def test_a_process_of_its_own_can_not_join_a_shared_queue() -> None:
    wish = desired(make_wanted("old"), make_wanted("new", placement=ALONE))
    action = only(wish, deployed("old"))
    assert isinstance(action, Refuse)
    assert action.workflow_id == "new"
    assert "a process of its own needs its own queue" in action.because


def test_a_shared_workflow_can_not_join_the_queue_of_a_process() -> None:
    wish = desired(make_wanted("old", placement=ALONE), make_wanted("new"))
    assert only(wish, deployed("old", placement=ALONE)).workflow_id == "new"


@pytest.mark.parametrize("second", [ALONE, Placement("default", "default")])
def test_two_newcomers_on_one_queue_both_lose_when_one_wants_a_process(second: Placement) -> None:
    wish = desired(make_wanted("a", placement=ALONE), make_wanted("b", placement=second))
    assert [type(action) for action in planned(wish, observed())] == [Refuse, Refuse]


def test_a_process_alone_on_its_queue_is_deployed() -> None:
    assert isinstance(only(desired(make_wanted(placement=ALONE)), observed()), Deploy)


# Any world -------------------------------------------------------------------------------------

ids = st.sampled_from(["a", "b", "A", "c"])
versions = st.sampled_from(["v1", "v2"])
placements = st.sampled_from([Placement("n", "q"), Placement("n", "q", "process"), Placement("n", "r")])
names = st.lists(st.sampled_from(["run", "go"]), unique=True, max_size=2).map(tuple)
sources = st.sampled_from(["1.json", "2.json", "3.json", "4.json", "5.json"])
flags = st.none() | st.booleans()

wanted_items = st.builds(
    make_wanted,
    ids,
    versions,
    source=sources,
    placement=placements,
    workflow_types=names,
    prune=flags,
    asked=versions.map(lambda version: f"word {version}"),
    depends_on=st.lists(ids, max_size=2).map(tuple),
    suspend=st.booleans(),
)
broken_items = st.builds(make_broken, sources, st.none() | ids)
live_items = st.builds(
    make_live, ids, versions, placement=placements, workflow_types=names, pooled=st.booleans(), prune=flags
)
failures = st.none() | st.builds(Failure, st.sampled_from(Reason), st.just("no"), transient=st.booleans())
release = versions.map(lambda version: digest(f"a {version}"))
pins = st.builds(
    Pin,
    st.sampled_from(Pinned),
    release,
    st.just("ann"),
    st.just(NOW),
    against=st.sampled_from(["", "word v1"]),
    until=st.none() | st.floats(NOW - 10, NOW + 10),
).map(lambda pin: replace(pin, digest="") if pin.kind is Pinned.UNDEPLOY else pin)
suspensions = st.builds(
    Suspension, st.just("ann"), st.just(NOW), until=st.none() | st.floats(NOW - 10, NOW + 10)
)
decided = {
    "pin": st.none() | pins,
    "suspension": st.none() | suspensions,
    "request": st.none() | st.builds(Asked, st.just("ann"), st.just(NOW), force=st.booleans()),
    "condemned": st.sampled_from(["", "it crashed"]),
    "drift": st.sampled_from([(), ("dist/a.js was changed",), ("dist/a.js is missing",)]),
    "missing_since": st.none() | st.floats(NOW - 10, NOW),
    "prune_by": st.sampled_from(["", "ann"]),
    "depends_on": st.lists(ids, max_size=2).map(tuple),
    "health": st.sampled_from(Health),
}
records = st.builds(
    make_record,
    ids,
    versions,
    status=st.sampled_from(Status),
    source=sources,
    failure=failures,
    retry_at=st.none() | st.floats(NOW - 10, NOW + 10),
    held=st.sampled_from(["", "why"]),
    applied=release | st.just(""),
    **decided,
)
busy = st.dictionaries(ids, st.sampled_from(["", digest("a v1"), digest("b v1")]), max_size=1)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Wanted | Broken], list[Live | Record], dict[str, str], set[str]]:
    files = draw(st.lists(wanted_items | broken_items, max_size=6, unique_by=lambda item: item.source))
    kinds = draw(
        st.lists(live_items | records, max_size=8, unique_by=lambda item: (type(item), item.workflow_id))
    )
    settling = draw(st.sets(sources, max_size=2)) - {item.source for item in files}
    return files, kinds, draw(busy), settling


policies = st.builds(
    Policy, st.booleans(), st.floats(0, 1), st.booleans(), st.sampled_from([0.0, 5.0]), st.booleans()
)
bad = st.dictionaries(st.tuples(ids, release), st.just("it crashed"), max_size=1)
earlier = st.dictionaries(ids, release | st.just(""), max_size=2)


@given(worlds(), st.booleans(), policies, bad, earlier, st.none() | suspensions, st.randoms())
def test_in_any_world_the_plan_is_sound(
    world: Any,
    complete: bool,
    policy: Policy,
    bad: dict[tuple[str, str], str],
    earlier: dict[str, str],
    suspension: Suspension | None,
    chance: random.Random,
) -> None:
    files, kinds, at_work, settling = world

    def seen() -> Observed:
        state = observed(*kinds, busy=at_work)
        return replace(state, bad=bad, earlier=earlier, suspension=suspension)

    wish = desired(*files, complete=complete, settling=settling)
    state = seen()
    actions = plan(wish, state, policy, NOW)

    owners = [action.workflow_id for action in actions if action.workflow_id is not None]
    assert len(owners) == len(set(owners)), "at most one action a workflow"
    assert all(action.because for action in actions)

    records, alive = state.records, state.live
    by_hand = {
        record.workflow_id for record in records.values() if record.pin and record.pin.kind is Pinned.UNDEPLOY
    }
    confirmed = {record.workflow_id for record in records.values() if record.prune_by}
    removed = {action.workflow_id for action in actions if isinstance(action, Undeploy)} - by_hand
    assert complete or not removed, "an incomplete source removes nothing"
    assert not removed & {item.workflow_id for item in files}, "what the source names is not removed"
    for workflow_id in (removed & alive.keys()) - confirmed:
        assert alive[workflow_id].prune is not False
        assert policy.prune or alive[workflow_id].prune
    if not policy.allow_empty:
        swept = (removed & alive.keys()) - confirmed
        assert len(swept) <= max(1, int(len(alive) * policy.max_deletes))
    rewritten = {i.workflow_id for i in kinds if isinstance(i, Record) and i.source in settling}
    assert not removed & rewritten, "a file that is being written is not gone"

    held = {
        workflow_id
        for workflow_id in (*records, *alive)
        if suspension_of(records.get(workflow_id) or Record(workflow_id), suspension, NOW)
    }
    for action in actions:
        record = records.get(action.workflow_id or "") or Record("")
        asked = record.request or record.pin or record.prune_by
        if action.workflow_id in held and not asked:
            assert isinstance(action, Hold | Settle | Clear), "what is suspended is left alone"
        if isinstance(action, Deploy) and not (record.request and record.request.force):
            assert (action.workflow_id, action.wanted.digest) not in bad, "what was reverted is not deployed"
        if isinstance(action, Rollback):
            assert record.pin is not None
            assert record.pin.digest == action.digest, "a rollback goes where its pin says"
        if isinstance(action, Revert):
            assert record.condemned
            assert action.digest == earlier[action.workflow_id]

    chance.shuffle(files)
    chance.shuffle(kinds)
    again = plan(desired(*files, complete=complete, settling=settling), seen(), policy, NOW)
    assert sorted(map(repr, again)) == sorted(map(repr, actions)), "the order of the input says nothing"


@given(worlds())
def test_every_wanted_spec_is_deployed_settled_refused_or_in_order(world: Any) -> None:
    files, kinds, at_work, settling = world
    state = observed(*kinds, busy=at_work)
    actions = by_id(plan(desired(*files, settling=settling), state, PRUNE, NOW))
    for spec in (item for item in files if isinstance(item, Wanted)):
        live, record = state.live.get(spec.workflow_id), state.records.get(spec.workflow_id)
        in_order = live is not None and live.digest == spec.digest and live.pooled
        waiting = (
            record is not None and record.status is Status.DEPLOYMENT_FAILED and record.failure is not None
        )
        pinned = record is not None and record.pin is not None
        busy_with_it = at_work.get(spec.workflow_id) == spec.digest
        assert spec.workflow_id in actions or in_order or waiting or busy_with_it or pinned
