"""All that reads what strangers wrote, by name. Each takes any bytes, and raises where something doesn't
hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.fuzz import spoken, stored
from tests.fuzz.targets import fuzz_policy, fuzz_spec, fuzz_structured, fuzz_text

HERE: Final = Path(__file__).resolve().parent
Reader = Callable[[bytes], None]

READERS: dict[str, Reader] = {
    "spec-json": lambda data: fuzz_spec(data, is_yaml=False),
    "spec-yaml": lambda data: fuzz_spec(data, is_yaml=True),
    "structured": fuzz_structured,
    "policy": fuzz_policy,
    "text": fuzz_text,
    "receipt": stored.fuzz_receipt,
    "pool": stored.fuzz_pool,
    "holds": stored.fuzz_holds,
    "adopted": stored.fuzz_adopted,
    "packages": stored.fuzz_packages,
    "tokens": stored.fuzz_tokens,
    "stored": stored.fuzz_stored,
    "config": spoken.fuzz_config,
    "worker": spoken.fuzz_worker,
    "webhook": spoken.fuzz_webhook,
    "forge": spoken.fuzz_forge,
    "npm": spoken.fuzz_npm,
    "git": spoken.fuzz_git,
    "replay": spoken.fuzz_replay,
    "progress": spoken.fuzz_progress,
}


def seeds() -> Iterator[tuple[str, bytes]]:
    """(reader, input): examples and hostile documents to begin with, and whatever was found."""
    written: dict[str, list[str]] = json.loads((HERE / "seeds.json").read_text("utf-8"))
    for name, texts in written.items():
        for text in texts:
            yield name, text.encode("utf-8", "surrogatepass")
    for path in sorted((HERE / "corpus").glob("*/*.bin")):
        yield path.parent.name, path.read_bytes()


if __name__ == "__main__":
    print(*READERS)
