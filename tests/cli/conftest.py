from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from timewright.cli.main import main

from tests.cli.fake import FakeDaemon, serving, workflow


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """The command line, in this process, on a data directory of its own."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.data = home, home / "data"
        self._capsys = capsys

    def run(self, *arguments: str) -> Done:
        self._capsys.readouterr()
        code = 0
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        out, err = self._capsys.readouterr()
        return Done(code, out, err)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in [name for name in os.environ if name.startswith("TIMEWRIGHT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMEWRIGHT_DATA_DIRECTORY", str(tmp_path / "data"))
    return Shell(tmp_path, capsys)


@pytest.fixture
def daemon(shell: Shell) -> Iterator[FakeDaemon]:
    """A daemon that runs on the shell's data directory, with one healthy workflow."""
    fake = FakeDaemon(workflows={"hello": workflow()})
    with serving(fake, shell.data / "api.sock"):
        yield fake
