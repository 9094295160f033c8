"""pack and unpack, as a person uses them; and that going there and back loses nothing."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from timewright.cli import pack, unpack
from timewright.core.errors import SpecError, TimewrightError
from timewright.core.prepare import settle
from timewright.core.spec import Spec, read_spec

from tests.support import ACTIVITIES, HOST, ROOT, WORKER, WORKFLOW, as_bytes, compile_result, document

FILES = document()["files"]


def run(verb: str, *arguments: str | Path, stdin: bytes | None = None) -> Result:
    """Not by way of the group: a click command keeps the help option that it was first called with."""
    command = {"pack": pack.command, "unpack": unpack.command}[verb]
    result = CliRunner().invoke(command, [str(item) for item in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Temporal project as people have it."""
    root = tmp_path / "project"
    for path, text in {
        **FILES,
        "package.json": '{\n  "name": "@acme/Hello",\n  "dependencies": {}\n}\n',
        "tsconfig.json": '{\n  // strict, of course\n  "compilerOptions": {"outDir": "lib"},\n}\n',
        ".env": "PASSWORD=x\n",
        ".gitignore": "node_modules\nlib\n",
        "lib/workflow.js": "x\n",
        "node_modules/a/index.js": "x\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_a_project_becomes_a_spec_and_says_what_is_not_in_it(project: Path, tmp_path: Path) -> None:
    done = run("pack", project, "-o", tmp_path / "spec.json")
    assert done.exit_code == 0, done.stderr
    spec = json.loads((tmp_path / "spec.json").read_text())
    assert (spec["workflowId"], spec["name"]) == ("acme-hello", "@acme/Hello")
    assert sorted(spec["files"]) == ["package.json", *sorted(FILES), "tsconfig.json"]
    assert "left out  .env: may hold secrets" in done.stderr
    assert "left out  lib/: the compiler's output" in done.stderr
    assert "packed 5 files as workflow acme-hello" in done.stderr
    assert read_spec((tmp_path / "spec.json").read_bytes()).tsconfig is not None


def test_the_same_project_makes_the_same_bytes(project: Path) -> None:
    first, second = run("pack", project), run("pack", project)
    assert first.stdout_bytes == second.stdout_bytes != b""


def test_a_spec_that_was_packed_into_the_project_is_not_packed_again(project: Path) -> None:
    run("pack", project, "-o", project / "spec.json")
    first = (project / "spec.json").read_bytes()
    run("pack", project, "-o", project / "spec.json")
    assert (project / "spec.json").read_bytes() == first


def test_options_name_and_place_it(project: Path) -> None:
    options = ["--id", "x", "--name", "X", "--task-queue", "q", "--exclude", "worker.ts", "--yaml"]
    spec = read_spec(run("pack", project, *options).stdout_bytes, is_yaml=True)
    assert (spec.workflow_id, spec.name, spec.deploy.task_queue, spec.worker) == ("x", "X", "q", None)


def test_an_output_name_decides_the_format(project: Path, tmp_path: Path) -> None:
    run("pack", project, "-o", tmp_path / "a.yaml")
    assert read_spec((tmp_path / "a.yaml").read_bytes(), is_yaml=True).workflow_id == "acme-hello"


def test_a_project_with_errors_is_not_written_unless_forced(project: Path, tmp_path: Path) -> None:
    (project / "src" / "workflow.ts").write_text("export const a = 1;\n")
    done = run("pack", project, "-o", tmp_path / "spec.json")
    assert done.exit_code == 1
    assert "error     src/workflow.ts: does not import @temporalio/workflow" in done.stderr
    assert not (tmp_path / "spec.json").exists()
    assert run("pack", project, "-o", tmp_path / "spec.json", "--force").exit_code == 1
    assert (tmp_path / "spec.json").exists()


def test_a_project_without_a_name_is_named_by_its_folder(project: Path) -> None:
    (project / "package.json").unlink()
    assert json.loads(run("pack", project).stdout)["workflowId"] == "project"


def test_a_pattern_that_means_nothing_is_wrong_usage(project: Path) -> None:
    assert run("pack", project, "--include", "!").exit_code == 2


def test_a_base_outside_of_the_project_is_warned_of(project: Path) -> None:
    (project / "tsconfig.json").write_text('{"extends": "../tsconfig.base.json"}')
    assert (
        "warning   tsconfig.json extends ../tsconfig.base.json, which lies outside"
        in run("pack", project).stderr
    )


@pytest.mark.parametrize("path", sorted((ROOT / "specs").iterdir()), ids=lambda path: path.name)
def test_the_examples_come_back_as_they_were(path: Path, tmp_path: Path) -> None:
    assert run("unpack", path, tmp_path / "p").exit_code == 0
    same_spec(path.read_bytes(), path.suffix != ".json", tmp_path / "p")


def same_spec(data: bytes, is_yaml: bool, directory: Path) -> None:
    packed = run("pack", directory)
    assert packed.exit_code == 0, packed.stderr
    before, after = read_spec(data, is_yaml=is_yaml), read_spec(packed.stdout_bytes)
    assert replace(after, warnings=()) == replace(before, warnings=())
    assert sorted(after.warnings) == sorted(before.warnings)
    assert digest(after) == digest(before)


def digest(spec: Spec) -> str:
    return settle(spec, HOST).digest


def test_a_compile_result_becomes_a_project(tmp_path: Path) -> None:
    value = compile_result(packageJson='{"name": "x"} // mine', deploy={"taskQueue": "q"}, metadata={"a": 1})
    done = run("unpack", "-", tmp_path / "p", stdin=as_bytes(value))
    assert done.exit_code == 0
    files = contents(tmp_path / "p")
    assert files["src/workflow.ts"].decode() == WORKFLOW
    assert files["src/activities.ts"].decode() == ACTIVITIES
    assert files["src/worker.ts"].decode() == WORKER
    assert files["package.json"] == b'{"name": "x"} // mine'
    side = json.loads(files["timewright.json"])
    assert side["deploy"] == {"taskQueue": "q"}
    assert side["metadata"] == {"a": 1}


def test_unpack_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TimewrightError, match="is not empty"):
        run("unpack", ROOT / "specs" / "hello.json", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert run("unpack", ROOT / "specs" / "hello.json", tmp_path, "--force").exit_code == 0
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_unpack_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "src").symlink_to(tmp_path / "outside")
    with pytest.raises(TimewrightError, match="a link or a file stands"):
        run("unpack", ROOT / "specs" / "hello.json", tmp_path / "p", "--force")
    assert list((tmp_path / "outside").iterdir()) == []


def test_unpack_writes_nothing_of_a_spec_with_a_hostile_path(tmp_path: Path) -> None:
    bad = as_bytes(document(files={**FILES, "../x.ts": "x", "node_modules/a.js": "x"}))
    with pytest.raises(TimewrightError) as caught:
        run("unpack", "-", tmp_path / "p", stdin=bad)
    assert caught.value.message.count("\n  - ") == 2
    assert not (tmp_path / "p").exists()


def test_an_old_side_file_does_not_stay_behind(tmp_path: Path) -> None:
    run("unpack", "-", tmp_path, stdin=as_bytes(document(deploy={"taskQueue": "old"})))
    plain = {"workflowId": "x", "name": "x", "files": {**FILES, "package.json": '{"name": "x"}'}}
    run("unpack", "-", tmp_path, "--force", stdin=as_bytes(plain))
    assert json.loads((tmp_path / "timewright.json").read_text()) == {"workflowId": "x", "name": "x"}


def test_a_spec_that_pack_would_make_needs_no_side_file(tmp_path: Path) -> None:
    plain = {"workflowId": "x", "name": "x", "files": {**FILES, "package.json": '{"name": "x"}'}}
    run("unpack", "-", tmp_path, stdin=as_bytes(plain))
    assert sorted(contents(tmp_path)) == ["package.json", *sorted(FILES)]


# There and back --------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
paths = st.sampled_from(
    ["src/workflow.ts", "src/activities.ts", "src/worker.ts", "src/lib/a.ts", "src/.hidden.ts", "src/.env",
     "src/x.log", "src/out.json", "src/build/b.mts", "src/gen/c.cts", "src/.gitignore", ".gitignore",
     "README.md", "tsconfig.json", "package.json", "coverage/x.json", "docs/dist/a.md", "src/key.pem",
     "src/é.ts", "build/x.md"]
)  # fmt: skip
contents_of = texts | st.sampled_from(
    [WORKFLOW, ACTIVITIES, "*.ts\n", "gen/\n!c.cts\n", "{}", '{"name": "p"}', "a\r\nb"]
)
files = st.dictionaries(paths, contents_of, max_size=6)
sides = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "deploy": st.just({"taskQueue": "q", "owner": "me"}),
        "metadata": st.dictionaries(texts, texts, max_size=2),
        "packageJson": st.sampled_from([{}, {"type": "module"}, '{"name": "p", /* x */ }', None]),
        "tsConfig": st.sampled_from([{}, {"compilerOptions": {"strict": True}}, "{ // x\n}", None]),
        "entrypoints": st.just({"workflows": "src/workflow.ts"}),
        "data": st.just({"x": 1}),
        "ts_config": st.just("{}"),
    },
)


def shapes(value: dict[str, Any]) -> list[dict[str, Any]]:
    listed = [{"path": path, "content": text} for path, text in value["files"].items()]
    wrapped = {"success": True, "data": {key: item for key, item in value.items() if key != "data"}}
    return [value, {**value, "files": listed}, wrapped]


@settings(max_examples=40)
@given(files, sides, st.integers(0, 2))
def test_a_spec_that_is_unpacked_and_packed_is_the_same_spec(
    given: dict[str, str], side: dict[str, Any], shape: int
) -> None:
    value = shapes({"workflowId": "hello", **side, "files": {"src/workflow.ts": WORKFLOW, **given}})[shape]
    with suppress(SpecError):
        read_spec(as_bytes(value))
        there_and_back(value)


def there_and_back(value: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        assert run("unpack", "-", Path(scratch, "p"), stdin=as_bytes(value)).exit_code == 0
        try:
            same_spec(as_bytes(value), False, Path(scratch, "p"))
        except SpecError as error:
            raise AssertionError(error) from error


@settings(max_examples=40)
@given(files, st.booleans())
def test_a_project_that_is_packed_and_unpacked_has_the_same_files(
    given: dict[str, str], as_yaml: bool
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch, "before"), Path(scratch, "after")
        for path, text in {"src/workflow.ts": WORKFLOW, **given}.items():
            (before / path).parent.mkdir(parents=True, exist_ok=True)
            (before / path).write_bytes(text.encode())
        packed = run("pack", before, "--force", "--id", "x", *(["--yaml"] if as_yaml else []))
        run("unpack", "-", after, stdin=packed.stdout_bytes)
        left = {line.split(": ")[0].removeprefix("left out  ") for line in packed.stderr.splitlines()}
        kept = {
            path: data
            for path, data in contents(before).items()
            if not any(path == item or (item.endswith("/") and path.startswith(item)) for item in left)
        }
        found = contents(after)
        found.pop("timewright.json", None)
        assert found == kept


def test_one_of_several_workers_is_chosen_on_the_command_line(tmp_path: Path) -> None:
    files = {
        "src/a.ts": WORKER,
        "src/b.ts": WORKER.replace("greetings", "other"),
        "src/workflow.ts": WORKFLOW,
    }
    for path, text in {**files, "src/activities.ts": ACTIVITIES, "package.json": '{"name": "two"}'}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert run("pack", tmp_path).exit_code == 1
    done = run("pack", tmp_path, "--worker", "src/b.ts")
    assert done.exit_code == 0
    assert read_spec(done.stdout.encode()).task_queue == "other"
