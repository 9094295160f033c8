"""What a change of a repository would do, by the planner itself: one state of it taken as what is live,
another one as what is asked for. Nothing of the repository runs, and nothing is compiled."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from timewright.core.actions import Action, Deploy, Hold, Refuse, Settle, Undeploy
from timewright.core.commits import Commit
from timewright.core.errors import DeployError, Problem, Reason
from timewright.core.plan import plan
from timewright.core.prepare import Host, Prepared, prepare
from timewright.core.spec import peek_workflow_id
from timewright.core.state import Record, Status
from timewright.core.worlds import Broken, Desired, Live, Observed, Policy, Wanted
from timewright.desired import wanted_of
from timewright.diffing import spec_diff
from timewright.edge import source
from timewright.edge.git import Blobs, Git
from timewright.edge.listing import list_commit
from timewright.policies import Policies, PolicyReader, is_policy, refused
from timewright.views import View, action_view, commit_view


@dataclass(frozen=True)
class State:
    """One state of a folder of specs. `title`: what it was asked for as; `prepared`: by workflow id."""

    title: str
    commit: Commit | None
    desired: Desired
    prepared: Mapping[str, Prepared] = field(default_factory=dict)


class StateReader:
    """Reads states of one folder; what two of them share is prepared once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[tuple[str, str, str], tuple[Wanted | Broken, Prepared | None]] = {}

    async def commit(self, git: Git, title: str, sha: str, folder: str) -> State:
        """A commit's specs below `folder`. Raises GitError."""
        blobs = Blobs(git)
        try:
            listed, _ = await list_commit(git, blobs, sha, folder, self._host.limits, {})
            texts = {path: await blobs.read(one.oid) for path, one in listed.items() if one.digest}
        finally:
            await blobs.close()
        seen = [source.Seen(path, None, one.digest, one.problem, 0) for path, one in sorted(listed.items())]
        return await asyncio.to_thread(self._read, title, await git.commit(sha), seen, texts, "")

    async def folder(self, title: str, root: Path) -> State:
        """A folder's specs, as they are now."""
        limits = self._host.limits
        scan = await asyncio.to_thread(source.scan, root, {}, limits=limits, now_ns=time.time_ns())
        texts = {}
        for seen in scan.files:
            if seen.digest is not None:
                texts[seen.path] = source.read_file(root, seen.path, limits).data
        return await asyncio.to_thread(self._read, title, None, scan.files, texts, scan.problem)

    def _read(
        self,
        title: str,
        commit: Commit | None,
        files: Sequence[source.Seen],
        texts: Mapping[str, bytes],
        problem: str,
    ) -> State:
        policies = PolicyReader().read([seen for seen in files if is_policy(seen.path)], texts)
        items: list[Wanted | Broken] = [one for one in policies.broken.values() if one is not None]
        prepared: dict[str, Prepared] = {}
        for seen in files:
            if is_policy(seen.path):
                continue
            item, made = self._one(seen, texts.get(seen.path), policies)
            items.append(item)
            if made is not None and isinstance(item, Wanted):
                prepared[item.workflow_id] = made
        desired = Desired(
            complete=not problem,
            problem=problem,
            wanted=tuple(item for item in items if isinstance(item, Wanted)),
            broken=tuple(item for item in items if isinstance(item, Broken)),
        )
        return State(title, commit, desired, prepared)

    def _one(
        self, seen: source.Seen, data: bytes | None, policies: Policies
    ) -> tuple[Wanted | Broken, Prepared | None]:
        if data is None or seen.digest is None:
            problem = seen.problem or Problem("", "can't be read")
            return Broken(seen.path, str(problem), Reason.INVALID_SPEC, (problem,)), None
        defaults = policies.defaults(seen.path)
        key = (seen.path, seen.digest, repr(defaults))
        if key not in self._known:
            self._known[key] = self._prepare(seen.path, seen.digest, data, policies)
        return self._known[key]

    def _prepare(
        self, path: str, digest: str, data: bytes, policies: Policies
    ) -> tuple[Wanted | Broken, Prepared | None]:
        is_yaml, limits = path.endswith((".yaml", ".yml")), self._host.limits
        defaults = policies.defaults(path)
        if defaults is None:
            workflow_id = peek_workflow_id(data, is_yaml=is_yaml, limits=limits)
            return refused(path, digest, policies.blocking(path) or "", workflow_id), None
        try:
            made = prepare(data, self._host, is_yaml=is_yaml, defaults=dict(defaults))
        except DeployError as error:
            workflow_id = peek_workflow_id(data, is_yaml=is_yaml, limits=limits)
            problems = error.problems or (Problem("", error.message, error.hint),)
            return Broken(path, digest, error.reason, problems, workflow_id), None
        return wanted_of(made, path, digest, defaults), made


def changes(old: State, new: State, policy: Policy, *, with_diff: bool = False) -> View:
    """{from, to, complete, problem, specs, unchanged, actions, pools}: what `new` changes where `old` is
    live. `actions` are views.action_view with `change` (new, update, move, settings, undeploy, hold, refuse)
    and, for an update, `files` and what else differs; a refusal that `old` has as well is `before`. `pools`:
    those whose bundle changes."""
    earlier = [item for item in plan(old.desired, Observed(), policy, 0.0) if isinstance(item, Refuse)]
    refused_before = {item.workflow_id for item in earlier}
    wanted = [spec for spec in old.desired.wanted if spec.workflow_id not in refused_before]
    observed = Observed(
        records={spec.workflow_id: _record(spec) for spec in wanted},
        live={spec.workflow_id: _live(spec) for spec in wanted},
    )
    actions = _all_passes(new.desired, observed, policy)
    known = {(item.workflow_id, item.source, item.content) for item in earlier}
    views = [_view(action, old, new, observed, known, with_diff=with_diff) for action in actions]
    spoken = {action.workflow_id for action in actions}
    order = ("refuse", "undeploy", "update", "new", "move", "settings", "hold")
    views.sort(key=lambda view: (order.index(view["change"]), view["workflowId"] or view.get("source", "")))
    return {
        "from": {"title": old.title, "commit": commit_view(old.commit)},
        "to": {"title": new.title, "commit": commit_view(new.commit)},
        "complete": new.desired.complete,
        "problem": new.desired.problem or None,
        "specs": len(new.desired.wanted),
        "unchanged": sum(spec.workflow_id not in spoken for spec in new.desired.wanted),
        "actions": views,
        "pools": list(_pools(actions, observed.live, new.desired.wanted)),
    }


def _all_passes(desired: Desired, observed: Observed, policy: Policy) -> list[Action]:
    """What the planner does until it does nothing more, one action for each workflow: what waits for another
    one in the first pass (`dependsOn`) has its turn in a later one, and then says what it waited for."""
    records, live = dict(observed.records), dict(observed.live)
    refusals: list[Action] = []
    settled: dict[str, Action] = {}
    waited: dict[str, str] = {}
    while True:
        actions = plan(desired, Observed(records=records, live=live), policy, 0.0)
        refusals = [action for action in actions if isinstance(action, Refuse)]
        held = [action for action in actions if isinstance(action, Hold)]
        done = [action for action in actions if isinstance(action, Deploy | Settle | Undeploy)]
        fresh = [action for action in done if action.workflow_id not in settled]
        for action in fresh:
            _carry_out(action, records, live)
            why = waited.get(action.workflow_id, "")
            settled[action.workflow_id] = (
                replace(action, because=f"{action.because}; {why}") if why else action
            )
        if not fresh:
            return [*refusals, *settled.values(), *(one for one in held if one.workflow_id not in settled)]
        waited |= {action.workflow_id: action.because for action in held}


def _carry_out(action: Deploy | Settle | Undeploy, records: dict[str, Record], live: dict[str, Live]) -> None:
    if isinstance(action, Undeploy):
        records.pop(action.workflow_id, None)
        live.pop(action.workflow_id, None)
    else:
        records[action.workflow_id] = _record(action.wanted)
        live[action.workflow_id] = _live(action.wanted)


def _live(spec: Wanted) -> Live:
    return Live(
        spec.workflow_id,
        spec.digest,
        spec.placement,
        spec.workflow_types,
        spec.activity_names,
        pooled=True,
        prune=spec.prune,
    )


def _record(spec: Wanted) -> Record:
    return Record(
        spec.workflow_id,
        Status.DEPLOYED,
        source=spec.source,
        attempted=spec.digest,
        applied=spec.digest,
        asked=spec.asked,
        owner=spec.owner,
        depends_on=spec.depends_on,
        prune=spec.prune,
        auto_revert=spec.auto_revert,
    )


def _view(
    action: Action,
    old: State,
    new: State,
    observed: Observed,
    known: Collection[tuple[str | None, str, str]],
    *,
    with_diff: bool,
) -> View:
    view = {**action_view(action), "change": _change(action, observed)}
    view.pop("release", None)  # no host has it: the compilers, which are part of its name, aren't asked here
    if isinstance(action, Refuse):
        view["before"] = (action.workflow_id, action.source, action.content) in known
    if isinstance(action, Deploy | Settle):
        view["because"] = _because(action, view["change"])
        view["source"] = action.wanted.source
    if isinstance(action, Deploy):
        view["pool"] = action.wanted.placement.pool
        before, after = (state.prepared.get(action.workflow_id) for state in (old, new))
        if view["change"] == "update" and before is not None and after is not None:
            diff = spec_diff(before, after)
            if not with_diff:
                diff["files"] = [{key: one[key] for key in ("path", "change")} for one in diff["files"]]
            view |= diff
    return view


def _change(action: Action, observed: Observed) -> str:
    if isinstance(action, Deploy):
        return "update" if action.workflow_id in observed.live else "new"
    if isinstance(action, Settle):
        before = observed.records.get(action.workflow_id)
        return "move" if before is not None and before.source != action.wanted.source else "settings"
    words = {Undeploy: "undeploy", Refuse: "refuse"}
    return words.get(type(action), "hold")


def _because(action: Deploy | Settle, change: str) -> str:
    """The planner's words, without the names of releases that it makes of what only a host knows."""
    if change == "settings":
        return f"{action.wanted.source} changed how it is rolled out, not its release"
    return re.sub(r": release [0-9a-f]+ → [0-9a-f]+(?=;|$)", "", action.because)


def _pools(
    actions: Sequence[Action], live: Mapping[str, Live], wanted: Sequence[Wanted]
) -> Iterator[dict[str, Any]]:
    """Shared pools that get another bundle, and who else is in them."""
    touched: dict[str, set[str]] = defaultdict(set)
    for action in actions:
        if isinstance(action, Deploy) and action.wanted.placement.isolation == "shared":
            touched[action.wanted.placement.pool].add(action.workflow_id)
        before = live.get(action.workflow_id or "")
        if (
            before is not None
            and isinstance(action, Deploy | Undeploy)
            and before.placement.isolation == "shared"
        ):
            touched[before.placement.pool].add(before.workflow_id)
    for pool in sorted(touched):
        members = {spec.workflow_id for spec in wanted if spec.placement.pool == pool}
        yield {"pool": pool, "changed": sorted(touched[pool]), "others": sorted(members - touched[pool])}


def policy_of(prune: bool, max_deletes: float) -> Policy:
    """What a merge is planned with: nothing waits, since a commit is whole."""
    return replace(Policy(), prune=prune, max_deletes=max_deletes)
