"""Notifications: a real state file, Apprise, and a real HTTP server that takes its messages."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from timewright import notify as notifying
from timewright.config import Config, Notify, load
from timewright.core.commits import Commit
from timewright.core.errors import Reason, TimewrightError
from timewright.core.notices import Kind
from timewright.core.retry import Backoff
from timewright.core.state import Failure, Health, Record, Status, Suspension
from timewright.delivery import Delivery
from timewright.edge.statefile import StateFile
from timewright.notify import Notifier
from timewright.world import World

from tests.cli.conftest import Shell, shell  # noqa: F401 - a fixture
from tests.receiver import Receiver, receiving, until
from tests.support import child_env, python
from tests.test_reconcile import _bench

_QUICK = Backoff(tries=10**9, first=0.05, most=0.1)
_SECRET = "hunter2-secret-token"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as found:
        yield found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "_BURST_S", 0.01)


class Desk:
    """A world with notifications: what happens to it is told by the test, who hears of it by `routes`."""

    def __init__(self, world: World, urls: Path) -> None:
        self.world, self.urls = world, urls
        self.now = self._start = time.time()
        world.clock = lambda: self.now

    def routes(self, **routes: dict[str, Any]) -> None:
        base = Notify(urls_file=str(self.urls), on=[*Kind], title="$workflow $what", body="$because")
        named = {name: replace(base, **settings) for name, settings in routes.items()}
        self.world.config = replace(self.world.config, notify=base, notifiers=named)

    @asynccontextmanager
    async def telling(self, backoff: Backoff = _QUICK) -> AsyncIterator[Notifier]:
        """Notifications run; afterwards they have ended."""
        self.world.listeners.clear()
        delivery = Delivery(
            self.world.state.outbox, clock=lambda: time.time() + self.now - self._start, backoff=backoff
        )
        notifier = Notifier(self.world, delivery, "prod-1")
        tasks = [asyncio.create_task(delivery.run())]
        notifier.step()  # from here on
        tasks.append(asyncio.create_task(notifier.run()))
        try:
            yield notifier
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def deploy(self, name: str = "hello", **changes: Any) -> None:
        record = self.world.move(self.world.record(name), Status.DEPLOYING, "new", **changes)
        self.world.move(record, Status.DEPLOYED, "it is live", digest="d" * 64, applied="d" * 64)

    def fail(self, name: str = "hello", message: str = "no", **changes: Any) -> None:
        record = self.world.move(self.world.record(name), Status.DEPLOYING, "new", **changes)
        failure = Failure(Reason.TYPE_CHECK_FAILED, message)
        self.world.move(record, Status.DEPLOYMENT_FAILED, f"TypeCheckFailed: {message}", failure=failure)


@pytest.fixture
async def desk(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Desk]:
    urls = tmp_path / "urls"
    urls.write_text(f"# who is on call\n{receiver.url()}\n")
    urls.chmod(0o600)
    async with _bench(tmp_path) as bench:
        found = Desk(bench.world, urls)
        found.routes()
        yield found


async def eventually(done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.01)


async def quiet(desk: Desk) -> None:
    """Nothing is under way any more."""
    await asyncio.sleep(0.1)
    await eventually(lambda: not desk.world.state.outbox.letters())


def undelivered(logs: list[Any]) -> list[str]:
    return [line["because"] for line in logs if line["event"] == "not delivered"]


# What is told ----------------------------------------------------------------------------------


async def test_what_happens_is_told_in_order_each_once(desk: Desk, receiver: Receiver) -> None:
    async with desk.telling():
        desk.deploy()
        desk.fail(message="src/a.ts:1:2: TS1: https://user:hunter2@x is no number")
        await eventually(lambda: len(receiver.taken) == 2)
        suspended = Suspension("alice", desk.now, "freeze")
        desk.world.suspend("hello", suspended, "alice", "freeze")
        desk.world.suspend(None, suspended, "alice", "freeze")
        desk.world.suspend(None, None, "alice", "")
        desk.world.change("hello", "drift", "as built", "drifted", "a.ts was changed", drift=("a.ts",))
        desk.world.tell_source("Synced", "Refused", "source ops: abc is not signed; def goes on", "")
        await eventually(lambda: len(receiver.taken) == 7)
        await quiet(desk)
    assert receiver.titles() == [
        *("hello deployed", "hello failed", "hello suspended", "all workflows suspended"),
        *("all workflows resumed", "hello drifted", "source ops refused"),
    ]
    bodies = {body["title"]: (body["type"], body["message"]) for _, body in receiver.taken}
    assert bodies["hello failed"] == (
        "failure",
        "TypeCheckFailed: src/a.ts:1:2: TS1: https://***@x is no number",
    )
    assert bodies["all workflows suspended"] == ("info", "all workflows suspended by alice: freeze")


async def test_the_text_names_commit_owner_and_release(desk: Desk, receiver: Receiver) -> None:
    settings = Notify()
    desk.routes(all={"title": settings.title, "body": settings.body})
    sha = "a" * 40
    desk.world.state.add_commits([Commit(sha, "Ada", "a@x", "Greet louder", 1.0, "main")])
    async with desk.telling():
        desk.deploy(revision=sha, source="specs/hello.json", owner="team-a")
        desk.deploy("plain", source="plain.json")
        await eventually(lambda: len(receiver.taken) == 2)
    hello, plain = (body for _, body in receiver.taken)
    assert hello["title"] == "hello deployed (prod-1)"
    assert hello["message"].split("\n") == [
        "it is live",
        "commit aaaaaaaaaa by Ada: Greet louder",
        "release dddddddddddd",
        "from specs/hello.json",
        "owner team-a",
        time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(desk.now)),
    ]
    assert "commit" not in plain["message"]
    assert "owner" not in plain["message"]


async def test_a_bad_health_is_told_when_it_has_lasted_and_so_is_its_end(
    desk: Desk, receiver: Receiver
) -> None:
    desk.routes(all={"on": ["degraded", "recovered"]})
    desk.world.note(Record("hello"), status=Status.DEPLOYED, health=Health.HEALTHY)
    async with desk.telling() as notifier:
        desk.world.set_health("hello", Health.DEGRADED, "it crashes")
        assert notifier.step() == 60.0
        desk.now += 59
        desk.world.set_health("hello", Health.HEALTHY)
        assert notifier.step() is None
        desk.world.set_health("hello", Health.DEGRADED, "it crashes again")
        notifier.step()
        desk.now += 60
        notifier.step()
        desk.world.set_health("hello", Health.HEALTHY)
        await eventually(lambda: len(receiver.taken) == 2)
    assert receiver.titles() == ["hello degraded", "hello recovered"]
    assert receiver.taken[0][1]["message"] == "it crashes again"


async def test_each_route_has_its_own_urls_kinds_and_workflows(
    desk: Desk, receiver: Receiver, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text(receiver.url("/billing"))
    desk.routes(ops={"on": ["failed"]}, billing={"urls_file": str(other), "workflows": ["billing-*"]})
    async with desk.telling():
        for name in ("hello", "billing-eu"):
            desk.deploy(name)
            desk.fail(name)
        await eventually(lambda: len(receiver.taken) == 4)
        await quiet(desk)
    assert receiver.titles("/") == ["hello failed", "billing-eu failed"]
    assert receiver.titles("/billing") == ["billing-eu deployed", "billing-eu failed"]


async def test_five_hundred_failures_are_ten_messages_and_one_summary(desk: Desk, receiver: Receiver) -> None:
    async with desk.telling() as notifier:
        for number in range(500):
            desk.fail(f"w{number}")
        await eventually(lambda: len(receiver.taken) == 10)
        desk.deploy("late")
        assert notifier.step() == pytest.approx(60.0)
        await quiet(desk)
        desk.now += 60
        notifier.step()
        desk.deploy("after")
        await eventually(lambda: len(receiver.taken) == 12)
        await quiet(desk)
    summary = receiver.taken[10][1]
    assert summary["title"] == "and 491 more (prod-1)"
    assert summary["message"].startswith("failed: 490 (w10, w11, ")
    assert summary["message"].endswith("deployed: 1 (late)")
    assert receiver.titles()[11:] == ["after deployed"]


# Faults of who is told -------------------------------------------------------------------------


async def test_a_service_that_is_down_hears_it_when_it_is_up_once(
    desk: Desk, receiver: Receiver, logs: list[Any]
) -> None:
    port = receiver.server_port
    receiver.shutdown()
    receiver.server_close()
    async with desk.telling():
        desk.deploy()
        await eventually(lambda: undelivered(logs))
        desk.fail()
        await asyncio.sleep(0.3)
        with receiving(port) as again:
            await eventually(lambda: len(again.taken) == 2)
            await quiet(desk)
            assert sorted(again.titles()) == ["hello deployed", "hello failed"]
    assert len(undelivered(logs)) == 1
    assert "URL 1 (json://127.0.0.1): the connection is refused" in undelivered(logs)[0]


async def test_answers_of_500_are_tried_again_until_it_works(
    desk: Desk, receiver: Receiver, logs: list[Any]
) -> None:
    receiver.answers["/"] = 500
    async with desk.telling():
        desk.deploy()
        await eventually(lambda: len(receiver.tried) >= 3)
        receiver.answers.clear()
        await quiet(desk)
    assert receiver.titles() == ["hello deployed"]
    assert ["HTTP 500 Internal Server Error" in because for because in undelivered(logs)] == [True]


async def test_a_message_that_is_refused_for_good_is_dropped_and_said(
    desk: Desk, receiver: Receiver, logs: list[Any]
) -> None:
    receiver.answers["/"] = 413
    async with desk.telling():
        desk.deploy()
        await eventually(lambda: undelivered(logs))
        await quiet(desk)
    assert len(receiver.tried) == 1


async def test_only_the_url_that_failed_is_tried_again(desk: Desk, receiver: Receiver) -> None:
    desk.urls.write_text(f"{receiver.url('/good')}\n{receiver.url('/bad')}\n")
    receiver.answers["/bad"] = 503
    async with desk.telling():
        desk.deploy()
        await eventually(lambda: len([path for path, _ in receiver.tried if path == "/bad"]) >= 3)
        receiver.answers.clear()
        await quiet(desk)
    assert [path for path, _ in receiver.tried].count("/good") == 1
    assert receiver.titles("/bad") == ["hello deployed"]


async def test_a_url_that_hangs_holds_up_no_other_one_and_no_route(
    desk: Desk, receiver: Receiver, tmp_path: Path, logs: list[Any]
) -> None:
    desk.urls.write_text(f"{receiver.url('/stuck')}\n{receiver.url('/good')}\n")
    other = tmp_path / "other"
    other.write_text(receiver.url("/other"))
    desk.routes(ops={"timeout_s": 3.0}, other={"urls_file": str(other)})
    receiver.hanging.add("/stuck")
    async with desk.telling(Backoff(tries=10**9, first=1000, most=1000)):
        for number in range(3):
            desk.deploy(f"w{number}")
        await eventually(lambda: len(receiver.titles("/other")) == 3)
        await eventually(lambda: len(receiver.titles("/good")) == 3)
        assert [path for path, _ in receiver.tried].count("/stuck") == 1
        await eventually(lambda: undelivered(logs))
        assert undelivered(logs)[0].startswith("URL 1 (json://): no answer within 3 s")
        receiver.release.set()


async def test_what_waits_for_a_url_that_is_taken_out_of_the_file_is_dropped_and_said(
    desk: Desk, receiver: Receiver, logs: list[Any]
) -> None:
    desk.urls.write_text(f"{receiver.url('/old')}\n{receiver.url('/new')}\n")
    receiver.answers["/old"] = 500
    async with desk.telling():
        desk.deploy()
        await eventually(lambda: undelivered(logs))
        desk.urls.write_text(receiver.url("/new"))
        await quiet(desk)
    assert receiver.titles() == ["hello deployed"]
    assert undelivered(logs)[-1] == "its URL is not in the file any more"


async def test_a_file_of_urls_that_cant_be_read_is_said_and_used_when_it_can(
    desk: Desk, receiver: Receiver, logs: list[Any]
) -> None:
    text = desk.urls.read_text()
    desk.urls.unlink()
    async with desk.telling():
        desk.deploy()
        await eventually(lambda: undelivered(logs))
        assert (
            f"notify.urls_file {desk.urls} can't be read: No such file or directory" in undelivered(logs)[0]
        )
        desk.urls.write_text("# nobody\n")
        await asyncio.sleep(0.2)
        desk.urls.write_text(text)
        await quiet(desk)
    assert receiver.titles() == ["hello deployed"]


async def test_no_secret_of_a_url_is_shown(
    desk: Desk, receiver: Receiver, logs: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    port = receiver.server_port
    lines = [
        f"json://user:{_SECRET}@127.0.0.1:{port}/{_SECRET}?+X-Token={_SECRET}",
        f"json://user:{_SECRET}@127.0.0.1:1/{_SECRET}",
        f"nobody://{_SECRET}/x",
        f"{_SECRET}",
    ]
    desk.urls.write_text("\n".join(lines))
    receiver.answers[f"/{_SECRET}"] = 500
    async with desk.telling():
        desk.deploy()
        await eventually(lambda: len(undelivered(logs)) == 4)
        letters = desk.world.state.outbox.letters()
    because = "\n".join(undelivered(logs))
    for words in (
        "URL 1 (json://127.0.0.1): HTTP 500 Internal Server Error",
        "URL 2 (json://127.0.0.1): the connection is refused",
        "URL 3 (nobody://): is no URL that Apprise knows",
        "URL 4: is no URL that Apprise knows",
    ):
        assert words in because
    out, err = capfd.readouterr()
    assert _SECRET not in f"{logs}{letters}{out}{err}"
    assert "hello deployed" not in out + err, "Apprise's own log goes nowhere"


async def test_a_file_of_urls_that_others_can_read_is_said_once(
    desk: Desk, receiver: Receiver, logs: list[Any]
) -> None:
    desk.urls.chmod(0o644)
    async with desk.telling():
        desk.deploy()
        desk.deploy()
        await eventually(lambda: len(receiver.taken) == 2)
    warned = [line["because"] for line in logs if line["event"] == "notifications"]
    assert warned == [f"notify.urls_file {desk.urls} can be used by all users (mode 0644); chmod o= it"]


# Starts and ends -------------------------------------------------------------------------------


async def test_the_first_start_tells_nothing_of_what_was_before(desk: Desk, receiver: Receiver) -> None:
    desk.deploy()
    desk.fail()
    async with desk.telling():
        await asyncio.sleep(0.1)
        desk.deploy("new")
        await eventually(lambda: receiver.taken)
        await quiet(desk)
    assert receiver.titles() == ["new deployed"]


async def test_a_restart_tells_what_it_missed_and_nothing_twice(desk: Desk, receiver: Receiver) -> None:
    async with desk.telling():
        desk.deploy("before")
        await eventually(lambda: receiver.taken)
        await quiet(desk)
    desk.deploy("between")
    async with desk.telling():
        desk.deploy("after")
        await eventually(lambda: len(receiver.taken) == 3)
        await quiet(desk)
    assert receiver.titles() == ["before deployed", "between deployed", "after deployed"]


async def test_who_is_told_again_after_a_time_without_hears_nothing_of_that_time(
    desk: Desk, receiver: Receiver
) -> None:
    async with desk.telling():
        pass
    told = desk.world.config
    desk.world.config = replace(told, notify=Notify())
    await Notifier(desk.world, Delivery(desk.world.state.outbox), "x").run()
    desk.deploy("unseen")
    desk.world.config = told
    async with desk.telling():
        desk.deploy("seen")
        await eventually(lambda: receiver.taken)
        await quiet(desk)
    assert receiver.titles() == ["seen deployed"]


async def test_a_ledger_that_cant_be_read_begins_anew(desk: Desk, receiver: Receiver) -> None:
    desk.deploy("old")
    desk.world.state.set_fact("notify", {"cursor": "x", "books": 7})
    async with desk.telling():
        desk.deploy("new")
        await eventually(lambda: receiver.taken)
        await quiet(desk)
    assert receiver.titles() == ["new deployed"]


async def test_a_state_file_that_says_no_is_said_and_nothing_is_lost(
    desk: Desk, receiver: Receiver, logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "_RETRY_S", 0.05)
    refused = 0

    def no(*_: Any) -> None:
        nonlocal refused
        refused += 1
        raise OSError("disk full")

    async with desk.telling():
        with monkeypatch.context() as patch:
            patch.setattr(desk.world.state, "set_fact", no)
            desk.deploy()
            await eventually(lambda: refused >= 2)
        await eventually(lambda: receiver.taken)
        await quiet(desk)
    assert receiver.titles() == ["hello deployed"]
    assert "disk full" in [line["because"] for line in logs if line["event"] == "notifications failed"]


_CHILD = """
import asyncio, sys, time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from timewright import notify
from timewright.config import Config, Notify
from timewright.core.notices import Kind
from timewright.core.retry import Backoff
from timewright.core.state import Record, Status
from timewright.delivery import Delivery
from timewright.edge.statefile import StateFile
from timewright.world import World

home, names = Path(sys.argv[1]), sys.argv[2].split()
config = replace(Config(base=home), notify=Notify(urls_file="urls", on=["deployed"], title="$workflow"))
state = StateFile(home / "state.db")
known = {}
world = SimpleNamespace(config=config, state=state, clock=time.time, listeners=[],
    record=lambda name: known.get(name) or Record(name), commit=lambda revision: None)
notify._BURST_S = 0.01

async def main():
    delivery = Delivery(state.outbox, backoff=Backoff(10**9, 0.05, 0.1))
    notifier = notify.Notifier(world, delivery, "host")
    for name in names:
        record = state.transition(Record(name), Status.DEPLOYING, because="x", now=time.time())
        known[name] = state.transition(record, Status.DEPLOYED, because="x", now=time.time())
    await asyncio.gather(notifier.run(), delivery.run())

state.fact("notify") or state.set_fact("notify", {"cursor": 0, "holding": {}, "books": {"main": {
    "since": 0, "told": {}, "sent": [], "held": {}}}})
asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["notify-before", "notify-between", "notify-after"])
def test_killed_at_any_step_all_is_told_once(tmp_path: Path, receiver: Receiver, point: str) -> None:
    (tmp_path / "urls").write_text(receiver.url())
    names = "a b c"
    killed = subprocess.run(
        python(_CHILD, tmp_path, names), env=child_env(TIMEWRIGHT_FAILPOINT=point), capture_output=True
    )
    assert killed.returncode == -9, killed.stderr
    with subprocess.Popen(python(_CHILD, tmp_path, ""), env=child_env()) as process:
        until(lambda: len(receiver.taken) >= 3)
        process.kill()
    state = StateFile(tmp_path / "state.db")
    assert receiver.titles() == names.split()
    assert len(state.history()) == 6
    state.close()


def test_killed_while_a_service_is_down_all_is_told_when_it_is_up(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "urls").write_text(receiver.url())
    receiver.answers["/"] = 500
    with subprocess.Popen(python(_CHILD, tmp_path, "a b c"), env=child_env()) as process:
        until(lambda: len(receiver.tried) >= 2)
        process.kill()
    receiver.answers.clear()
    with subprocess.Popen(python(_CHILD, tmp_path, ""), env=child_env()) as process:
        until(lambda: len(receiver.taken) >= 3)
        process.kill()
    assert sorted(receiver.titles()) == ["a", "b", "c"]


# Settings --------------------------------------------------------------------------------------


def settings(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "timewright.toml"
    path.write_text(text)
    return load(path, {})


def test_routes_take_from_notify_what_they_dont_say(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        '[notify]\nurls_file = "a"\non = ["failed"]\n[notifiers.ops]\n[notifiers.team]\nowners = ["t"]\n',
    )
    assert list(found.routes) == ["ops", "team"]
    assert found.routes["team"].on == ["failed"]
    assert (found.routes["ops"].owners, found.routes["team"].owners) == ([], ["t"])


def test_without_urls_nobody_is_told(tmp_path: Path) -> None:
    assert settings(tmp_path, "").routes == {}
    assert list(settings(tmp_path, '[notify]\nurls_file = "a"\n').routes) == ["main"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[notify]\ntitle = "$workflw"\n', "notify.title: has no $workflw; it may have $kind, $what, "),
        ('[notify]\nbody = "100 $"\n', "notify.body: has a '$' without a name after it"),
        ('[notify]\non = ["failed", "broken"]\n', "notify.on: must be of deployed, failed, rolled-back, "),
        ('[notifiers.ops]\non = ["failed"]\n', "notifiers.ops needs a urls_file"),
        ('[notifiers.ops]\nurl_file = "x"\n', "notifiers.ops.url_file: no such setting"),
        ("[notify]\nper_minute = 0\n", "notify.per_minute: must be more than 0"),
    ],
)
def test_a_setting_that_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TimewrightError) as caught:
        settings(tmp_path, text)
    assert words in caught.value.message


# The command line ------------------------------------------------------------------------------


def test_notify_test_sends_a_message_and_says_what_became_of_it(
    shell: Shell,  # noqa: F811
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    (tmp_path / "urls").write_text(f"{receiver.url('/good')}\n{receiver.url('/bad')}\n")
    (tmp_path / "timewright.toml").write_text('[notify]\nurls_file = "urls"\n[notifiers.ops]\n')
    receiver.answers["/bad"] = 500
    done = shell.run("notify", "--test", "ops")
    assert done.code == 1
    assert "URL 1 (json://127.0.0.1): sent" in done.out
    assert "URL 2 (json://127.0.0.1): HTTP 500 Internal Server Error" in done.out
    receiver.answers.clear()
    assert shell.run("notify", "--test").code == 0
    assert len(receiver.taken) == 3
    listed = shell.run("notify", "--json")
    assert (listed.code, [view["route"] for view in listed.json]) == (0, ["ops"])
    assert len(receiver.taken) == 3


def test_notify_says_what_is_wrong_with_a_file_and_names_the_routes(
    shell: Shell,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "timewright.toml").write_text('[notifiers.ops]\nurls_file = "nowhere"\n')
    done = shell.run("notify")
    assert done.code == 1
    assert f"notifiers.ops.urls_file {tmp_path / 'nowhere'} can't be read" in done.out
    other = shell.run("notify", "--test", "nobody")
    assert (other.code, "there are: ops" in other.err) == (1, True)
