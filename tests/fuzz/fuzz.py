"""Coverage-guided fuzzing of all that reads what strangers wrote: `make fuzz`, which needs atheris.

`python -m tests.fuzz.fuzz READER CORPUS [libFuzzer options]` goes on until it finds something; see `READERS`.
What it finds it writes beside CORPUS. Put it, made smaller (`-minimize_crash=1`), into
tests/fuzz/corpus/READER/NAME.bin: every reader gets it in `make test` from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
atheris: Any = importlib.import_module("atheris")  # no types of its own, and not on every machine

with atheris.instrument_imports(include=["timewright", "tests.fuzz"]):
    from tests.fuzz.readers import READERS, seeds

#: What a mutator would have to guess letter by letter.
WORDS = (
    *("workflowId", "workflowCode", "activitiesCode", "workerCode", "packageJson", "tsConfig", "files"),
    *("entrypoints", "deploy", "taskQueue", "isolation", "process", "env", "keepReleases", "data", "match"),
    *("src/workflow.ts", "src/worker.ts", "export async function a() {}", "@temporalio/workflow", "import "),
    *("export * from './a'", "extends", "compilerOptions", "node_modules", "../", "\\ud800", "\\u0000"),
    *("&a ", "*a", "<<: ", "!!binary ", "!!float ", "- ", "? ", "|\n", ">-\n", "---\n", "1:2:3", "0x"),
    *("1e999", "nan", "inf", "= ", '"""', "[[a]]", "1979-05-27", "\x1b[2J", "\u202e", "9" * 40, "NaN"),
    *("workflow_id", "release", "versions", "releases", "root", "rollout", "created", "sha256", "owners"),
    *("pools", "startedAt", "lastError", "failed", "reason", "poolVersion", "temporal", "reachable", "null"),
)


def seed(name: str, corpus: Path) -> None:
    """What every fuzzer begins with: the seeds of its reader, and for specs the examples."""
    corpus.mkdir(parents=True, exist_ok=True)
    for reader, data in seeds():
        if reader == name:
            _keep(corpus, data)
    if name.startswith("spec") or name == "text":
        for path in sorted((ROOT / "specs").iterdir()):
            _keep(corpus, path.read_bytes())
    if name == "config":
        _keep(corpus, (ROOT / "config.example.toml").read_bytes())


def _keep(corpus: Path, data: bytes) -> None:
    (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in READERS:
        sys.exit(f"usage: python -m tests.fuzz.fuzz READER CORPUS [options]\nreaders: {', '.join(READERS)}")
    name, corpus = sys.argv[1], Path(sys.argv[2])
    seed(name, corpus)
    words = corpus.parent / f"{corpus.name}.dict"
    lines = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS)
    words.write_text("".join(f'"{line}"\n' for line in lines))
    atheris.Setup([sys.argv[0], str(corpus), f"-dict={words}", *sys.argv[3:]], READERS[name])
    with contextlib.suppress(KeyboardInterrupt):
        atheris.Fuzz()


if __name__ == "__main__":
    main()
