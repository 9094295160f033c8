"""`timewright validate FILE…`: are these specs ones that would deploy? Touches nothing."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from timewright.apply import write_sources
from timewright.cli.common import json_option, limits_from
from timewright.cli.formats import ERROR, FORMATS, WARNING, Finding, Result
from timewright.cli.inputs import Input, collect
from timewright.config import Config, load
from timewright.core.deploy import DeployReader
from timewright.core.digest import options_of, place, sha256
from timewright.core.document import Document, Limits, parse, show
from timewright.core.document import Path as Place
from timewright.core.errors import DeployError, Problem, Reason, SpecError
from timewright.core.pack import code_places, plain
from timewright.core.plan import Broken, Desired, Observed, Refuse, Wanted, plan
from timewright.core.plan import Policy as PrunePolicy
from timewright.core.policy import Policy, defaults_for, merge, read_policy
from timewright.core.spec import Spec, peek_workflow_id, read_spec
from timewright.edge.compiler import CompileJob, Compiler
from timewright.edge.source import escape
from timewright.service import make_compiler


@click.command("validate")
@click.option("--parse-only", is_flag=True, help="Check the documents, don't compile them.")
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True, help="For whom."
)
@json_option
@click.argument("files", nargs=-1, required=True)
def command(files: tuple[str, ...], parse_only: bool, strict: bool, form: str, as_json: bool) -> None:
    """Check spec files: document, types, bundle, and against each other.

    FILES: files, folders (all specs and policies in them), or - for standard input. Exit code 1 if
    there are errors. Needs no daemon, server or network.
    """
    config = load()
    results = asyncio.run(check(config, files, parse_only=parse_only))
    if strict:
        results = [replace(result, findings=tuple(map(_strictly, result.findings))) for result in results]
    text = FORMATS["json" if as_json else form](results)
    click.echo(_painted(text) if form == "text" and not as_json else text, nl=False)
    sys.exit(1 if any(result.errors for result in results) else 0)


def _painted(text: str) -> str:
    """With colours, which click takes out again where nobody sees them."""
    for word, colour in (("ok", "green"), ("error", "red")):
        text = re.sub(rf"^{word}(?= )", click.style(word, fg=colour), text, flags=re.MULTILINE)
    return text


def _strictly(finding: Finding) -> Finding:
    return replace(finding, level=ERROR)


@dataclass
class _Case:
    """One document on its way through the checks."""

    given: Input
    document: Document | None = None
    spec: Spec | None = None
    workflow_id: str | None = None
    findings: list[Finding] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)  # where the document has each file

    def error(self, error: DeployError) -> None:
        problems = error.problems or (Problem("", error.message, error.hint),)
        self.findings += [self.place(ERROR, error.reason, problem) for problem in problems]

    def warn(self, text: str) -> None:
        self.findings.append(Finding(WARNING, "Warning", Problem("", text)))

    def place(self, level: str, reason: str, problem: Problem) -> Finding:
        """A problem with its line in the document: its own, or that of the file that it is in."""
        if self.document is not None and not self.places:
            self.places = code_places(self.document.value)
        place = self.places.get(problem.where)
        if self.document is None or place is None:
            return Finding(level, reason, problem, problem.line, problem.column)
        return Finding(level, reason, problem, self.document.line(place), in_code=True)

    def line(self, *places: Place) -> int | None:
        """The line of the first of these places that the document has."""
        lines = (self.document.line(place) for place in places) if self.document else iter(())
        return next((line for line in lines if line is not None), None)


async def check(config: Config, names: Sequence[str], *, parse_only: bool = False) -> list[Result]:
    """What can be told about these files without a server; files in the order in which they were named."""
    limits = limits_from(config)
    cases = [_Case(given) for given in collect(names, config.source_path, limits)]
    policies = [policy for case in cases if (policy := _read_policy(case, limits)) is not None]
    for case in cases:
        if not case.given.is_policy:
            _read(case, limits, policies)
    _cross_check(cases, config)
    readable = [case for case in cases if case.spec is not None]
    if readable and not parse_only:
        await _compile(config, readable)
    return [Result(escape(case.given.name), case.workflow_id, tuple(case.findings)) for case in cases]


# Documents -------------------------------------------------------------------------------------


def _read_policy(case: _Case, limits: Limits) -> Policy | None:
    if not case.given.is_policy or _is_unreadable(case):
        return None
    try:
        return read_policy(case.given.data, case.given.path, limits=limits)
    except SpecError as error:
        case.error(error)
        return None


def _is_unreadable(case: _Case) -> bool:
    if case.given.problem is not None and not case.findings:
        reason = Reason.SOURCE_UNREADABLE if case.given.level == ERROR else "Warning"
        case.findings.append(Finding(case.given.level, reason, case.given.problem))
    return case.given.problem is not None


def _read(case: _Case, limits: Limits, policies: Sequence[Policy]) -> None:
    if _is_unreadable(case):
        return
    data, is_yaml = case.given.data, case.given.is_yaml
    try:
        case.document = parse(data, is_yaml=is_yaml, limits=limits)
        spec = read_spec(data, is_yaml=is_yaml, limits=limits)
    except SpecError as error:
        case.workflow_id = peek_workflow_id(data, is_yaml=is_yaml, limits=limits)
        case.error(error)
        return
    case.workflow_id = spec.workflow_id
    case.spec = _with_defaults(case, spec, policies)
    for text in (*spec.warnings, *options_of(spec).ignored):
        case.warn(text)


def _with_defaults(case: _Case, spec: Spec, policies: Sequence[Policy]) -> Spec:
    """The spec as its folder's policies make it."""
    given, used = defaults_for(case.given.path, policies)
    if not given or case.document is None:
        return spec
    reader = DeployReader()
    own = plain(case.document.value).get("deploy") or {}
    deploy = reader.read(merge(given, own))
    names = ", ".join(Path(name).name for name in used)
    for path, message, hint in reader.problems:
        problem = Problem(show(path), f"{message}; with the defaults of {names}", hint)
        case.findings.append(Finding(ERROR, Reason.INVALID_SPEC, problem, case.line(path, ("deploy",))))
    return replace(spec, deploy=deploy)


# Against each other ----------------------------------------------------------------------------


def _cross_check(cases: Sequence[_Case], config: Config) -> None:
    """What a pass over these files alone would refuse, by the planner's own judgment."""
    desired = Desired(
        complete=True,
        wanted=tuple(_wanted(case, case.spec, config) for case in cases if case.spec is not None),
        broken=tuple(_broken(case) for case in cases if case.spec is None and case.workflow_id is not None),
    )
    refused = [item for item in plan(desired, Observed(), PrunePolicy(), 0.0) if isinstance(item, Refuse)]
    by_name = {case.given.name: case for case in cases}
    for refusal in refused:
        if refusal.reason is Reason.NAME_CONFLICT:
            case = by_name[refusal.source]
            line = case.line(("deploy", "taskQueue"), ("deploy",))
            case.findings += [Finding(ERROR, refusal.reason, problem, line) for problem in refusal.problems]
    if any(refusal.reason is Reason.DUPLICATE_WORKFLOW_ID for refusal in refused):
        _name_twins(cases)


def _name_twins(cases: Sequence[_Case]) -> None:
    """The planner refuses all files of an id in one go; each of them is to name the others."""
    owners: Mapping[str, list[_Case]] = defaultdict(list)
    for case in cases:
        if case.workflow_id is not None:
            owners[case.workflow_id.casefold()].append(case)
    for twins in owners.values():
        for case in twins if len(twins) > 1 else ():
            others = ", ".join(twin.given.name for twin in twins if twin is not case)
            message = f"{case.workflow_id!r} is also used by {others}"
            problem = Problem("workflowId", message, "give one of them another workflowId")
            line = case.line(("workflowId",), ("workflow_id",), ("data", "workflowId"))
            case.findings.append(Finding(ERROR, Reason.DUPLICATE_WORKFLOW_ID, problem, line))


def _wanted(case: _Case, spec: Spec, config: Config) -> Wanted:
    defaults = config.temporal
    content = sha256(case.given.data)
    return Wanted(
        workflow_id=spec.workflow_id,
        source=case.given.name,
        content=content,
        digest=content,
        placement=place(spec, namespace=defaults.namespace, task_queue=defaults.task_queue),
        workflow_types=spec.workflow_types,
        activity_names=spec.activity_names,
    )


def _broken(case: _Case) -> Broken:
    return Broken(case.given.name, sha256(case.given.data), Reason.INVALID_SPEC, (), case.workflow_id)


# Code ------------------------------------------------------------------------------------------


async def _compile(config: Config, cases: Sequence[_Case]) -> None:
    with tempfile.TemporaryDirectory(prefix="timewright-") as scratch:
        compiler = make_compiler(config, Path(scratch, "cache"))
        await compiler.start()
        try:
            for number, (case, spec) in enumerate(_specs(cases)):
                try:
                    for text in await _compile_one(compiler, config, spec, Path(scratch, str(number))):
                        case.warn(text)
                except DeployError as error:
                    case.error(error)
        finally:
            await compiler.close()


def _specs(cases: Sequence[_Case]) -> Iterator[tuple[_Case, Spec]]:
    return ((case, case.spec) for case in cases if case.spec is not None)


async def _compile_one(compiler: Compiler, config: Config, spec: Spec, build: Path) -> tuple[str, ...]:
    """Compile one spec; returns the compiler's warnings. Raises DeployError."""
    build.mkdir()
    write_sources(build, spec, str(config.toolchain_path / "node_modules"))
    job = CompileJob(build, spec.workflows, spec.activities, spec.worker)
    return (await compiler.compile(job)).warnings
