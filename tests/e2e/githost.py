"""A host that follows git repositories."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import tomli_w
from timewright.core.errors import TimewrightError
from timewright.edge.statefile import Event, StateFile

from tests.e2e.host import PATIENCE, Host
from tests.e2e.remotes import Remote

LONG = 1200.0  # seconds that a command may take
INTERVAL = 0.5  # seconds between fetches, where a test doesn't say another


class GitHost(Host):
    """One repository to push to (`remote`), and a host that is told what to follow by a settings file."""

    def __init__(self, home: Path, temporal: str) -> None:
        super().__init__(home, temporal)
        self.remote = Remote(home / "remotes")
        self.config = home / "timewright.toml"

    def follow(self, url: str | None = None, *, more: dict[str, Any] | None = None, **settings: Any) -> None:
        """Write the settings. `settings`: those of [source]; `more`: other sections, of [sources] too."""
        source = {"interval_s": INTERVAL, **settings}
        if "sources" not in (more or {}):
            source["git"] = url or self.remote.file_url
        document = {"source": source, "data": {"directory": str(self.data)}, **(more or {})}
        self.config.write_text(tomli_w.dumps(document))

    def where(self) -> list[str]:
        return ["--config", str(self.config)]

    def environment(self, **more: str) -> dict[str, str]:
        """Without the git settings of whoever runs the tests."""
        own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return {**super().environment(), **own, **more}

    def revision(self, workflow_id: str) -> str:
        """The commit that the workflow is at; '' for none."""
        return str(self.status(workflow_id).get("revision") or "")

    async def until_at(self, workflow_id: str, sha: str, patience: float = PATIENCE) -> None:
        """Wait until a commit's release is live."""

        def there() -> bool:
            found = self.status(workflow_id)
            return (found.get("status"), found.get("revision")) == ("DEPLOYED", sha)

        await self.until(f"{workflow_id} is deployed at {sha[:10]}", there, patience)

    def events(self) -> list[Event]:
        """What was told of the sources, oldest first."""
        try:
            state = StateFile(self.data / "state.db", read_only=True)
        except TimewrightError:
            return []
        found = [event for event in state.history() if event.kind == "source"]
        state.close()
        return found

    async def until_told(self, state: str, *words: str) -> str:
        """Wait until a source's state was told last, with these words. Returns all of them."""

        def last() -> str:
            events = self.events()
            return events[-1].because if events and events[-1].new == state else ""

        def told() -> bool:
            text = last()
            return bool(text) and all(word in text for word in words)

        await self.until(f"the source is {state}: {words}", told)
        return last()

    def refused(self) -> dict[str, str]:
        """Files that hold no workflow of ours: path → why."""
        state = StateFile(self.data / "state.db", read_only=True)
        found = {path: failure.message for path, (_, failure) in state.refused().items()}
        state.close()
        return found

    def source(self, name: str = "main") -> dict[str, Any]:
        """What `timewright status --json` says of a source."""
        done = self.cli("status", "--json")
        sources = json.loads(done.stdout)["sources"]
        return next((one for one in sources if one["name"] == name), {})

    async def asked(self, verb: str, *rest: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The command line, for what may take long."""
        return await asyncio.to_thread(
            subprocess.run,
            [*self._timewright(), verb, *self.where(), *rest],
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=LONG,
        )

    def http(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request to the daemon's API over its socket: as an admin."""
        transport = httpx.HTTPTransport(uds=str(self.data / "api.sock"))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=60) as client:
            return client.request(method, path, **more)

    def metrics(self) -> str:
        return self.http("GET", "/metrics").text

    @property
    def clone(self) -> Path:
        return self.data / "sources" / "main" / "repo.git"


@contextmanager
def running_git_host(home: Path, temporal: str) -> Iterator[GitHost]:
    host = GitHost(home, temporal)
    try:
        yield host
    finally:
        host.stop_all()
