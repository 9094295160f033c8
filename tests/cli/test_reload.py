"""A daemon that was asked to end while it put all away for other settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from timewright.cli import run as verb
from timewright.edge import process
from timewright.service import Service


@pytest.mark.parametrize("asked", [False, True])
def test_asked_to_end_in_mid_reload_it_ends_and_starts_nothing_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    became: list[object] = []

    async def changed(service: Service) -> bool:
        if asked:
            service.stop()
        return True

    monkeypatch.setattr(Service, "run", changed)
    monkeypatch.setattr(process, "become", lambda *about: became.append(about))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    done = CliRunner().invoke(verb.command, ["--source", str(tmp_path), "--data", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    assert bool(became) is not asked
