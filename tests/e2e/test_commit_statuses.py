"""What a forge is told of each commit; daemon, worker host, Temporal and git are real, the forge is a server
that takes statuses."""

from __future__ import annotations

from tests.e2e.githost import GitHost
from tests.e2e.gitservers import http_server
from tests.e2e.specs import greeter
from tests.edge.test_worker_client import Host as Forge
from tests.edge.test_worker_client import hosting, says

TOKEN = "t0ken-of-the-forge"


def told(forge: Forge, sha: str) -> list[tuple[str, str]]:
    """State and description of each status of a commit that the forge has taken or refused."""
    return [
        (body["state"], body["description"]) for line, _, body in forge.requests if line.endswith(f"/{sha}")
    ]


async def test_a_forge_is_told_what_became_of_each_commit_also_after_it_was_away(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    token = host.home / "status.token"
    token.write_text(TOKEN)
    async with hosting(says(201, {})) as forge:
        with http_server(host.home) as server:
            first = remote.push("Begin", {"hello.json": greeter("hello", "hello")})
            host.follow(
                server.url(remote.bare),
                status="gitea",
                status_url=forge.url,
                status_token_file=str(token),
                status_context="timewright/test",
            )
            host.start_worker()
            host.start_daemon()
            await host.until("the first is a success", lambda: "success" in dict(told(forge, first)))
            assert [state for state, _ in told(forge, first)] == ["pending", "success"]
            line, headers, body = forge.requests[-1]
            path = server.url(remote.bare).split("/", 3)[3].removesuffix(".git")
            assert line == f"POST /api/v1/repos/{path}/statuses/{first}"
            assert (headers["authorization"], body["context"]) == (f"token {TOKEN}", "timewright/test")

            broken = greeter("hello", "hello")
            broken["activitiesCode"] = "export const nothing: number = 'text';"
            second = remote.push("Break it", {"hello.json": broken})
            await host.until("the second is a failure", lambda: "failure" in dict(told(forge, second)))
            assert "hello: " in dict(told(forge, second))["failure"]
            assert len(dict(told(forge, second))["failure"]) <= 255

            forge.answer = says(503, {})
            third = remote.push("Mend it", {"hello.json": greeter("hello", "good day")})
            await host.until_at("hello", third)
            await host.until("it was tried", lambda: bool(told(forge, third)))
            host.kill_daemon()
            taken = len(forge.requests)
            forge.answer = says(201, {})
            host.start_daemon()
            await host.until(
                "the third is a success, after a crash",
                lambda: "success" in [body["state"] for _, _, body in forge.requests[taken:]],
            )
            assert told(forge, third)[-1][0] == "success"
    log = host.log_file.read_text()
    assert "commit status" in log
    assert TOKEN not in log
