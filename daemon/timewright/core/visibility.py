"""Queries for Temporal's list of executions ("visibility"), which are SQL of a kind."""

from __future__ import annotations

from collections.abc import Collection

RUNNING = "ExecutionStatus = 'Running'"


def quoted(value: str) -> str:
    """A text in a query. A backslash is an escape there, as in MySQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def on_queue(task_queue: str, workflow_types: Collection[str] = ()) -> str:
    """Executions on a task queue; of these types, where some are named."""
    query = f"TaskQueue = {quoted(task_queue)}"
    if workflow_types:
        query += f" AND WorkflowType IN ({', '.join(map(quoted, workflow_types))})"
    return query


def of_version(deployment: str, build_id: str) -> str:
    """The executions of a Worker Deployment Version."""
    return f"TemporalWorkerDeploymentVersion = {quoted(f'{deployment}:{build_id}')}"
