"""Asks Temporal who polls a task queue. It never raises and never takes long: who is away says nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from timewright.core.verdict import Poller

if TYPE_CHECKING:
    from temporalio.client import Client
    from temporalio.service import ServiceClient

_TIMEOUT_S = 3.0
_SILENT_S = 4.0  # after a question that timed out, none is asked for so long
_RETRY_S = (0.5, 15.0)  # between two tries to connect: first, most


class Temporal:
    """A connection to one server, made when it is first needed and made again when it is lost."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._client: ServiceClient | None = None
        self._next_try = 0.0
        self._wait = _RETRY_S[0]
        self._silent_until = 0.0
        self._few = asyncio.Semaphore(8)
        self._clients: dict[str, Client] = {}

    async def pollers(self, namespace: str, task_queue: str) -> tuple[Poller, ...] | None:
        """All pollers of a queue, for workflows and for activities; None when Temporal doesn't answer.

        Source: DescribeTaskQueue. A poller stays listed for minutes after it has gone: see its age.
        """
        async with self._few:
            client = await self._connected()
            if client is None or time.monotonic() < self._silent_until:
                return None  # it let another question of this look go unanswered: 50 queues are not 50 waits
            from temporalio.api.enums.v1 import TaskQueueType

            kinds = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    found = await asyncio.gather(
                        *(_ask(client, namespace, task_queue, kind) for kind in kinds)
                    )
            except TimeoutError:
                self._silent_until = time.monotonic() + _SILENT_S
                return None
            except Exception:  # a server may answer anything; "I don't know" is all that we need of it
                return None
            return (*found[0], *found[1])

    async def client(self, namespace: str) -> Client | None:
        """A client for one namespace; None when Temporal doesn't answer."""
        service = await self._connected()
        if service is None:
            return None
        from temporalio.client import Client

        known = self._clients.get(namespace)
        if known is None or known.service_client is not service:
            known = self._clients[namespace] = Client(service, namespace=namespace)
        return known

    async def _connected(self) -> ServiceClient | None:
        if self._client is not None:
            return self._client
        if time.monotonic() < self._next_try:
            return None
        self._next_try = time.monotonic() + self._wait
        self._wait = min(self._wait * 2, _RETRY_S[1])
        # Imported here: it takes 0.3 s and 20 MiB, which a host without Temporal need not spend.
        from temporalio.service import ConnectConfig, ServiceClient

        try:
            async with asyncio.timeout(_TIMEOUT_S):
                self._client = await ServiceClient.connect(ConnectConfig(target_host=self.address))
        except Exception:
            return None
        return self._client


async def _ask(client: ServiceClient, namespace: str, task_queue: str, kind: Any) -> list[Poller]:
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

    request = DescribeTaskQueueRequest(
        namespace=namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
    )
    answer = await client.workflow_service.describe_task_queue(request)
    now = time.time()
    return [
        Poller(poller.identity, max(0.0, now - poller.last_access_time.seconds)) for poller in answer.pollers
    ]
