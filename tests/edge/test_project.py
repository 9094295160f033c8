from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from timewright.core.document import Limits
from timewright.core.errors import SpecError, TimewrightError
from timewright.edge import project

from tests.support import leftovers


def tree(root: Path, *paths: str, **texts: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{path}\n")
    for path, text in texts.items():
        (root / path).write_text(text)
    return root


def taken(root: Path, **options: Any) -> list[str]:
    return sorted(project.read(root, Limits(), **options).files)


def left_out(root: Path, **options: Any) -> dict[str, str]:
    return dict(project.read(root, Limits(), **options).left_out)


# Reading ---------------------------------------------------------------------------------------


def test_a_project_is_read_without_what_is_made_or_installed(tmp_path: Path) -> None:
    tree(
        tmp_path, "package.json", "src/workflow.ts", "src/deep/a.ts", "README.md", "node_modules/x/index.js",
        "packages/a/node_modules/y/index.js", "dist/workflow.js", "build/x.js", "coverage/lcov.info",
        "lib/x.js",        "tsconfig.tsbuildinfo", "npm-debug.log", "src/build/kept.ts",
    )  # fmt: skip
    (tmp_path / "tsconfig.json").write_text('{"compilerOptions": {"outDir": "lib"}}')
    assert taken(tmp_path) == [
        "README.md", "package.json", "src/build/kept.ts", "src/deep/a.ts", "src/workflow.ts", "tsconfig.json",
    ]  # fmt: skip
    why = left_out(tmp_path)
    assert why["node_modules/"] == "packages are installed, not packed"
    assert why["packages/a/node_modules/"] == why["node_modules/"]
    assert why["lib/"] == "the compiler's output"
    assert why["coverage/"] == "made by tests"
    assert why["tsconfig.tsbuildinfo"] == "made by a build"


@pytest.mark.parametrize(
    "path",
    [".env", ".env.local", "src/.env", "prod.env", ".npmrc", "src/.npmrc", ".yarnrc.yml", ".netrc",
     "tls/server.key", "cert.pem", "id_rsa", ".aws/credentials"],
)  # fmt: skip
def test_secrets_are_never_packed_not_even_when_asked_for(tmp_path: Path, path: str) -> None:
    tree(tmp_path, path, "src/workflow.ts")
    assert taken(tmp_path, include=("*", ".env", "**/.npmrc", ".aws/**")) == ["src/workflow.ts"]
    assert "may hold secrets" in left_out(tmp_path).values()


def test_hidden_files_and_other_lock_files_are_left_out_and_said(tmp_path: Path) -> None:
    tree(tmp_path, ".eslintrc.json", ".github/x.yml", "yarn.lock", "pnpm-lock.yaml", "src/workflow.ts")
    assert taken(tmp_path) == ["src/workflow.ts"]
    why = left_out(tmp_path)
    assert (why[".eslintrc.json"], why[".github/"]) == ("hidden", "hidden")
    assert "only npm's lock file" in why["yarn.lock"]
    assert taken(tmp_path, include=(".eslintrc.json",)) == [".eslintrc.json", "src/workflow.ts"]


def test_gitignore_files_are_followed_as_git_does(tmp_path: Path) -> None:
    tree(
        tmp_path, "src/a.gen.ts", "src/b.gen.ts", "src/keep/c.gen.ts", "tmp/x.ts", "src/tmp/y.ts", "src/a.ts"
    )
    (tmp_path / ".gitignore").write_text("*.gen.ts\n!b.gen.ts\n/tmp/\n!\n")
    (tmp_path / "src" / "keep" / ".gitignore").write_text("!*.gen.ts\n")
    assert taken(tmp_path) == ["src/a.ts", "src/b.gen.ts", "src/keep/c.gen.ts", "src/tmp/y.ts"]
    assert left_out(tmp_path)["tmp/"] == "in .gitignore"


def test_include_takes_back_what_is_ignored_and_exclude_wins(tmp_path: Path) -> None:
    tree(tmp_path, "src/gen/a.ts", "src/gen/b.ts", "src/c.ts")
    (tmp_path / ".gitignore").write_text("gen/\n")
    assert taken(tmp_path) == ["src/c.ts"]
    assert taken(tmp_path, include=("src/gen/**",)) == ["src/c.ts", "src/gen/a.ts", "src/gen/b.ts"]
    assert taken(tmp_path, include=("src/gen/**",), exclude=("b.ts",)) == ["src/c.ts", "src/gen/a.ts"]
    assert taken(tmp_path, exclude=("src/",)) == []


def test_what_the_side_file_names_is_taken(tmp_path: Path) -> None:
    tree(tmp_path, "src/.hidden.ts", "dist/x.js", "src/a.ts")
    (tmp_path / "timewright.json").write_text('{"files": ["src/.hidden.ts", "dist/x.js", "gone.ts", 7]}')
    assert taken(tmp_path) == ["src/.hidden.ts", "src/a.ts"]  # dist is timewright's own, in any spec


def test_links_are_left_out_and_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, "p/src/a.ts", "outside/secret.ts")
    (tmp_path / "p" / "src" / "link.ts").symlink_to(tmp_path / "outside" / "secret.ts")
    (tmp_path / "p" / "more").symlink_to(tmp_path / "outside")
    assert taken(tmp_path / "p") == ["src/a.ts"]
    assert left_out(tmp_path / "p") == {"more": "a link", "src/link.ts": "a link"}


def test_a_pipe_is_left_out_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ts")
    assert left_out(tmp_path) == {"pipe.ts": "no regular file"}


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes("\ufeffa\r\nb\rc\u2028".encode())
    assert project.read(tmp_path, Limits()).files == {"a.ts": "\ufeffa\r\nb\rc\u2028"}


def test_a_picture_is_left_out_but_code_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    for name in ("logo.png", "a.ts"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.json").write_bytes(b"{}\x00")
    found = project.read(tmp_path, Limits())
    assert found.files == {}
    assert found.left_out == [("logo.png", "is not UTF-8 text")]
    assert [str(problem).split(" (")[0] for problem in found.problems] == [
        "a.ts: is not UTF-8 text",
        "b.json: is not text: it holds a NUL character",
    ]


def test_a_file_or_a_project_over_the_limit_says_which(tmp_path: Path) -> None:
    for name, size in (("big.ts", 200), ("big.csv", 200), ("a.ts", 60), ("b.ts", 70)):
        (tmp_path / name).write_text("x" * size)
    found = project.read(tmp_path, Limits(bytes=100))
    assert ("big.csv", "has 200 bytes, the limit is 100") in found.left_out
    texts = [str(problem) for problem in found.problems]
    assert texts[0].startswith("big.ts: has 200 bytes, the limit is 100")
    assert "130 bytes in all, the limit is 100; the largest are b.ts (70), a.ts (60)" in texts[1]


def test_a_name_that_no_spec_can_hold_is_left_out(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.ts")).write_text("x")
    (tmp_path / "a\nb.ts").write_text("x")
    found = project.read(tmp_path, Limits())
    assert found.files == {}
    assert len(found.left_out) == 2


def test_a_mistaken_folder_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, *(f"{i}.ts" for i in range(5)))
    monkeypatch.setattr(project, "_MOST_ENTRIES", 3)
    with pytest.raises(TimewrightError, match="more than 3 files and folders"):
        project.read(tmp_path, Limits())


# Writing ---------------------------------------------------------------------------------------


def test_files_are_written_with_their_folders(tmp_path: Path) -> None:
    project.write(tmp_path / "new" / "p", {"a.ts": "x\r\n", "src/deep/b.ts": "y"})
    assert (tmp_path / "new/p/a.ts").read_bytes() == b"x\r\n"
    assert (tmp_path / "new/p/src/deep/b.ts").read_text() == "y"
    assert leftovers(tmp_path) == []


def test_a_link_in_the_way_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "src").symlink_to(tmp_path / "outside")
    with pytest.raises(SpecError, match=r"src/a\.ts: can't be written: a link or a file stands"):
        project.write(tmp_path / "p", {"src/a.ts": "x"})
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_link_of_a_files_name_is_replaced_and_its_target_untouched(tmp_path: Path) -> None:
    (tmp_path / "outside.ts").write_text("theirs")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.ts").symlink_to(tmp_path / "outside.ts")
    project.write(tmp_path / "p", {"a.ts": "ours"})
    assert (tmp_path / "outside.ts").read_text() == "theirs"
    assert (tmp_path / "p" / "a.ts").read_text() == "ours"


@pytest.mark.parametrize(("inside", "path"), [("src", "src/a.ts"), ("a.ts/x", "a.ts")])
def test_what_stands_in_the_way_is_named_and_nothing_is_left_over(
    tmp_path: Path, inside: str, path: str
) -> None:
    tree(tmp_path, inside)
    with pytest.raises(SpecError, match=f"{path}: can't be written"):
        project.write(tmp_path, {path: "x"})
    assert leftovers(tmp_path) == []


def test_empty_means_nothing_there_or_nothing_in_it(tmp_path: Path) -> None:
    assert project.is_empty(tmp_path / "none")
    assert project.is_empty(tmp_path)
    (tmp_path / ".hidden").touch()
    assert not project.is_empty(tmp_path)
    with pytest.raises(TimewrightError):
        project.is_empty(tmp_path / ".hidden")
