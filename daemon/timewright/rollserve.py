"""Serves rollouts, whoever began them: a Temporal worker of ours in each namespace that has some."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from timewright import log
from timewright.edge.checks import Checks
from timewright.world import World


class RolloutServing:
    """The workers of this daemon."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._workers: dict[str, asyncio.Task[None]] = {}

    async def serve(self, namespace: str) -> None:
        """Have a worker of ours in a namespace. Raises TemporalAwayError."""
        task = self._workers.get(namespace)
        if task is not None and not task.done():
            return
        if task is not None and not task.cancelled() and (error := task.exception()):
            log.get().error("rollouts are not served", namespace=namespace, because=str(error))
        client = await self.world.deployments.client(namespace)
        self._workers[namespace] = asyncio.create_task(self._work(client), name=f"rollouts {namespace}")

    async def _work(self, client: Any) -> None:
        from datetime import timedelta

        from temporalio.worker import UnsandboxedWorkflowRunner, Worker

        from timewright.rollacts import RolloutActs
        from timewright.rollflow import RolloutFlow

        _hear_temporal()
        settings = self.world.config.rollout
        acts = RolloutActs(self.world.deployments, Checks(settings.prometheus, settings.urls))
        worker = Worker(
            client,
            task_queue=settings.task_queue,
            workflows=[RolloutFlow],
            activities=acts.all,
            identity=f"timewright@{self.world.config.host_name}",
            # Our own few lines, held to determinism by tests that replay them: the sandbox would load every
            # module anew for each run.
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=50,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),  # another daemon takes over fast
            graceful_shutdown_timeout=timedelta(seconds=1),
        )
        await worker.run()

    async def close(self) -> None:
        """Stop serving rollouts; whoever serves them next goes on."""
        for task in self._workers.values():
            task.cancel()
        if self._workers:
            await asyncio.wait(self._workers.values())
        self._workers.clear()


class _Heard(logging.Handler):
    """What Temporal's SDK has to say of our rollouts, a line each in our log."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        because = record.getMessage().splitlines()[0][:300]
        log.get().warning("temporal sdk", because=because, error=str(error)[:300] if error else "")


def _hear_temporal() -> None:
    heard = logging.getLogger("temporalio")
    if not any(isinstance(one, _Heard) for one in heard.handlers):
        heard.addHandler(_Heard(logging.WARNING))
        heard.propagate = False
