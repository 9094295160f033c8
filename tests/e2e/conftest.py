from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.githost import GitHost, running_git_host
from tests.e2e.gitservers import GitHttpServer, http_server
from tests.e2e.host import Host, TemporalServer, running_host


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure: what the server knew, which is gone when anybody looks."""
    report = yield
    server = getattr(item, "funcargs", {}).get("temporal")
    if report.when == "call" and report.failed and isinstance(server, TemporalServer):
        report.sections.append(("Temporal", server.story()))
    return report


@pytest.fixture(scope="session")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    """One Temporal server for all tests; each uses task queues of its own."""
    if not (os.environ.get("TEMPORAL_CLI") or shutil.which("temporal")):
        pytest.fail("no temporal command: run `make e2e`, which builds it")
    server = TemporalServer(tmp_path_factory.mktemp("temporal"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def host(tmp_path: Path, temporal: TemporalServer) -> Iterator[Host]:
    with running_host(tmp_path, temporal.address) as running:
        yield running


@pytest.fixture
def git_host(tmp_path: Path, temporal: TemporalServer) -> Iterator[GitHost]:
    """A host beside a repository; `follow()` and the start are the test's."""
    with running_git_host(tmp_path, temporal.address) as running:
        yield running


@pytest.fixture
def http(git_host: GitHost) -> Iterator[GitHttpServer]:
    """The repository of `git_host` over http."""
    with http_server(git_host.remote.bare.parent) as running:
        yield running


@pytest.fixture
async def client(temporal: TemporalServer) -> Client:
    return await Client.connect(temporal.address)
