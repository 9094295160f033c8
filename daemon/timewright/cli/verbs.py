"""Every verb there is: where it lives, and its line in the help. A verb's module is loaded when it is used:
loading all of them takes most of a second, which `status` and each press of Tab would pay."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module

import click


@dataclass(frozen=True)
class Verb:
    """`module`: of timewright.cli; its `command` is the verb. `short`: its line in the help."""

    section: str
    module: str
    short: str


LOOK, CHANGE, SPECS, HOST = "Look", "Change", "Specs", "This host"

#: In the order of the help. A test holds each line to the first sentence of the verb's own help.
VERBS = {
    "status": Verb(LOOK, "status", "Show where all workflows stand, or one of them."),
    "list": Verb(LOOK, "listing", "List workflows: id, status, live release; tab-separated."),
    "show": Verb(LOOK, "show", "Show everything about one workflow, with its latest releases."),
    "history": Verb(LOOK, "history", "Show the releases of a workflow and what became of them."),
    "logs": Verb(LOOK, "logs", "Show what happened, a line an event, of all workflows or of one."),
    "diff": Verb(LOOK, "diff", "Show what differs between two releases of a workflow."),
    "rollout": Verb(LOOK, "rollout", "Show the versions of a workflow's pool, and how far the newest is."),
    "plan": Verb(LOOK, "plan", "Show what would be done and why, and what is held back."),
    "wait": Verb(LOOK, "wait", "Wait until a workflow is as wished."),
    "operations": Verb(LOOK, "operations", "Show what people asked for and what came of it."),
    "audit": Verb(LOOK, "audit", "Show every call that changed something or was refused (admins only)."),
    "reconcile": Verb(CHANGE, "reconcile", "Fetch a source now, and wait until its commit is applied."),
    "deploy": Verb(CHANGE, "deploy", "Deploy what the source asks for, now."),
    "redeploy": Verb(CHANGE, "redeploy", "Publish and load again what is live."),
    "undeploy": Verb(CHANGE, "undeploy", "Take a workflow out of service, whatever the source says."),
    "rollback": Verb(CHANGE, "rollback", "Go back to an earlier release, until the spec changes."),
    "pin": Verb(CHANGE, "pin", "Hold a workflow at a release, whatever the source says."),
    "unpin": Verb(CHANGE, "unpin", "Let a workflow follow the source again."),
    "promote": Verb(CHANGE, "promote", "Give a new version its next share of executions, or all."),
    "abort": Verb(CHANGE, "abort", "End a rollout: executions go to the version before."),
    "gate": Verb(CHANGE, "gate", "Run the gate of a rollout again."),
    "suspend": Verb(CHANGE, "suspend", "Leave a workflow, or all of them, as they are."),
    "resume": Verb(CHANGE, "resume", "End a suspension."),
    "prune": Verb(CHANGE, "prune", "List what is gone from the source and still runs; undeploy it."),
    "validate": Verb(SPECS, "validate", "Check spec files: document, types, bundle, and against each other."),
    "pack": Verb(SPECS, "pack", "Make a spec from a project folder, and check it."),
    "unpack": Verb(SPECS, "unpack", "Write the files of a spec into a folder."),
    "replay": Verb(SPECS, "replay", "Replay recent executions on a release: would they go on with its code?"),
    "schema": Verb(SPECS, "schema", "Print the JSON Schema (draft 2020-12) of a spec."),
    "init": Verb(HOST, "init", "Write timewright.toml, with every setting explained, and make specs/."),
    "setup": Verb(
        HOST, "setup", "Install the compilers and Temporal's SDK, which the worker host and the checks need."
    ),
    "doctor": Verb(HOST, "doctor", "Check Node, compiler, worker host, Temporal, disk and permissions."),
    "run": Verb(HOST, "run", "Follow the source and keep this host in line with it, until stopped."),
    "worker": Verb(HOST, "worker", "Serve what is deployed: run the worker host, in the foreground."),
    "apply": Verb(HOST, "apply", "Bring this host in line with the source once."),
    "dashboard": Verb(HOST, "dashboard", "Show the page in a browser, until Ctrl-C."),
    "config": Verb(HOST, "config", "Show every setting in force, and where it came from."),
    "notify": Verb(HOST, "notify", "Show who is told of what, and send a message to try."),
    "token": Verb(HOST, "token", "Make, list and revoke tokens for the API over the network."),
    "completion": Verb(HOST, "completion", "Print what teaches a shell to complete verbs, ids and releases."),
}


class Commands(MutableMapping[str, click.Command]):
    """Verb → command, loaded when it is asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module = import_module(f"timewright.cli.{VERBS[name].module}")
            command: click.Command = module.command
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)
