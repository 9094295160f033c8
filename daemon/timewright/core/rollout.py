"""How a workflow's new code gets its executions: `deploy.rollout`, `versioning`, `replay`, `onUndeploy`.

Pure values. `RolloutReader` reads them out of a spec; `merge` says what becomes of a pool version that holds
new releases of several workflows: the most careful of their wishes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, Protocol

from timewright.core.document import Path
from timewright.core.durations import seconds_of
from timewright.core.stored import json_of, shaped

MOST_STEPS: Final = 50
_MOST_PAUSE: Final = 30 * 86400.0
_MOST_GATE: Final = 24 * 3600.0
_MOST_INPUT: Final = 64 * 1024  # characters of JSON: it travels with the rollout through Temporal


class Strategy(StrEnum):
    """How a new Version comes to its share of new executions."""

    ALL_AT_ONCE = "AllAtOnce"
    PROGRESSIVE = "Progressive"
    MANUAL = "Manual"
    OFF = "off"  # no Versions: the worker is replaced in place


@dataclass(frozen=True)
class Gate:
    """A workflow that is run on the new Version and has to complete. `timeout`: seconds. `of`: whose gate it
    is (a workflow id). `on_failure`: 'rollback', or 'pause' until a person decides."""

    workflow: str
    argument: Any = None
    timeout: float = 300.0
    on_failure: str = "rollback"
    of: str = ""


@dataclass(frozen=True)
class Step:
    """A share of new executions, for so long. `percent`: above 0, to 100; `pause`: seconds; `gates`: run
    after the pause, before the next share."""

    percent: float
    pause: float = 0.0
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True)
class Watch:
    """What is looked at during each pause. `failure_rate`: failed of closed executions, above that of the
    Version before (0.1 = ten points), once `min_executions` of the new one have closed. `task_failures`: so
    many open executions whose workflow task fails again and again. `query`: PromQL whose value may not be
    above `above`. `check`: the name of an HTTP check of the config."""

    failure_rate: float = 0.1
    min_executions: int = 5
    task_failures: int = 1
    query: str = ""
    above: float = 0.0
    check: str = ""


@dataclass(frozen=True)
class Rollout:
    """What a spec says of it. None and '' mean: the config's default."""

    strategy: Strategy | None = None
    steps: tuple[Step, ...] = ()
    gates: tuple[Gate, ...] = ()  # before any traffic
    watch: Watch = field(default_factory=Watch)
    versioning: str = ""  # PINNED or AUTO_UPGRADE
    replay: str = ""  # off, warn or enforce
    on_undeploy: str = ""  # wait, block or force

    def to_text(self) -> str:
        """Canonical JSON, '' where nothing is said: what receipts and caches keep."""
        if self == Rollout():
            return ""
        return json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))


@functools.cache  # a few texts, asked for by every deploy for all members of its pool
def rollout_of(text: str) -> Rollout:
    """The other way around. Raises ValueError for a text that isn't one of ours."""
    if not text:
        return Rollout()
    try:
        said = json_of(text)
        found: Rollout = shaped(Rollout, said)
    except ValueError as error:
        raise ValueError(f"not a rollout: {error}") from None
    if lacks := [item.name for item in fields(Rollout) if item.name not in said]:
        raise ValueError(f"not a rollout: it has no {lacks[0]}")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


# Several workflows, one pool version ------------------------------------------------------------


def merge(wishes: Mapping[str, Rollout], default: Strategy) -> Rollout:
    """What is done for a pool version in which these workflows (by id) have new workflow code. The most
    careful strategy wins: Manual, else Progressive with the smallest first share, else AllAtOnce; all gates
    are run; the strictest watch looks. `off` in a pool of Versions means AllAtOnce."""
    ordered = [_owned(workflow_id, wishes[workflow_id]) for workflow_id in sorted(wishes)]
    if not ordered:
        return Rollout(Strategy.ALL_AT_ONCE)
    leader = max(ordered, key=lambda one: _care(one, default))
    gates = tuple(gate for one in ordered for gate in one.gates)
    steps = tuple(
        Step(step.percent, step.pause, (*step.gates, *_others(ordered, leader))) if step.gates else step
        for step in leader.steps
    )
    strategy = leader.strategy or default
    if strategy is Strategy.OFF:
        strategy = Strategy.ALL_AT_ONCE
    strictest = min(ordered, key=lambda one: (one.watch.failure_rate, one.watch.min_executions))
    looking = next((one.watch for one in ordered if one.watch.query or one.watch.check), strictest.watch)
    watch = Watch(
        failure_rate=strictest.watch.failure_rate,
        min_executions=strictest.watch.min_executions,
        task_failures=min(one.watch.task_failures for one in ordered),
        query=looking.query,
        above=looking.above,
        check=looking.check,
    )
    return Rollout(strategy, steps, gates, watch)


def _owned(workflow_id: str, wish: Rollout) -> Rollout:
    """The gates know whose they are: a failed one condemns its own workflow and no other."""

    def mine(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
        return tuple(replace(gate, of=workflow_id) for gate in gates)

    return replace(
        wish,
        gates=mine(wish.gates),
        steps=tuple(replace(step, gates=mine(step.gates)) for step in wish.steps),
    )


def _others(ordered: Iterable[Rollout], leader: Rollout) -> tuple[Gate, ...]:
    return tuple(gate for one in ordered if one is not leader for gate in one.gates)


def _care(wish: Rollout, default: Strategy) -> tuple[int, float]:
    strategy = wish.strategy or default
    order = {Strategy.OFF: 0, Strategy.ALL_AT_ONCE: 1, Strategy.PROGRESSIVE: 2, Strategy.MANUAL: 3}
    return order[strategy], -(wish.steps[0].percent if wish.steps else 100.0)


# Reading ----------------------------------------------------------------------------------------

_ROLLOUT_KEYS = ("strategy", "steps", "gate", "watch")
_STEP_KEYS = ("rampPercentage", "pause", "gate")
_GATE_KEYS = ("workflow", "input", "timeout", "onFailure")
_WATCH_KEYS = ("failureRate", "minExecutions", "taskFailures", "query", "above", "check")


class _Problems(Protocol):
    def __call__(self, path: Path, message: str, hint: str = "") -> None: ...


class RolloutReader:
    """Reads the keys of a deploy block that this module knows. `problem` takes what is wrong."""

    def __init__(self, problem: _Problems) -> None:
        self._problem = problem

    def read(self, block: Mapping[str, Any]) -> Rollout:
        wish = self._rollout(block.get("rollout"))
        return Rollout(
            *wish,
            versioning=self._word(block, ("deploy",), "versioning", ("PINNED", "AUTO_UPGRADE")),
            replay=self._word(block, ("deploy",), "replay", ("off", "warn", "enforce")),
            on_undeploy=self._word(block, ("deploy",), "onUndeploy", ("wait", "block", "force")),
        )

    def _rollout(self, value: Any) -> tuple[Strategy | None, tuple[Step, ...], tuple[Gate, ...], Watch]:
        path: Path = ("deploy", "rollout")
        none = (None, (), (), Watch())
        if value is None:
            return none
        if isinstance(value, str):  # the short form: only the strategy
            value = {"strategy": value}
        if not self._is_object(value, path, _ROLLOUT_KEYS):
            return none
        names = tuple(str(one) for one in Strategy)
        word = self._word(value, path, "strategy", names)
        strategy = Strategy(word) if word else None
        gate = self._gate(value.get("gate"), (*path, "gate"))
        steps = self._steps(value.get("steps"), (*path, "steps"), gate)
        if steps and strategy is None:
            strategy = Strategy.PROGRESSIVE
        if steps and strategy not in (Strategy.PROGRESSIVE, Strategy.MANUAL):
            self._problem((*path, "steps"), f"{strategy} has no steps", "use Progressive, or remove them")
        if strategy is Strategy.PROGRESSIVE and not steps:
            self._problem(
                (*path, "steps"), "Progressive needs steps", 'e.g. [{"rampPercentage": 10, "pause": "5m"}]'
            )
        if strategy is Strategy.OFF and gate is not None:
            self._problem((*path, "gate"), "a gate needs Versions: strategy is off")
        return strategy, steps, (gate,) if gate else (), self._watch(value.get("watch"), (*path, "watch"))

    def _steps(self, value: Any, path: Path, gate: Gate | None) -> tuple[Step, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > MOST_STEPS:
            self._problem(path, f"must be a list of at most {MOST_STEPS} steps")
            return ()
        steps: list[Step] = []
        for index, row in enumerate(value):
            at = (*path, index)
            if not self._is_object(row, at, _STEP_KEYS):
                continue
            percent = self._number(row, at, "rampPercentage", 0.0, 0.01, 100.0, required=True)
            if steps and percent <= steps[-1].percent:
                self._problem(
                    (*at, "rampPercentage"), f"must be above {steps[-1].percent:g}, the step before"
                )
            pause = self._span(row, at, "pause", 0.0, _MOST_PAUSE)
            steps.append(Step(percent, pause, self._step_gate(row.get("gate"), (*at, "gate"), gate)))
        return tuple(steps)

    def _step_gate(self, value: Any, path: Path, gate: Gate | None) -> tuple[Gate, ...]:
        """true and nothing: the rollout's gate; false: none here; an object: one of its own."""
        if value is False:
            return ()
        if value is None or value is True:
            if value is True and gate is None:
                self._problem(path, "there is no rollout.gate that could be run here", "add one")
            return (gate,) if gate else ()
        own = self._gate(value, path)
        return (own,) if own else ()

    def _gate(self, value: Any, path: Path) -> Gate | None:
        if value is None:
            return None
        if isinstance(value, str):
            value = {"workflow": value}
        if not self._is_object(value, path, _GATE_KEYS):
            return None
        name = value.get("workflow")
        if not isinstance(name, str) or not name.strip() or len(name) > 200:
            self._problem((*path, "workflow"), "must name a workflow type of the task queue")
            return None
        if len(json.dumps(value.get("input"))) > _MOST_INPUT:
            self._problem((*path, "input"), f"is more than {_MOST_INPUT // 1024} KiB of JSON")
        failure = self._word(value, path, "onFailure", ("rollback", "pause")) or "rollback"
        return Gate(name, value.get("input"), self._span(value, path, "timeout", 300.0, _MOST_GATE), failure)

    def _watch(self, value: Any, path: Path) -> Watch:
        if value is None or not self._is_object(value, path, _WATCH_KEYS):
            return Watch()
        texts = {}
        for key in ("query", "check"):
            text = value.get(key)
            if text is not None and not isinstance(text, str):
                self._problem((*path, key), "must be text")
            texts[key] = text if isinstance(text, str) else ""
        if texts["query"] and "above" not in value:
            self._problem((*path, "above"), "is missing: from which value of the query on is it bad?")
        return Watch(
            failure_rate=self._number(value, path, "failureRate", 0.1, 0.0, 1.0),
            min_executions=int(self._number(value, path, "minExecutions", 5, 1, 1_000_000)),
            task_failures=int(self._number(value, path, "taskFailures", 1, 1, 1_000_000)),
            above=self._number(value, path, "above", 0.0, -1e18, 1e18),
            **texts,
        )

    # kinds of values

    def _is_object(self, value: Any, path: Path, keys: tuple[str, ...]) -> bool:
        if not isinstance(value, dict):
            self._problem(path, "must be an object")
            return False
        for key in value:
            if key not in keys:
                close = get_close_matches(str(key), keys, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(keys)}"
                self._problem(
                    (*path, str(key)),
                    f"is not a key of {path[-1] if isinstance(path[-1], str) else 'a step'}",
                    hint,
                )
        return True

    def _word(self, block: Mapping[str, Any], path: Path, key: str, words: tuple[str, ...]) -> str:
        value = block.get(key)
        if value is None:
            return ""
        if value in words:
            return str(value)
        close = get_close_matches(str(value), words, 1, 0.5)
        hint = f"did you mean {close[0]!r}?" if close else ""
        self._problem(
            (*path, key), f"must be {', '.join(words[:-1])} or {words[-1]}, is {value!r}"[:200], hint
        )
        return ""

    def _number(
        self,
        block: Mapping[str, Any],
        path: Path,
        key: str,
        default: float,
        least: float,
        most: float,
        *,
        required: bool = False,
    ) -> float:
        value = block.get(key)
        if value is None and not required:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        self._problem((*path, key), f"must be a number from {least:g} to {most:g}")
        return default if not required else most

    def _span(self, block: Mapping[str, Any], path: Path, key: str, default: float, most: float) -> float:
        value = block.get(key)
        if value is None:
            return default
        seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if isinstance(value, str):
            seconds = seconds_of(value.strip())
        if seconds is None or not 0 <= seconds <= most:
            self._problem(
                (*path, key),
                "must be a span of time: seconds, or 90s, 15m, 2h, 3d",
                f"at most {most / 86400:g}d",
            )
            return default
        return seconds
