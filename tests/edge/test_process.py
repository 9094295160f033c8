"""Processes that can't be started as they were to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from timewright.edge import confine, process


async def test_a_child_that_can_not_be_confined_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python says `SubprocessError`, which nobody catches: the daemon would end at every start."""

    def refuse(_: confine.Cage) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(confine.Cage, "enter", refuse)
    with pytest.raises(PermissionError, match="can't be confined"):
        await process.start(["true"], confine=process.Confine(read=(tmp_path,)))
