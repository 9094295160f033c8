"""Coverage-guided fuzzing of all that reads what strangers wrote: `make fuzz`, which needs atheris.

An input's first byte chooses the reader (see `READERS`), the rest is its document. Only a SpecError
may come out, and whatever is read must stay inside of its release. `python -m tests.fuzz.fuzz_spec
CORPUS [libFuzzer options]`; the corpus is seeded from specs/ and from the cases below.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
atheris: Any = importlib.import_module("atheris")  # no types of its own, and not on every machine

with atheris.instrument_imports(include=["timewright", "tests.fuzz"]):
    from tests.fuzz.targets import fuzz_policy, fuzz_spec, fuzz_structured, fuzz_text

READERS: tuple[Callable[[bytes], None], ...] = (
    lambda data: fuzz_spec(data, is_yaml=False),
    lambda data: fuzz_spec(data, is_yaml=True),
    fuzz_structured,
    fuzz_policy,
    fuzz_text,
)

#: What a mutator would have to guess letter by letter.
WORDS = (
    *("workflowId", "workflowCode", "activitiesCode", "workerCode", "packageJson", "tsConfig", "files"),
    *("entrypoints", "deploy", "taskQueue", "isolation", "process", "env", "keepReleases", "data", "match"),
    *("src/workflow.ts", "src/worker.ts", "export async function a() {}", "@temporalio/workflow", "import "),
    *("export * from './a'", "extends", "compilerOptions", "node_modules", "../", "\\ud800", "\\u0000"),
    *(
        "&a ",
        "*a",
        "<<: ",
        "!!binary ",
        "!!float ",
        "- ",
        "? ",
        "|\n",
        ">-\n",
        "---\n",
        "1:2:3",
        "0x",
        "1e999",
    ),
)


def one_input(data: bytes) -> None:
    if data:
        READERS[data[0] % len(READERS)](data[1:])


def seed(corpus: Path) -> None:
    """The examples and some hostile documents, as inputs."""
    corpus.mkdir(parents=True, exist_ok=True)
    hostile = json.loads((ROOT / "tests" / "fuzz" / "seeds.json").read_text("utf-8"))
    for path in sorted((ROOT / "specs").iterdir()):
        _keep(corpus, path.suffix in (".yaml", ".yml"), path.read_bytes())
    for kind, texts in hostile.items():
        for text in texts:
            _keep(corpus, int(kind), text.encode("utf-8", "surrogatepass"))


def _keep(corpus: Path, kind: int, data: bytes) -> None:
    data = bytes([kind]) + data
    (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def main() -> None:
    corpus = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), ".cache/fuzz"))
    seed(corpus)
    words = corpus.parent / f"{corpus.name}.dict"
    lines = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS)
    words.write_text("".join(f'"{line}"\n' for line in lines))
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    atheris.Setup([sys.argv[0], str(corpus), f"-dict={words}", *options], one_input)
    with contextlib.suppress(KeyboardInterrupt):
        atheris.Fuzz()


if __name__ == "__main__":
    main()
