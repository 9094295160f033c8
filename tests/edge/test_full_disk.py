"""What compilers say on a full disk is the disk's fault, and is tried again (faults.md C1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from timewright.core.errors import DeployError, Reason
from timewright.edge.compiler import CompileJob, Compiler
from timewright.edge.tschild import Limits, tsc_binary
from timewright.edge.tsjob import Job

from tests.e2e.disks import Disk, mountable, small_disk
from tests.edge.toolbox import TOOLCHAIN, write_release

pytestmark = mountable
WORKFLOW = "src/workflow.ts"
CODE = {WORKFLOW: "export async function w(): Promise<void> {}\n" + f"// {'x' * 100_000}\n"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


async def test_esbuild_on_a_full_disk_fails_for_the_disk(disk: Disk, tmp_path: Path) -> None:
    compiler = Compiler(TOOLCHAIN, tmp_path / "cache", mode="transpile")
    await compiler.start()
    release = write_release(disk.path / "r", CODE, entries=(WORKFLOW,))
    disk.fill()
    with pytest.raises(DeployError) as caught:
        await compiler.compile(CompileJob(release, workflows=WORKFLOW))
    assert (caught.value.reason, "no space left" in caught.value.message) == (Reason.STORAGE_FAILED, True)
    await compiler.close()


async def test_a_cold_tsc_on_a_full_disk_fails_for_the_disk(disk: Disk) -> None:
    release = write_release(disk.path / "r", CODE, entries=(WORKFLOW,))
    disk.fill()
    with pytest.raises(DeployError) as caught:
        await Job(release, TOOLCHAIN, Limits()).cold([tsc_binary(TOOLCHAIN)])
    assert caught.value.reason is Reason.STORAGE_FAILED
