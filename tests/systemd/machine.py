"""A Debian booted by systemd, in a container of systemd-nspawn: with journal, users, reboots; no network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CACHE = REPO / ".cache" / "systemd"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "ca-certificates", "procps")
PATIENCE = 120.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str:
    """Why no machine can be booted here; '' when one can."""
    if os.geteuid() != 0:
        return "needs root"
    tools = [tool for tool in ("systemd-nspawn", "debootstrap", "nsenter") if shutil.which(tool) is None]
    return f"needs {', '.join(tools)} (apt-get install systemd-container debootstrap)" if tools else ""


def make_root() -> Path:
    """A Debian tree with Python, made once."""
    root = CACHE / "bookworm"
    if not root.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=CACHE))
        command = [
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            "bookworm",
            str(making),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        making.chmod(0o755)
        making.rename(root)
    return root


class Machine:
    """One booted container. `binds`: folders of ours → where the container sees them, read-only."""

    def __init__(self, binds: dict[Path, str]) -> None:
        # Not in pytest's temporary folder, which other runs clean up.
        original = make_root()
        self._home = Path(tempfile.mkdtemp(dir=CACHE))
        self.root, self._binds, self._console = self._home / "root", binds, self._home / "console.log"
        subprocess.run(["cp", "-a", str(original), str(self.root)], check=True)
        self.before: set[str] = set()  # files that were there before us
        self._nspawn: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        binds = [f"--bind-ro={ours}:{theirs}" for ours, theirs in self._binds.items()]
        command = ["systemd-nspawn", "-b", "-D", str(self.root), "--register=no", "--keep-unit"]
        command += ["--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self"]
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*command, "--private-network", "--quiet", *binds],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                # As the machine that tests run on: most still mount the controllers one by one.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1" if _is_unified() else "0"},
            )
        self.wait_for_boot()

    def wait_for_boot(self) -> None:
        self.until(
            lambda: self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")
        )

    def reboot(self) -> None:
        """Off in order, and on again: nspawn's own reboot doesn't work without a registered machine."""
        assert self._nspawn is not None
        self.run("systemctl", "poweroff", check=False)
        self._nspawn.wait(PATIENCE)
        self.boot()

    def _init(self) -> int | None:
        """The process id, as we see it, of the container's systemd."""
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._console.read_text(errors="replace")[-2000:]
        path = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        for child in path.read_text().split():
            try:
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
            except OSError:
                continue
        return None

    def run(self, *command: str, check: bool = True, user: str = "") -> str:
        """What a command inside says, both streams. With `check`, an assertion that it succeeds."""
        init = self._init()
        if init is None:
            assert not check
            return ""
        words = ["nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        words += ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8"]
        words += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        done = subprocess.run(
            [*words, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0 or not check, (
            f"{' '.join(command)}: {done.returncode}\n{said}\n{self.journal()}"
        )
        return said

    def shell(self, script: str, *, check: bool = True, user: str = "") -> str:
        return self.run("bash", "-c", script, check=check, user=user)

    def journal(self, *units: str) -> str:
        """The end of what the units said since the boot."""
        words = [word for unit in units or ("timewright", "timewright-worker") for word in ("-u", unit)]
        return self.run("journalctl", "--no-pager", "-b", "-n", "60", *words, check=False)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def until(self, met: Callable[[], object], why: Callable[[], str] = lambda: "") -> None:
        deadline = time.monotonic() + PATIENCE
        while not met():
            assert time.monotonic() < deadline, why() or self._console.read_text(errors="replace")[-2000:]
            time.sleep(0.3)

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def stop(self) -> None:
        if self._nspawn is not None and self._nspawn.poll() is None:
            if (init := self._init()) is not None:
                os.kill(init, signal.SIGKILL)  # the container's own, which outlives nspawn
            os.killpg(self._nspawn.pid, signal.SIGKILL)
            self._nspawn.wait()
        shutil.rmtree(self._home, ignore_errors=True)


def _is_unified() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()
