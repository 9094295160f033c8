"""What people use today, each as it is found in the field, and each on the same specs.

- `script-ts5`: inotifywait, jq, cold `tsc -p` (TypeScript 5.9), cold `bundleWorkflowCode`, worker restarted;
- `script-ts7`: the same with TypeScript's native compiler;
- `nodemon`: nodemon starts a script that unpacks with jq and compiles with the native compiler, then a worker
  that bundles by itself when it starts (`workflowsPath`, Temporal's own samples);
- `tsc-watch`: one `tsc --watch` (native) over all specs' sources, unpacked already. It only checks and emits.

Scripts leave marks beside what they made, so that no half-written file counts as made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.common import REPO
from tests.e2e.specs import WORKER

MODULES: Final = REPO / "worker" / "node_modules"
TOOLS: Final = REPO / ".cache" / "bench"
NODEMON: Final = "nodemon@3.1.14"

_OPTIONS: Final = {
    "target": "es2022",
    "module": "node16",
    "moduleResolution": "node16",
    "strict": True,
    "skipLibCheck": True,
    "types": ["node"],
    "sourceMap": True,
}

_BUNDLE_JS: Final = """\
const { writeFileSync } = require('node:fs');
const { resolve } = require('node:path');
const { bundleWorkflowCode } = require('@temporalio/worker');
bundleWorkflowCode({ workflowsPath: resolve('dist/workflow.js'), logger: { trace() {}, debug() {}, info() {},
  warn: console.warn, error: console.error, log() {} } })
  .then(({ code }) => writeFileSync('bundle.js', code))
  .catch((error) => { console.error(error); process.exit(1); });
"""

#: WORKER with what `bundleWorkflowCode` made, in place of bundling once more at its start.
_BUNDLED_WORKER: Final = WORKER.replace(
    "workflowsPath: require.resolve('./workflow')",
    "workflowBundle: { codePath: require.resolve('../bundle.js') }",
)


def typescript_5() -> list[str]:
    return ["node", str(MODULES / "typescript-5" / "bin" / "tsc")]


def typescript_7() -> list[str]:
    """The native binary itself, without the Node script that starts it."""
    from timewright.edge.tschild import tsc_binary

    return [str(tsc_binary(REPO / "worker"))]


def nodemon() -> Path:
    """The command, installed on first use. Raises SystemExit where npm can't."""
    command = TOOLS / "node_modules" / ".bin" / "nodemon"
    if not command.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(["npm", "install", "--prefix", str(TOOLS), *quiet, NODEMON], check=True)
    return command


class Project:
    """One workflow's project folder, as a script keeps it."""

    def __init__(self, home: Path, spec: dict[str, Any], *, bundled: bool = False) -> None:
        """`bundled`: its worker takes the bundle that was made, and makes none."""
        self.home = home
        (home / "src").mkdir(parents=True)
        (home / "node_modules").symlink_to(MODULES)
        options = {**_OPTIONS, "rootDir": "src", "outDir": "dist"}
        (home / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["src"]}))
        (home / "package.json").write_text("{}")
        (home / "bundle-it.js").write_text(_BUNDLE_JS)
        self.write(spec, _BUNDLED_WORKER if bundled else WORKER)

    def write(self, spec: dict[str, Any], worker: str = WORKER) -> None:
        (self.home / "src" / "workflow.ts").write_text(spec["workflowCode"])
        (self.home / "src" / "activities.ts").write_text(spec["activitiesCode"])
        (self.home / "src" / "worker.ts").write_text(worker)

    def compile(self, tsc: Sequence[str]) -> None:
        subprocess.run([*tsc, "-p", str(self.home)], check=True)

    def bundle(self) -> None:
        subprocess.run(["node", "bundle-it.js"], cwd=self.home, check=True)


class Watching:
    """A folder of specs, and a process that acts when one changes."""

    def __init__(self, name: str, home: Path, temporal: str, spec: dict[str, Any], *, bundled: bool) -> None:
        self.name, self.home, self.temporal = name, home, temporal
        self.specs, self.project = home / "specs", Project(home / "project", spec, bundled=bundled)
        self.specs.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def marks(self) -> dict[str, int]:
        """When each stage was last done: {stage: mtime in ns}."""
        found = {}
        for stage in ("dist", "bundle"):
            path = self.home / f"{stage}.done"
            found[stage] = path.stat().st_mtime_ns if path.exists() else 0
        return found

    def put(self, spec: dict[str, Any]) -> None:
        text = json.dumps(spec)
        aside = self.home / "spec.part"
        aside.write_text(text)
        aside.replace(self.specs / "bench.json")

    def _start(self, command: Sequence[str | Path]) -> None:
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                env={
                    **os.environ,
                    "TEMPORAL_ADDRESS": self.temporal,
                    "TEMPORAL_NAMESPACE": "default",
                    "TEMPORAL_TASK_QUEUE": self.name,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        path = self.home / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _script(self, text: str) -> Path:
        path = self.home / "deploy.sh"
        path.write_text(text)
        path.chmod(0o755)
        return path


_UNPACK = """\
  jq -r .workflowCode "$spec" > src/workflow.ts
  jq -r .activitiesCode "$spec" > src/activities.ts
"""


class Script(Watching):
    """inotifywait in a loop, as on a hundred blogs."""

    def __init__(
        self, name: str, home: Path, temporal: str, spec: dict[str, Any], tsc: Sequence[str]
    ) -> None:
        super().__init__(name, home, temporal, spec, bundled=True)
        self._tsc = " ".join(tsc)

    def start(self) -> None:
        text = f"""#!/bin/sh
cd {self.project.home}
inotifywait -q -m -e close_write -e moved_to --format %f {self.specs} | while read -r file; do
  case "$file" in *.json) spec={self.specs}/$file ;; *) continue ;; esac
{_UNPACK}
  {self._tsc} -p . || continue
  touch ../dist.done
  node bundle-it.js || continue
  touch ../bundle.done
  if [ -n "$worker" ]; then kill "$worker" 2>/dev/null; wait "$worker"; fi
  node dist/worker.js &
  worker=$!
done
"""
        self._start([self._script(text)])


class Nodemon(Watching):
    """nodemon, which kills the worker and starts the script again."""

    def __init__(self, home: Path, temporal: str, spec: dict[str, Any], tsc: Sequence[str]) -> None:
        super().__init__("nodemon", home, temporal, spec, bundled=False)
        self._tsc = " ".join(tsc)

    def start(self) -> None:
        text = f"""#!/bin/sh
cd {self.project.home}
spec={self.specs}/bench.json
{_UNPACK}
{self._tsc} -p . || exit 1
touch ../dist.done
exec node dist/worker.js
"""
        script = self._script(text)
        self._start([nodemon(), "--quiet", "--watch", self.specs, "--ext", "json", "--exec", str(script)])


class TscWatch:
    """`tsc --watch` over the sources of many specs, unpacked beforehand: it has nothing else to do."""

    def __init__(self, home: Path, specs: Iterator[dict[str, Any]]) -> None:
        self.home = home
        home.mkdir(parents=True)
        (home / "node_modules").symlink_to(MODULES)
        for spec in specs:
            self.write(spec)
        options = {**_OPTIONS, "rootDir": "src", "outDir": "dist"}
        (home / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["src"]}))
        (home / "package.json").write_text("{}")
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, spec: dict[str, Any]) -> None:
        folder = self.home / "src" / spec["workflowId"]
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("activities", "workflow"):
            path = folder / f"{name}.ts"
            aside = folder.parent / f"{name}.part"
            aside.write_text(spec[f"{name}Code"])
            if not path.exists() or path.read_text() != aside.read_text():
                aside.replace(path)

    def emitted(self, workflow_id: str) -> Path:
        return self.home / "dist" / workflow_id / "workflow.js"

    def start(self, patience_s: float = 300.0) -> None:
        """Returns when the first build is done and it waits for changes."""
        log = self.home / "log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [*typescript_7(), "--watch", "--preserveWatchOutput", "-p", str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + patience_s
        while "Watching for file changes" not in log.read_text():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise SystemExit(f"tsc --watch did not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def tsc_watch(home: Path, specs: Iterator[dict[str, Any]]) -> Iterator[TscWatch]:
    """A running one, with its folder gone afterwards."""
    watch = TscWatch(home, specs)
    try:
        watch.start()
        yield watch
    finally:
        watch.stop()
        shutil.rmtree(home, ignore_errors=True)


def missing() -> dict[str, str]:
    """Peers that can't be measured here, and why."""
    found = {}
    for command in ("inotifywait", "jq"):
        if shutil.which(command) is None:
            found["script-ts5"] = found["script-ts7"] = f"no {command} on PATH"
    if shutil.which("jq") is None:
        found["nodemon"] = "no jq on PATH"
    elif not (TOOLS / "node_modules" / ".bin" / "nodemon").exists() and shutil.which("npm") is None:
        found["nodemon"] = "no npm to install it with"
    return found
