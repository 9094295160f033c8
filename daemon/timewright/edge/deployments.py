"""Temporal's Worker Deployments: asks where executions go, and has them go elsewhere. Small verbs, no
decisions.

Source: the WorkflowService API of server 1.29 (DescribeWorkerDeployment and its kin).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from timewright.core.deployments import Deployment, Routing, Version
from timewright.edge.temporal import Temporal

if TYPE_CHECKING:
    from temporalio.client import Client

_STATUSES = {
    1: Routing.INACTIVE,
    2: Routing.CURRENT,
    3: Routing.RAMPING,
    4: Routing.DRAINING,
    5: Routing.DRAINED,
}
WORKFLOWS, ACTIVITIES = "workflows", "activities"
_KINDS = {1: WORKFLOWS, 2: ACTIVITIES}  # temporal.api.enums.v1.TaskQueueType
_TIMEOUT = timedelta(seconds=5)
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
_FRESH_S = 75.0  # a poll is renewed each minute


class TemporalAwayError(Exception):
    """Temporal can't be asked now; what is there goes on."""


class ChangedError(Exception):
    """Somebody changed the Deployment since it was looked at: look again."""


class ManagedError(Exception):
    """Somebody else has said that they manage this Deployment."""


class Deployments:
    """The Worker Deployments of one server, in the name of `identity`."""

    def __init__(self, temporal: Temporal, identity: str) -> None:
        self.temporal = temporal
        self.identity = identity
        self._one_by_one: dict[tuple[str, str], asyncio.Lock] = {}

    async def client(self, namespace: str) -> Client:
        """Raises TemporalAwayError."""
        client = await self.temporal.client(namespace)
        if client is None:
            raise TemporalAwayError(f"Temporal at {self.temporal.address} does not answer")
        return client

    async def supported(self, namespace: str) -> bool | None:
        """Whether the server has Worker Versioning; None when it can't be asked."""
        from temporalio.api.workflowservice.v1 import ListWorkerDeploymentsRequest
        from temporalio.service import RPCError, RPCStatusCode

        try:
            service = (await self.client(namespace)).workflow_service
            await service.list_worker_deployments(
                ListWorkerDeploymentsRequest(namespace=namespace, page_size=1), timeout=_TIMEOUT
            )
            return True
        except TemporalAwayError:
            return None
        except RPCError as error:
            refused = (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.FAILED_PRECONDITION)
            return False if error.status in refused else None

    async def describe(self, namespace: str, name: str) -> Deployment:
        """A Deployment; an empty one when Temporal knows none of this name. Raises TemporalAwayError."""
        from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
        from temporalio.service import RPCError, RPCStatusCode

        request = DescribeWorkerDeploymentRequest(namespace=namespace, deployment_name=name)
        try:
            found = await self._ask(namespace, name, request)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return Deployment(name)
            raise _away(error) from error
        info = found.worker_deployment_info
        routing = info.routing_config
        return Deployment(
            name,
            current=routing.current_deployment_version.build_id,
            ramping=routing.ramping_deployment_version.build_id,
            percent=float(routing.ramping_version_percentage),
            manager=info.manager_identity,
            token=found.conflict_token,
            versions=tuple(_version(row) for row in info.version_summaries),
        )

    async def _ask(self, namespace: str, name: str, request: Any) -> Any:
        """Temporal answers these by a query of a workflow of its own, and holds one that waits: another one
        is refused (RESOURCE_EXHAUSTED). So ours come one by one, and one that is refused comes again."""
        from temporalio.service import RPCError, RPCStatusCode

        lock = self._one_by_one.setdefault((namespace, name), asyncio.Lock())
        for pause in (*_PAUSES, None):
            try:
                async with lock:
                    service = (await self.client(namespace)).workflow_service
                    return await service.describe_worker_deployment(request, timeout=_TIMEOUT)
            except RPCError as error:
                busy = error.status is RPCStatusCode.RESOURCE_EXHAUSTED or "buffer is full" in error.message
                if pause is None or not busy:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError  # the last one returns or raises

    async def queues(self, namespace: str, name: str, build_id: str) -> frozenset[tuple[str, str]]:
        """The task queues on which workers of a Version have polled, and for what: WORKFLOWS or ACTIVITIES.
        Raises TemporalAwayError."""
        from temporalio.api.deployment.v1 import WorkerDeploymentVersion
        from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentVersionRequest
        from temporalio.service import RPCError, RPCStatusCode

        service = (await self.client(namespace)).workflow_service
        version = WorkerDeploymentVersion(deployment_name=name, build_id=build_id)
        request = DescribeWorkerDeploymentVersionRequest(namespace=namespace, deployment_version=version)
        try:
            found = await service.describe_worker_deployment_version(request, timeout=_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return frozenset()
            raise _away(error) from error
        return frozenset((queue.name, _KINDS.get(queue.type, "")) for queue in found.version_task_queues)

    async def polls(self, namespace: str, queue: str, name: str, build_id: str) -> Mapping[str, float]:
        """Identity → age in seconds of the pollers of a Version on a task queue. Raises TemporalAwayError."""
        return (await self.polls_by_build(namespace, queue, name)).get(build_id, {})

    async def polls_by_build(self, namespace: str, queue: str, name: str) -> dict[str, dict[str, float]]:
        """The same of all Versions of a Deployment, by Build ID."""
        from temporalio.api.enums.v1 import TaskQueueType
        from temporalio.api.taskqueue.v1 import TaskQueue
        from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
        from temporalio.service import RPCError

        service = (await self.client(namespace)).workflow_service
        found: dict[str, dict[str, float]] = {}
        now = time.time()
        for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
            request = DescribeTaskQueueRequest(
                namespace=namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
            )
            try:
                answer = await service.describe_task_queue(request, timeout=_TIMEOUT)
            except RPCError as error:
                raise _away(error) from error
            for poller in answer.pollers:
                options = poller.deployment_options
                age = max(0.0, now - poller.last_access_time.seconds)
                if options.deployment_name == name and age < _FRESH_S:
                    known = found.setdefault(options.build_id, {})
                    known[poller.identity] = min(age, known.get(poller.identity, age))
        return found

    async def claim(self, namespace: str, seen: Deployment) -> None:
        """Say that nobody but us routes. Raises as `set_current` does."""
        from temporalio.api.workflowservice.v1 import SetWorkerDeploymentManagerRequest

        if seen.manager == self.identity:
            return
        if seen.manager:
            raise ManagedError(seen.manager)
        request = SetWorkerDeploymentManagerRequest(
            namespace=namespace,
            deployment_name=seen.name,
            manager_identity=self.identity,
            conflict_token=seen.token,
            identity=self.identity,
        )
        await self._change(namespace, "set_worker_deployment_manager", request)

    async def set_current(self, namespace: str, seen: Deployment, build_id: str) -> None:
        """All new executions go to a Version ('' : to workers without one). Raises ChangedError,
        ManagedError, TemporalAwayError."""
        from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest

        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=namespace,
            deployment_name=seen.name,
            build_id=build_id,
            conflict_token=seen.token,
            identity=self.identity,
            # Queues that only an older Version knows are none of this one: a workflow moved, or went.
            ignore_missing_task_queues=True,
        )
        await self._change(namespace, "set_worker_deployment_current_version", request)

    async def set_ramp(self, namespace: str, seen: Deployment, build_id: str, percent: float) -> None:
        """A share of new executions goes to a Version ('' and 0: none does). Raises as `set_current`."""
        from temporalio.api.workflowservice.v1 import SetWorkerDeploymentRampingVersionRequest

        request = SetWorkerDeploymentRampingVersionRequest(
            namespace=namespace,
            deployment_name=seen.name,
            build_id=build_id,
            percentage=percent,
            conflict_token=seen.token,
            identity=self.identity,
            ignore_missing_task_queues=True,
        )
        await self._change(namespace, "set_worker_deployment_ramping_version", request)

    async def delete(self, namespace: str, name: str, build_id: str) -> bool:
        """Remove the record of a Version that nobody needs; False when Temporal says "not yet"."""
        from temporalio.api.deployment.v1 import WorkerDeploymentVersion
        from temporalio.api.workflowservice.v1 import DeleteWorkerDeploymentVersionRequest
        from temporalio.service import RPCError, RPCStatusCode

        request = DeleteWorkerDeploymentVersionRequest(
            namespace=namespace,
            deployment_version=WorkerDeploymentVersion(deployment_name=name, build_id=build_id),
            identity=self.identity,
        )
        try:
            service = (await self.client(namespace)).workflow_service
            await service.delete_worker_deployment_version(request, timeout=_TIMEOUT)
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return True

    async def count(self, namespace: str, query: str) -> int:
        """How many executions a visibility query finds. Raises TemporalAwayError."""
        from temporalio.service import RPCError

        try:
            return (await (await self.client(namespace)).count_workflows(query)).count
        except RPCError as error:
            raise _away(error) from error

    async def _change(self, namespace: str, method: str, request: Any) -> None:
        from temporalio.service import RPCError, RPCStatusCode

        service = (await self.client(namespace)).workflow_service
        try:
            await getattr(service, method)(request, timeout=_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.FAILED_PRECONDITION:
                words = error.message.lower()
                if "manager" in words:
                    raise ManagedError(error.message) from error
                raise ChangedError(error.message) from error
            if error.status is RPCStatusCode.NOT_FOUND:
                raise ChangedError(error.message) from error
            raise _away(error) from error


def _away(error: Exception) -> TemporalAwayError:
    return TemporalAwayError(getattr(error, "message", "") or str(error))


def _version(row: Any) -> Version:
    def at(name: str) -> float:
        return float(getattr(row, name).seconds) if row.HasField(name) else 0.0

    status = _STATUSES.get(row.status, Routing.UNKNOWN)
    changed = float(row.drainage_info.last_changed_time.seconds) if row.HasField("drainage_info") else 0.0
    since = {Routing.CURRENT: at("current_since_time"), Routing.RAMPING: at("ramping_since_time")}
    left = at("last_deactivation_time")
    return Version(
        row.deployment_version.build_id, status, at("create_time"), since.get(status) or changed or left, left
    )
