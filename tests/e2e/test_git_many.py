"""A repository with many specs, of which a commit changes one. SPECS=5000 for as many as people have."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.githost import GitHost
from tests.e2e.specs import greeter

SPECS = int(os.environ.get("SPECS", "1500"))
ONE, OTHER = SPECS // 2, SPECS // 2 + 1


def _spec(number: int, word: str) -> dict[str, Any]:
    """All with the same code, which is compiled once: this is about what is looked at."""
    own = {"workflowId": f"w{number}", "deploy": {"taskQueue": f"q{number}"}}
    return {**greeter("same", word), **own}


def _counting_git(home: Path) -> tuple[Path, Path]:
    """A git for the daemon's PATH that notes which blobs it is asked for: (its folder, the notes)."""
    notes, bin_ = home / "reads", home / "bin"
    notes.write_text("")
    bin_.mkdir()
    script = f"""#!/bin/sh
case "$*" in
*"cat-file --batch") tee -a {notes} | {shutil.which("git")} "$@" ;;
*) exec {shutil.which("git")} "$@" ;;
esac
"""
    (bin_ / "git").write_text(script)
    (bin_ / "git").chmod(0o755)
    return bin_, notes


def _stages(host: GitHost) -> dict[str, float]:
    """How often each stage of a deploy was gone through since the daemon's start."""
    lines = [line for line in host.metrics().splitlines() if "stage_seconds_count" in line]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


@pytest.mark.quiet
@pytest.mark.timeout(1500)
async def test_of_many_specs_only_the_one_that_a_commit_changed_is_read_and_compiled(
    git_host: GitHost, tmp_path: Path
) -> None:
    host, remote = git_host, git_host.remote
    names = {number: f"specs/{number // 100}/w{number}.json" for number in range(SPECS)}
    first = remote.push("All", {name: _spec(number, "one") for number, name in names.items()})
    bin_, notes = _counting_git(tmp_path)
    host.follow()
    path = f"{bin_}:{host.environment()['PATH']}"
    done = await host.asked("apply", "--json", PATH=path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((host.data / "workflows").iterdir())) == SPECS

    notes.write_text("")
    host.start_daemon(PATH=path)
    second = remote.push("One of them", {names[ONE]: _spec(ONE, "two")})
    await host.until_at(f"w{ONE}", second, patience=300)
    assert host.revision(f"w{OTHER}") == first
    assert len(set(notes.read_text().split())) == 1, "more than one content was read"
    assert _stages(host)["check"] == 1
    assert host.history(f"w{OTHER}") == ["DEPLOYING", "DEPLOYED"]
