"""`timewright validate FILE…`: are these specs ones that would deploy? Touches nothing."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from timewright.build import compile_release, provide, write_sources
from timewright.cli.common import json_option
from timewright.cli.formats import ERROR, FORMATS, WARNING, Finding, Result
from timewright.cli.inputs import Input, collect
from timewright.cli.offline import offline_host
from timewright.config import Config, load
from timewright.core.actions import Refuse
from timewright.core.document import Document, Limits, parse
from timewright.core.document import Path as Place
from timewright.core.errors import DeployError, Problem, Reason, SpecError
from timewright.core.pack import code_places
from timewright.core.plan import plan
from timewright.core.policy import Policy, defaults_for, read_policy
from timewright.core.prepare import Host, Prepared, prepare
from timewright.core.spec import peek_workflow_id
from timewright.core.worlds import Broken, Desired, Observed
from timewright.core.worlds import Policy as PrunePolicy
from timewright.desired import wanted_of
from timewright.edge.compiler import Compiler
from timewright.edge.dependencies import Dependencies
from timewright.edge.source import escape
from timewright.policies import Policies
from timewright.service import make_compiler, make_dependencies


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
    there are errors. Needs no daemon and no server; network only for npm packages of a spec.
    """
    config = load()
    results = asyncio.run(check(config, files, parse_only=parse_only))
    if strict:
        results = [replace(result, findings=tuple(map(_strictly, result.findings))) for result in results]
    text = FORMATS["json" if as_json else form](results)
    click.echo(_painted(text) if form == "text" and not as_json else text, nl=False)
    if parse_only and form == "text" and not as_json:
        click.echo("Note: documents only; types, packages and bundles were not checked.", err=True)
    sys.exit(1 if any(result.errors for result in results) else 0)


def _painted(text: str) -> str:
    """With colours, which click takes out again where nobody sees them."""
    for word, colour in (("ok", "green"), ("error", "red")):
        text = re.sub(rf"^{word}(?= )", click.style(word, fg=colour), text, flags=re.MULTILINE)
    return text


def _strictly(finding: Finding) -> Finding:
    return replace(finding, level=ERROR)


#: What the planner refuses for the sake of other specs, and the key of `deploy` that is at fault. A
#: dependency that isn't among these files may be in the source all the same.
_ACROSS = {
    Reason.NAME_CONFLICT: (ERROR, "taskQueue"),
    Reason.DEPENDS_ON_CYCLE: (ERROR, "dependsOn"),
    Reason.DEPENDS_ON_MISSING: (WARNING, "dependsOn"),
}


@dataclass
class _Case:
    """One document on its way through the checks."""

    given: Input
    document: Document | None = None
    prepared: Prepared | None = None
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
    host = offline_host(config)
    cases = [_Case(given) for given in collect(names, config.source_path, host.limits)]
    policies = _read_policies(cases, host.limits)
    for case in cases:
        if not case.given.is_policy:
            _read(case, host, policies)
    _cross_check(cases)
    if not parse_only and any(case.prepared is not None for case in cases):
        await _compile(config, cases)
    return [Result(escape(case.given.name), case.workflow_id, tuple(case.findings)) for case in cases]


# Documents -------------------------------------------------------------------------------------


def _read_policies(cases: Sequence[_Case], limits: Limits) -> Policies:
    good: list[Policy] = []
    broken: dict[str, Broken | None] = {}
    for case in cases:
        if not case.given.is_policy:
            continue
        try:
            if not _is_unreadable(case):
                good.append(read_policy(case.given.data, case.given.path, limits=limits))
                continue
        except SpecError as error:
            case.error(error)
        broken[case.given.path] = None
    return Policies(tuple(good), broken)


def _is_unreadable(case: _Case) -> bool:
    if case.given.problem is not None:
        reason = Reason.SOURCE_UNREADABLE if case.given.level == ERROR else "Warning"
        case.findings.append(Finding(case.given.level, reason, case.given.problem))
    return case.given.problem is not None


def _read(case: _Case, host: Host, policies: Policies) -> None:
    if _is_unreadable(case):
        return
    data, is_yaml = case.given.data, case.given.is_yaml
    case.workflow_id = peek_workflow_id(data, is_yaml=is_yaml, limits=host.limits)
    defaults = policies.defaults(case.given.path)
    try:
        case.document = parse(data, is_yaml=is_yaml, limits=host.limits)
        case.prepared = prepare(data, host, is_yaml=is_yaml, defaults=dict(defaults or ()))
    except DeployError as error:
        case.error(_with_origin(error, case, policies))
        return
    case.workflow_id = case.prepared.spec.workflow_id
    if defaults is None:
        name = Path(policies.blocking(case.given.path) or "").name
        problem = Problem("deploy", f"its defaults in {name} can't be read", f"correct {name}")
        case.findings.append(Finding(ERROR, Reason.INVALID_SPEC, problem, case.line(("deploy",))))
    for text in case.prepared.warnings:
        case.warn(text)


def _with_origin(error: DeployError, case: _Case, policies: Policies) -> DeployError:
    """An error about a default names the policies that gave it: the spec has no such line."""
    _, used = defaults_for(case.given.path, policies.good)
    if not used:
        return error
    names = ", ".join(Path(name).name for name in used)
    problems = [
        replace(problem, message=f"{problem.message}; with the defaults of {names}")
        if problem.where.startswith("deploy") and problem.line is None
        else problem
        for problem in error.problems
    ]
    return DeployError(error.reason, error.message, problems=problems, hint=error.hint)


# Against each other ----------------------------------------------------------------------------


def _cross_check(cases: Sequence[_Case]) -> None:
    """What a pass over these files alone would refuse, by the planner's own judgment."""
    desired = Desired(
        complete=True,
        wanted=tuple(
            wanted_of(case.prepared, case.given.name, case.prepared.digest)
            for case in cases
            if case.prepared is not None
        ),
        broken=tuple(
            _broken(case) for case in cases if case.prepared is None and case.workflow_id is not None
        ),
    )
    refused = [item for item in plan(desired, Observed(), PrunePolicy(), 0.0) if isinstance(item, Refuse)]
    by_name = {case.given.name: case for case in cases}
    for refusal in refused:
        if refusal.reason in _ACROSS:
            level, key = _ACROSS[refusal.reason]
            case = by_name[refusal.source]
            line = case.line(("deploy", key), ("deploy",))
            case.findings += [Finding(level, refusal.reason, problem, line) for problem in refusal.problems]
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


def _broken(case: _Case) -> Broken:
    return Broken(case.given.name, case.given.path, Reason.INVALID_SPEC, (), case.workflow_id)


# Code ------------------------------------------------------------------------------------------


async def _compile(config: Config, cases: Sequence[_Case]) -> None:
    with tempfile.TemporaryDirectory(prefix="timewright-") as scratch:
        compiler = make_compiler(config, Path(scratch, "cache"), Path(scratch))
        dependencies = make_dependencies(config, Path(scratch, "dependencies"))
        if not config.data_path.exists():  # there is no daemon here whose cache could be used
            dependencies.cache = Path(scratch, "npm")
        await compiler.start()
        try:
            for number, case in enumerate(cases):
                if case.prepared is not None:
                    await _compile_one(
                        case, case.prepared, compiler, dependencies, Path(scratch, str(number))
                    )
        finally:
            await compiler.close()


async def _compile_one(
    case: _Case, prepared: Prepared, compiler: Compiler, dependencies: Dependencies, build: Path
) -> None:
    """Provide for one spec and compile it, as a deploy would."""

    def progress(text: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"{case.given.name}: {text}", err=True)

    build.mkdir()
    try:
        tools = await provide(dependencies, prepared, progress)
        write_sources(build, prepared, str(tools.packages / "node_modules"))
        compiled = await compile_release(compiler, prepared, build, tools.typescript, {})
    except DeployError as error:
        case.error(error)
    else:
        for text in (*tools.warnings, *compiled.warnings):
            case.warn(text)
