"""A host's life with timewright: installed on a booted Debian, used, hurt, upgraded, taken off.

The tests of this file use one machine, in their order. No test talks to a network: nor does the machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.specs import greeter
from tests.systemd.machine import REPO, Machine, missing

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

PACKAGE = REPO / "dist" / f"timewright-0.1.0-linux-{subprocess.getoutput('uname -m')}"
TEMPORAL = "/temporal/temporal"
SERVER = f"{TEMPORAL} server start-dev --headless --log-level error --db-filename /root/temporal.db"
SPECS = "/srv/timewright/specs"
SETTINGS = "/etc/timewright/timewright.toml"
UNITS = ("timewright", "timewright-worker")

SPY = """
import * as fs from 'node:fs';
import * as net from 'node:net';

function tried(what: () => unknown): string {
  try {
    what();
    return 'done';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

export async function spy(pid: number): Promise<Record<string, string>> {
  const data = '/var/lib/timewright';
  const socket = await new Promise<string>((resolve) => {
    const there = net.connect('/run/timewright/api.sock');
    there.once('connect', () => resolve('done'));
    there.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
  });
  return {
    state: tried(() => fs.readFileSync(`${data}/state.db`)),
    holds: tried(() => fs.readdirSync(`${data}/holds`)),
    cache: tried(() => fs.readdirSync(`${data}/cache`)),
    credential: tried(() => fs.readFileSync('/etc/timewright/credentials/deploy-key')),
    loaded: tried(() => fs.readdirSync('/run/credentials/timewright.service')),
    environ: tried(() => fs.readFileSync(`/proc/${pid}/environ`)),
    kill: tried(() => process.kill(pid, 'SIGTERM')),
    foreign: tried(() => fs.readdirSync(`${data}/releases/hello`)),
    pool: tried(() => fs.readdirSync(`${data}/pools/default/hello`)),
    release: tried(() => fs.writeFileSync(`${data}/releases/evil`, '')),
    spec: tried(() => fs.writeFileSync('/srv/timewright/specs/evil.json', '{}')),
    program: tried(() => fs.writeFileSync('/opt/timewright/evil', '')),
    home: tried(() => fs.readdirSync('/root')),
    api: socket,
    temporary: tried(() => fs.writeFileSync(`${process.env.TMPDIR}/honest`, '')),
  };
}
"""
SPY_WORKFLOW = """
import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';
const { spy } = proxyActivities<typeof activities>({
  startToCloseTimeout: '20 seconds', retry: { maximumAttempts: 1 },
});
export async function spying(pid: number): Promise<Record<string, string>> {
  return await spy(pid);
}
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    assert PACKAGE.is_dir(), "make package"
    binds = {REPO / "dist": "/dist", _temporal().parent: "/temporal"}
    made = Machine(binds)
    made.write(
        "/etc/systemd/system/temporal.service",
        f"[Service]\nExecStart={SERVER}\n[Install]\nWantedBy=multi-user.target\n",
    )
    try:
        made.boot()
        yield made
    finally:
        made.stop()


def _temporal() -> Path:
    found = os.environ.get("TEMPORAL_CLI") or shutil.which("temporal")
    assert found, "make temporal"
    return Path(found)


# the parts -------------------------------------------------------------------------------------


def deploy(machine: Machine, spec: dict[str, Any]) -> None:
    """As a person would: a file into the folder."""
    name = f"{SPECS}/{spec['workflowId']}.json"
    machine.write(f"{name}.part", json.dumps(spec))
    machine.run("mv", f"{name}.part", name)


def overview(machine: Machine, settings: str = SETTINGS) -> dict[str, Any]:
    """What `timewright status` says; {} while there is no answer."""
    said = machine.run("timewright", "status", "--json", "--config", settings, check=False)
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        return {}
    return found


def is_served(machine: Machine, workflow_id: str) -> bool:
    views = {view["workflowId"]: view for view in overview(machine).get("workflows", ())}
    view = views.get(workflow_id, {})
    return (view.get("status"), view.get("health"), view.get("sync")) == ("DEPLOYED", "Healthy", "Synced")


def wait_served(machine: Machine, workflow_id: str) -> None:
    # While the daemon is down, status reads the state file.
    machine.until(lambda: machine.show("timewright", "ActiveState") == "active", machine.journal)
    machine.until(lambda: is_served(machine, workflow_id), machine.journal)


def execute(machine: Machine, workflow_type: str, queue: str, argument: Any) -> Any:
    """The result of one execution."""
    words = [TEMPORAL, "workflow", "execute", "--address", "127.0.0.1:7233", "--type", workflow_type]
    words += ["--task-queue", queue, "--input", json.dumps(argument), "--output", "json"]
    return json.loads(machine.run(*words).split("\n", 0)[0])["result"]


def pid(machine: Machine, unit: str = "timewright") -> int:
    return int(machine.show(unit, "MainPID"))


def wait_restarted(machine: Machine, unit: str, before: int) -> None:
    machine.until(
        lambda: machine.show(unit, "ActiveState") == "active" and pid(machine, unit) not in (0, before),
        lambda: machine.journal(unit),
    )


def files(machine: Machine) -> set[str]:
    """What lies where a package could leave something, without what systemd and Python keep by themselves."""
    found = machine.shell(
        "find /etc /opt /usr /srv /var/lib /var/cache /run/systemd/system /home /root -xdev"
    )
    passing = (
        *("/var/lib/systemd", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"),
        *("/root/temporal.db", "/etc/subuid", "/etc/subgid", "/etc/.pwd.lock"),
    )
    return {line for line in found.splitlines() if not line.startswith(passing) and "__pycache__" not in line}


# the life --------------------------------------------------------------------------------------


def without(machine: Machine, verb: str) -> str:
    """A PATH on which `systemctl VERB` fails, and all else is as ever."""
    script = f'#!/bin/sh\n[ "$1" != {verb} ] || exit 1\nexec /usr/bin/systemctl "$@"\n'
    machine.write(f"/root/without-{verb}/systemctl", script)
    machine.run("chmod", "755", f"/root/without-{verb}/systemctl")
    return f"PATH=/root/without-{verb}:$PATH"


def test_the_package_is_installed_without_network_and_nothing_is_started(machine: Machine) -> None:
    """By the second run: the first one ends between the swap and the last thing that it does."""
    machine.run("systemctl", "enable", "--quiet", "--now", "temporal")
    machine.before = files(machine)
    said = machine.shell(f"cd /dist/{PACKAGE.name} && {without(machine, 'enable')} ./install", check=False)
    assert "Next: " not in said
    assert machine.show("timewright", "UnitFileState") == "disabled"
    said = machine.shell(f"cd /dist/{PACKAGE.name} && ./install")
    assert "Next: " in said
    assert "Back" not in said
    for unit in UNITS:
        assert machine.show(unit, "UnitFileState") == "enabled"
        assert machine.show(unit, "ActiveState") == "inactive"
    machine.write("/etc/timewright/credentials/deploy-key", "canary-of-the-deploy-key\n")


def test_both_units_start_and_the_doctor_finds_nothing(machine: Machine) -> None:
    machine.run("systemctl", "start", "timewright-worker", "timewright")
    machine.until(
        lambda: (
            "error" not in (said := machine.run("timewright", "doctor", check=False))
            and "warning" not in said
        )
    )
    assert machine.show("timewright", "StatusText") == "nothing deployed"
    assert "Traceback" not in machine.journal()


def test_a_spec_put_into_the_folder_is_served(machine: Machine) -> None:
    deploy(machine, greeter("hello", "Hello"))
    wait_served(machine, "hello")
    assert execute(machine, "hello", "hello", "Ada") == "Hello Ada"
    machine.until(lambda: machine.show("timewright", "StatusText") == "1 DEPLOYED")


def test_credentials_are_loaded_for_the_daemon_and_for_nobody_else(machine: Machine) -> None:
    loaded = "/run/credentials/timewright.service/timewright_deploy-key"
    machine.run("systemctl", "restart", "timewright")
    assert "canary" in machine.run("cat", f"/proc/{pid(machine)}/root{loaded}")
    assert "canary" not in machine.run("cat", loaded, check=False, user="timewright-worker")
    wait_served(machine, "hello")


def test_code_of_a_spec_reads_no_secret_and_changes_nothing(machine: Machine) -> None:
    spec = {
        "workflowId": "spying", "name": "spying", "success": True,
        "workflowCode": SPY_WORKFLOW, "activitiesCode": SPY, "deploy": {"taskQueue": "spying"},
    }  # fmt: skip
    deploy(machine, spec)
    wait_served(machine, "spying")
    before = pid(machine)
    for path in re.findall(r"'(/[a-z][^']+)'|`([$]{data}/[^`]+)`", SPY):  # else a refusal says nothing
        there = "".join(path).replace("${data}", "/var/lib/timewright")
        machine.run("test", "-e", os.path.dirname(there) if "/evil" in there else there)  # noqa: PTH120
    tried = execute(machine, "spying", "spying", before)
    assert tried.pop("temporary") == "done", tried
    assert set(tried.values()) <= {"EACCES", "EPERM", "ENOENT", "EROFS", "ESRCH", "ECONNREFUSED"}, tried
    assert pid(machine) == before
    assert execute(machine, "hello", "hello", "Ada") == "Hello Ada"


@pytest.mark.parametrize("unit", UNITS)
def test_a_killed_unit_is_started_again_and_all_is_served(machine: Machine, unit: str) -> None:
    # With the old control groups of these machines systemd hears in no container that a group is empty.
    machine.write(f"/etc/systemd/system/{unit}.service.d/stop.conf", "[Service]\nTimeoutStopSec=2\n")
    machine.run("systemctl", "daemon-reload")
    other = "timewright-worker" if unit == "timewright" else "timewright"
    before, untouched = pid(machine, unit), pid(machine, other)
    machine.run("kill", "-9", str(before))
    wait_restarted(machine, unit, before)
    wait_served(machine, "hello")
    assert execute(machine, "hello", "hello", "Eve") == "Hello Eve"
    assert pid(machine, other) == untouched
    machine.shell(f"rm -r /etc/systemd/system/{unit}.service.d; systemctl daemon-reload")


def test_a_daemon_that_hangs_is_ended_by_the_watchdog(machine: Machine) -> None:
    machine.write("/etc/systemd/system/timewright.service.d/watchdog.conf", "[Service]\nWatchdogSec=4\n")
    machine.shell("systemctl daemon-reload && systemctl restart timewright")
    before = pid(machine)
    machine.shell("sleep 9")
    assert pid(machine) == before, "it feeds the watchdog while it has nothing to do"
    machine.run("kill", "-STOP", str(before))
    wait_restarted(machine, "timewright", before)
    assert "Watchdog timeout" in machine.journal("timewright")
    wait_served(machine, "hello")
    machine.shell("rm -r /etc/systemd/system/timewright.service.d; systemctl daemon-reload")
    machine.run("systemctl", "restart", "timewright")
    wait_served(machine, "hello")


def test_a_reload_takes_up_other_settings_and_refuses_wrong_ones(machine: Machine) -> None:
    good = (machine.root / SETTINGS.lstrip("/")).read_text()
    machine.write("/root/good.toml", good)
    before = pid(machine)
    machine.write(SETTINGS, good + "\n[releases]\nkeep = 'many'\n")
    try:
        machine.run("systemctl", "reload", "timewright")
        machine.until(
            lambda: "releases.keep" in (overview(machine, "/root/good.toml").get("settingsProblem") or ""),
            machine.journal,
        )
        assert execute(machine, "hello", "hello", "Max") == "Hello Max"
        assert "releases.keep" in machine.run("timewright", "status", check=False), (
            "the command line says it, too"
        )
    finally:
        machine.write(SETTINGS, good + "\n[releases]\nkeep = 7\n")
    machine.run("systemctl", "reload", "timewright")
    machine.until(lambda: "starting anew" in machine.journal("timewright"), machine.journal)
    wait_served(machine, "hello")
    assert overview(machine)["settingsProblem"] is None
    assert pid(machine) == before, "a reload keeps the process"
    machine.run("rm", "/root/good.toml")


def test_after_a_reboot_all_is_served_by_itself(machine: Machine) -> None:
    machine.reboot()
    wait_served(machine, "hello")
    assert execute(machine, "hello", "hello", "Bob") == "Hello Bob"


def test_an_upgrade_swaps_the_program_and_keeps_what_is_deployed(machine: Machine) -> None:
    before = machine.run("readlink", "/opt/timewright/current").strip()
    machine.shell(f"cp -r /dist/{PACKAGE.name} /root/next; echo '# new' >> /root/next/timewright.service")
    machine.run("/root/next/install")
    after = machine.run("readlink", "/opt/timewright/current").strip()
    assert after != before
    assert {runs(machine, unit) for unit in UNITS} == {after}
    wait_served(machine, "hello")
    assert execute(machine, "hello", "hello", "Zoe") == "Hello Zoe"


def links(machine: Machine) -> tuple[str, ...]:
    return tuple(
        machine.run("readlink", f"/opt/timewright/{name}").strip() for name in ("current", "previous")
    )


def runs(machine: Machine, unit: str) -> str:
    """The version that a unit's process is of."""
    line = machine.shell(f"tr '\\0' '\\n' < /proc/{pid(machine, unit)}/cmdline")
    found = re.search("^/opt/timewright/([^/]+-[^/]+)/", line, re.MULTILINE)
    assert found is not None, line
    return found[1]


def test_installing_the_same_again_changes_nothing_and_keeps_the_way_back(machine: Machine) -> None:
    before, pids = links(machine), (pid(machine), pid(machine, "timewright-worker"))
    assert "installed already" in machine.shell("/root/next/install")
    assert links(machine) == before
    assert (pid(machine), pid(machine, "timewright-worker")) == pids
    for version in before:
        machine.run("test", "-e", f"/opt/timewright/{version}/.complete")


def test_the_way_back_that_is_printed_leads_back_and_forth_again(machine: Machine) -> None:
    new, old = links(machine)
    machine.shell(machine.run("/root/next/install").partition("Back to the one before:")[2])
    assert {runs(machine, unit) for unit in UNITS} == {old}
    wait_served(machine, "hello")
    machine.shell(f"/dist/{PACKAGE.name}/install")
    machine.run("test", "-e", f"/opt/timewright/{new}/.complete")
    machine.run("/root/next/install")
    assert links(machine) == (new, old)
    wait_served(machine, "hello")


def test_an_upgrade_that_was_cut_short_is_finished_by_the_next_one(machine: Machine) -> None:
    """The link was swapped, and nothing was restarted: both units run the version before."""
    new, old = links(machine)
    machine.run("ln", "-sfn", old, "/opt/timewright/current")
    machine.run("systemctl", "restart", "timewright", "timewright-worker")
    machine.run("ln", "-sfn", new, "/opt/timewright/current")
    assert {runs(machine, unit) for unit in UNITS} == {old}
    assert "installed already" in machine.shell("/root/next/install")
    assert {runs(machine, unit) for unit in UNITS} == {new}
    assert links(machine) == (new, old)
    machine.run("test", "-e", f"/opt/timewright/{old}/.complete")
    wait_served(machine, "hello")


def test_an_upgrade_whose_unit_does_not_start_says_so_and_the_next_one_repairs_it(machine: Machine) -> None:
    machine.write("/etc/systemd/system/timewright.service.d/no.conf", "[Service]\nExecStartPre=/bin/false\n")
    machine.shell("cp -r /root/next /root/third; echo '# newer' >> /root/third/timewright.service")
    said = machine.shell("/root/third/install 2>&1; echo ended with $?")
    assert said.index("Back to the one before") < said.index("Error: not started: timewright\n")
    assert "ended with 1" in said
    new, old = links(machine)
    assert runs(machine, "timewright-worker") == new, "the other one is not held up"
    machine.run("test", "-e", f"/opt/timewright/{old}/.complete")
    machine.shell("rm -r /etc/systemd/system/timewright.service.d")
    machine.run("/root/third/install")
    assert {runs(machine, unit) for unit in UNITS} == {new}
    assert links(machine) == (new, old)
    wait_served(machine, "hello")
    machine.run("rm", "-r", "/root/third")


def test_a_unit_that_a_person_disabled_and_stopped_stays_so(machine: Machine) -> None:
    """The daemon: where that one is started, it wants the worker host."""
    machine.run("systemctl", "disable", "--quiet", "--now", "timewright")
    machine.shell("/root/next/install")
    assert machine.show("timewright", "UnitFileState") == "disabled"
    assert machine.show("timewright", "ActiveState") == "inactive"
    assert runs(machine, "timewright-worker") == links(machine)[0]
    machine.run("systemctl", "enable", "--quiet", "--now", "timewright")
    wait_served(machine, "hello")


def test_the_journal_tells_the_whole_life_without_a_traceback_or_a_secret(machine: Machine) -> None:
    told = machine.run("journalctl", "--no-pager", "-u", "timewright", "-u", "timewright-worker")
    assert "Traceback" not in told
    assert "panicked" not in told
    assert "canary-of-the-deploy-key" not in told


def test_an_uninstall_that_can_not_disable_a_unit_says_so(machine: Machine) -> None:
    said = machine.shell(f"{without(machine, 'disable')} /root/next/uninstall; echo ended with $?")
    assert "ended with 1" in said
    assert "gone" not in said
    assert machine.show("timewright", "UnitFileState") == "enabled"


def test_uninstalling_leaves_the_data_and_purging_leaves_nothing(machine: Machine) -> None:
    machine.run("/root/next/uninstall")
    ours = ("/root/next", "/root/without-")
    kept = ("/var/lib/timewright", "/etc/timewright", "/srv/timewright")
    left = files(machine) - machine.before
    assert [path for path in sorted(left) if not path.startswith((*ours, *kept))] == []
    machine.run("/root/next/uninstall", "--purge")
    left = files(machine) - machine.before
    assert [path for path in sorted(left) if not path.startswith(ours)] == []
    assert "timewright" not in machine.shell("getent passwd; getent group")
