"""The hooks of .pre-commit-hooks.yaml, run by the real pre-commit on a repository of specs. The hook is
installed as pre-commit does it, by pip and without our toolchain: that takes most of a minute, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.specs import greeter
from tests.edge.test_git import git
from tests.support import ROOT

PRE_COMMIT = Path(sys.executable).parent / "pre-commit"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pre-commit")


def specs(top: Path, documents: dict[str, Any]) -> None:
    """A repository with these staged."""
    git(top, "init", "-q")
    for name, document in documents.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1))
    git(top, "add", "-A")


def check(top: Path, cache: Path, hook: str = "timewright-validate") -> tuple[int, str]:
    """One run over all files, of the hooks as they are in this checkout."""
    commit = git(ROOT, "rev-parse", "HEAD")
    (top / ".pre-commit-config.yaml").write_text(
        json.dumps({"repos": [{"repo": str(ROOT), "rev": commit, "hooks": [{"id": hook}]}]})
    )
    git(top, "add", "-A")
    done = subprocess.run(
        [PRE_COMMIT, "run", "--all-files", "--verbose"],
        cwd=top,
        env={**os.environ, "PRE_COMMIT_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


pytestmark = [
    pytest.mark.skipif(not PRE_COMMIT.exists(), reason="no pre-commit: pip install '.[dev]'"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="pre-commit takes hooks from a git repository"),
    pytest.mark.timeout(360),
]


def test_good_specs_pass_without_our_toolchain_and_it_says_what_was_not_checked(
    tmp_path: Path, cache: Path
) -> None:
    specs(tmp_path, {"flows/a.json": greeter("a", "x"), "package.json": {"name": "none of ours"}})
    code, said = check(tmp_path, cache)
    assert code == 0, said
    assert "1 ok" in said
    assert "types, packages and bundles were not checked" in said


def test_a_bad_spec_stops_the_commit_and_is_explained(tmp_path: Path, cache: Path) -> None:
    specs(tmp_path, {"flows/a.json": greeter("a", "x", taskQueu="q")})
    code, said = check(tmp_path, cache)
    assert code == 1, said
    assert "did you mean 'taskQueue'?" in said


def test_twins_are_found_however_many_files_there_are(tmp_path: Path, cache: Path) -> None:
    many = {f"flows/{name}.json": greeter(name, "x") for name in "abcdefghijkl"}
    specs(tmp_path, {**many, "flows/zz.json": greeter("a", "x")})
    code, said = check(tmp_path, cache)
    assert code == 1, said
    assert "'a' is also used by flows/zz.json" in said
