"""A plan for a few is the plan for all, as far as it goes; where it can't be told alone there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from timewright.core.actions import Action, Deploy, Rollback
from timewright.core.digest import Placement
from timewright.core.nearby import AtRest, plan_again, plan_nearby
from timewright.core.plan import plan, plan_all
from timewright.core.state import Asked, Health, Pin, Pinned, Status, Suspension
from timewright.core.worlds import Broken, Live, Observed, Policy, Wanted

from tests.core.test_plan import bad, earlier, policies, suspensions, worlds
from tests.support import (
    KEEP,
    NOW,
    deployed,
    desired,
    digest,
    make_broken,
    make_live,
    make_record,
    make_wanted,
    observed,
)

ALONE: dict[str, Any] = {"workflow_types": ("order",), "activity_names": ("send",)}


def few(state: Observed, *workflow_ids: str) -> Observed:
    """What a pass over these looks at."""

    def only(known: Any) -> dict[str, Any]:
        return {name: known[name] for name in workflow_ids if name in known}

    return replace(
        state,
        records=only(state.records),
        live=only(state.live),
        busy=only(state.busy),
        earlier={},
        executions={},
    )


def nearby(
    new: Wanted, old: Sequence[Wanted | Broken], state: Observed, policy: Policy = KEEP, **changes: Any
) -> tuple[tuple[Action, ...] | None, tuple[Action, ...]]:
    """The plan for `new` alone, after one over what was there before; and its share of one over all."""
    before = desired(*old, **changes)
    _, standing = plan_all(before, state, policy, NOW)
    now = desired(*[new if item.source == new.source else item for item in old], **changes)
    found = plan_nearby([new], standing, now, few(state, new.workflow_id), policy, NOW)
    whole = plan(now, state, policy, NOW)
    return found, tuple(action for action in whole if action.workflow_id == new.workflow_id)


def test_a_changed_spec_is_deployed_as_a_whole_pass_would() -> None:
    old = [make_wanted("a", **ALONE), make_wanted("b")]
    found, whole = nearby(make_wanted("a", "v2", **ALONE), old, deployed("a", "b"))
    assert found == whole
    assert [type(action) for action in whole] == [Deploy]


def test_what_has_not_changed_needs_nothing() -> None:
    assert nearby(make_wanted("a"), [make_wanted("a")], deployed("a")) == ((), ())


def test_what_is_under_way_for_it_already_is_left_alone() -> None:
    state = replace(deployed("a"), busy={"a": digest("a v2")})
    assert nearby(make_wanted("a", "v2"), [make_wanted("a")], state) == ((), ())


def test_another_word_ends_a_rollback() -> None:
    pin = Pin(Pinned.ROLLBACK, digest("a v0"), "ann", NOW, "", against="said")
    record = make_record("a", "v0", status=Status.ROLLED_BACK, pin=pin)
    state = observed(record, make_live("a", "v0"))
    found, whole = nearby(make_wanted("a", "v2", asked="new"), [make_wanted("a", asked="said")], state)
    assert found == whole
    assert [type(action) for action in whole] == [Deploy]


def test_a_rollback_that_was_asked_for_is_planned_alone() -> None:
    pin = Pin(Pinned.ROLLBACK, digest("a v0"), "ann", NOW, "", against="said")
    state = observed(make_record("a", pin=pin), make_live("a"))
    spec = make_wanted("a", asked="said")
    found, whole = nearby(spec, [spec, make_wanted("b")], state)
    assert found == whole
    assert [type(action) for action in whole] == [Rollback]


def test_what_a_person_asked_for_goes_on_while_all_is_suspended() -> None:
    asked = make_record("a", request=Asked("ann", NOW, "", force=True))
    state = replace(observed(asked, make_live("a")), suspension=Suspension("bob", NOW, ""))
    found, whole = nearby(make_wanted("a"), [make_wanted("a")], state)
    assert found == whole
    assert [type(action) for action in whole] == [Deploy]


@pytest.mark.parametrize(
    "new",
    [
        make_wanted("new"),
        make_wanted("a", "v2", workflow_types=("other",)),
        make_wanted("a", "v2", activity_names=("other",)),
        make_wanted("a", "v2", placement=Placement("default", "elsewhere")),
        make_wanted("a", "v2", depends_on=("b",)),
        make_wanted("a", "v2", source="elsewhere.json"),
        make_wanted("a", "v2", suspend=True),
    ],
    ids=["new", "its types", "its activities", "its queue", "what it needs", "its file", "its suspension"],
)
def test_what_others_may_have_a_say_in_takes_a_whole_pass(new: Wanted) -> None:
    old = [make_wanted("a"), make_wanted("b"), make_wanted("elsewhere", source="x.json")]
    found, _ = nearby(new, old, deployed("a", "b"))
    assert found is None


def test_what_needs_others_takes_a_whole_pass() -> None:
    old = [make_wanted("a", depends_on=("b",)), make_wanted("b")]
    found, whole = nearby(make_wanted("a", "v2", depends_on=("b",)), old, deployed("a", "b"))
    assert found is None
    assert whole


@pytest.mark.parametrize(
    "old",
    [
        [make_wanted("a", **ALONE), make_wanted("a", source="twin.json", **ALONE)],
        [make_wanted("a", **ALONE), make_wanted("b", workflow_types=("order",))],
        [make_wanted("a", **ALONE), make_broken("b.json", "a")],
    ],
    ids=["a twin", "a name that clashes", "a broken twin"],
)
def test_what_was_refused_for_anothers_sake_takes_a_whole_pass(old: list[Wanted | Broken]) -> None:
    found, _ = nearby(make_wanted("a", "v2", **ALONE), old, observed())
    assert found is None


def test_a_revert_takes_a_whole_pass() -> None:
    state = observed(make_record("a", condemned="it crashed"), make_live("a"))
    found, whole = nearby(make_wanted("a"), [make_wanted("a")], replace(state, earlier={"a": digest("a v0")}))
    assert found is None
    assert whole


def test_an_undeploy_takes_a_whole_pass() -> None:
    """What it has open was not asked."""
    pin = Pin(Pinned.UNDEPLOY, "", "ann", NOW, "")
    state = observed(make_record("a", pin=pin), make_live("a"))
    found, whole = nearby(make_wanted("a"), [make_wanted("a")], state)
    assert found is None
    assert whole


@settings(max_examples=300)
@given(worlds(), st.data(), st.booleans(), policies, bad, earlier, st.none() | suspensions)
def test_in_any_world_it_is_the_whole_plans_share(
    world: Any,
    data: st.DataObject,
    complete: bool,
    policy: Policy,
    bad: dict[tuple[str, str], str],
    earlier: dict[str, str],
    suspension: Suspension | None,
) -> None:
    files, kinds, at_work, settling = world
    items: list[Live | Any] = kinds
    state = replace(observed(*items, busy=at_work), bad=bad, earlier=earlier, suspension=suspension)
    if data.draw(st.booleans()):  # else hardly any is left that needs no other
        files = [replace(i, depends_on=(), suspend=False) if isinstance(i, Wanted) else i for i in files]
    specs = [item for item in files if isinstance(item, Wanted)]
    if not specs:
        return
    old = data.draw(st.sampled_from(specs))
    version = data.draw(st.sampled_from(["v1", "v2", "v3"]))
    word = data.draw(st.sampled_from([old.asked, "another word"]))
    new = replace(old, digest=digest(f"{old.workflow_id} {version}"), content=version, asked=word)
    found, whole = nearby(new, files, state, policy, complete=complete, settling=settling)
    event("a whole pass" if found is None else f"{len(found)} actions")
    if found is not None:
        assert sorted(map(repr, found)) == sorted(map(repr, whole))


# What has changed since all was at rest ----------------------------------------------------------

NAMES = ("a", "b", "c", "d")
_SPECS: list[dict[str, Any]] = [
    *({"digest": digest(f"a v{number}"), "content": f"v{number}"} for number in (2, 3)),
    {"asked": "another word"},
    {"owner": "team"},
    {"workflow_types": ("other",)},
    {"placement": Placement("default", "elsewhere")},
    {"suspend": True},
    {"depends_on": ("b",)},
    {"prune": True},
]
_RECORDS: list[dict[str, Any]] = [
    {"health": Health.HEALTHY},
    {"proven": "x", "trial_until": NOW + 9},
    {"condemned": "it crashed"},
    {"drift": ("src/x.ts is missing",)},
    {"drift": ("src/x.ts was changed",)},
    {"applied": digest("another"), "attempted": digest("another")},
    {"status": Status.DEPLOYING},
    {"status": Status.ROLLED_BACK},
    {"held": "wait", "held_reason": "Suspended"},
    {"missing_since": NOW - 5},
    {"request": Asked("ann", NOW, "", force=False)},
    {"pin": Pin(Pinned.ROLLBACK, digest("a v0"), "ann", NOW, "", against="")},
    {"pin": Pin(Pinned.UNDEPLOY, "", "ann", NOW, "")},
    {"suspension": Suspension("bob", NOW, "")},
    {"owner": "team"},
    {"prune_by": "ann"},
]
_LIVES: list[dict[str, Any]] = [{"pooled": False}, {"digest": digest("by hand")}, {"prune": True}]


def _turned(data: st.DataObject, files: list[Wanted | Broken], state: Observed) -> tuple[Any, Observed]:
    """One thing is otherwise."""
    name = data.draw(st.sampled_from(NAMES))
    kind = data.draw(st.sampled_from(["spec", "spec", "record", "record", "live", "gone", "new", "all"]))
    if kind == "spec":
        changes = data.draw(st.sampled_from(_SPECS))
        files = [replace(i, **changes) if i.workflow_id == name else i for i in files]
    elif kind == "record" and name in state.records:
        changed = replace(state.records[name], **data.draw(st.sampled_from(_RECORDS)))
        state = replace(state, records={**state.records, name: changed})
    elif kind == "live" and name in state.live:
        moved = replace(state.live[name], **data.draw(st.sampled_from(_LIVES)))
        state = replace(state, live={**state.live, name: moved})
    elif kind == "gone":
        what = data.draw(st.sampled_from(["records", "live", "files"]))
        if what == "files":
            files = [item for item in files if item.workflow_id != name]
        else:
            kept: Any = {key: value for key, value in getattr(state, what).items() if key != name}
            state = replace(state, **{what: kept})
    elif kind == "new":
        more: list[Wanted | Broken] = [
            make_wanted("e"),
            make_broken("x.json"),
            make_wanted("a", source="t.json"),
        ]
        files = [*files, data.draw(st.sampled_from(more))]
    else:
        busy = data.draw(st.sampled_from([{}, {name: digest("x")}]))
        state = replace(state, busy=busy, suspension=Suspension("bob", NOW, "") if not busy else None)
    return files, state


@settings(max_examples=500)
@given(st.data(), policies)
def test_since_all_was_at_rest_it_is_the_whole_plan(data: st.DataObject, policy: Policy) -> None:
    files: list[Wanted | Broken] = [
        make_wanted(
            name,
            depends_on=data.draw(st.sampled_from([(), (), (), ("b",)])) if name != "b" else (),
            workflow_types=data.draw(st.sampled_from([(name,), (name,), ("order",)])),
        )
        for name in NAMES
    ]
    healthy = [
        make_record(i.workflow_id or "", health=Health.HEALTHY, depends_on=i.depends_on)
        for i in files
        if isinstance(i, Wanted)
    ]
    state = observed(*healthy, *(make_live(name) for name in NAMES))
    before = desired(*files)
    actions, standing = plan_all(before, state, policy, NOW)
    if actions:
        event("not at rest")
        return
    rest = AtRest(before, state, policy, standing)
    for _ in range(data.draw(st.integers(1, 3))):
        files, state = _turned(data, files, state)
    now = desired(*files)
    found = plan_again(rest, now, state, policy, NOW + 1)
    whole = plan(now, state, policy, NOW + 1)
    event("all over" if found is None else f"{len(found)} actions")
    if found is not None:
        assert sorted(map(repr, found)) == sorted(map(repr, whole))


def test_what_has_nothing_new_since_all_was_at_rest_is_planned_for_nobody() -> None:
    before, state = desired(make_wanted("a"), make_wanted("b")), deployed("a", "b")
    actions, standing = plan_all(before, state, KEEP, NOW)
    assert plan_again(AtRest(before, state, KEEP, standing), before, state, KEEP, NOW) == actions == ()


def test_since_all_was_at_rest_a_changed_spec_alone_is_planned() -> None:
    before, state = desired(make_wanted("a", **ALONE), make_wanted("b")), deployed("a", "b")
    rest = AtRest(before, state, KEEP, plan_all(before, state, KEEP, NOW)[1])
    now = desired(make_wanted("a", "v2", **ALONE), before.wanted[1])
    found = plan_again(rest, now, state, KEEP, NOW)
    assert found == plan(now, state, KEEP, NOW)
    assert [type(action) for action in found or ()] == [Deploy]


@pytest.mark.parametrize("what", ["policy", "busy", "suspension", "bad", "settling", "incomplete"])
def test_what_concerns_all_takes_a_plan_over_all(what: str) -> None:
    before, state = desired(make_wanted("a"), make_wanted("b")), deployed("a", "b")
    rest = AtRest(before, state, KEEP, plan_all(before, state, KEEP, NOW)[1])
    changes: dict[str, dict[str, Any]] = {
        "busy": {"busy": {"a": "x"}},
        "suspension": {"suspension": Suspension("bob", NOW, "")},
        "bad": {"bad": {("a", digest("x")): "it crashed"}},
    }
    sources: dict[str, dict[str, Any]] = {"settling": {"settling": ["x"]}, "incomplete": {"complete": False}}
    policy = replace(KEEP, heal=True) if what == "policy" else KEEP
    now = desired(*before.wanted, **sources.get(what, {}))
    assert plan_again(rest, now, replace(state, **changes.get(what, {})), policy, NOW) is None
