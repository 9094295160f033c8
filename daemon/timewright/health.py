"""Health: what the worker host says it runs, held against what should run."""

from __future__ import annotations

from collections.abc import Callable, Collection

from timewright.core.errors import Reason
from timewright.core.state import Health
from timewright.edge.worker import Serving
from timewright.golive import waiting
from timewright.world import World


class HealthWatch:
    """Looks at the worker host and keeps the records' health true."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def check(self, busy: Callable[[], Collection[str]] = tuple) -> None:
        """Look once. What isn't served as it should be is asked for again: the notification may
        have been lost. A workflow that was in `busy` before or after the look is left to the work
        under way, and so is one whose release changed meanwhile: the answer may be older."""
        asked, busy_before = dict(self.world.receipts), set(busy())
        serving = await self.world.worker.serving()
        skip = busy_before | set(busy())
        amiss = [
            workflow_id
            for workflow_id, receipt in asked.items()
            if workflow_id not in skip
            and self.world.receipts.get(workflow_id) is receipt
            and not self._judge(workflow_id, serving)
        ]
        if amiss and serving.reachable and not serving.temporal:
            await self._ask_again(amiss, serving)

    def _judge(self, workflow_id: str, serving: Serving) -> bool:
        """Set the workflow's health; whether it is served as it should be."""
        health, reason = self._verdict(workflow_id, serving)
        self.world.set_health(workflow_id, health, reason)
        return health is Health.HEALTHY

    def _verdict(self, workflow_id: str, serving: Serving) -> tuple[Health, str]:
        wanted = self.world.receipts[workflow_id].release
        if not serving.reachable:
            return Health.DEGRADED, waiting("Unreachable", serving.error, self.world)
        if serving.plain:  # a worker that only knows the reload call: its last answer is all there is
            record = self.world.record(workflow_id)
            return record.health, record.health_reason
        if serving.temporal:
            return Health.DEGRADED, f"{Reason.WAITING_FOR_WORKER}: {serving.temporal}"
        found = serving.releases.get(workflow_id)
        if found == wanted:
            return Health.HEALTHY, ""
        if workflow_id in serving.troubles:
            return Health.DEGRADED, f"{Reason.RELOAD_FAILED}: {serving.troubles[workflow_id]}"
        if found is not None:
            return Health.DEGRADED, f"{Reason.WAITING_FOR_WORKER}: it still serves release {found}"
        return Health.DEGRADED, f"{Reason.WAITING_FOR_WORKER}: the worker host does not serve it yet"

    async def _ask_again(self, amiss: list[str], serving: Serving) -> None:
        if not serving.plain:
            await self.world.worker.sync()
            return
        for workflow_id in amiss:
            release = self.world.receipts[workflow_id].release
            answer = await self.world.worker.reload(workflow_id, action="deploy", release=release)
            if answer.ok:
                self.world.set_health(workflow_id, Health.HEALTHY)
