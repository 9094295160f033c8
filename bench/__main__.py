"""All parts, one after the other, and the page made of what they found: `make bench`.

    python -m bench [--full] [PART…]

A part that fails, or takes longer than it may, stops no other; the exit code is 1 then, and what it had
written before stays. Nothing that it started stays behind.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import suppress

from bench.common import REPO, say
from bench.processes import end_all, none_left
from bench.stage import STOCK, home

#: In this order: what rests on an untouched host comes before what changes it. Minutes that each may take.
PARTS = {
    "first": 15,
    "restart": 20,
    "idle": 15,
    "memory": 10,
    "api": 10,
    "change": 30,
    "swap": 5,
    "rollout": 5,
    "git_push": 10,
}
FULL = 6  # times as long


def run_part(part: str, *, full: bool) -> str:
    """'' or why it failed."""
    words = [sys.executable, "-m", f"bench.{part}", *(["--full"] if full else [])]
    process = subprocess.Popen(words, cwd=REPO)
    try:
        code = process.wait(PARTS[part] * 60 * (FULL if full else 1))
    except subprocess.TimeoutExpired:
        return f"not done after {PARTS[part]} minutes"
    finally:
        _end(process)
        end_all()
    return f"exit code {code}" if code else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """It puts its folders away itself, when it is asked to end."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    process.kill()
    process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--full", action="store_true", help="more sizes and rounds, for hours")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    failed: dict[str, str] = {}
    with none_left(), home("stock") as stock:
        os.environ[STOCK] = str(stock)
        for part in given.parts or PARTS:
            say(f"== {part}")
            began = time.monotonic()
            if why := run_part(part, full=given.full):
                failed[part] = why
            say(f"== {part}: {failed.get(part, 'done')} after {time.monotonic() - began:.0f} s")
        if why := _page():
            failed["page"] = why
    for part, why in failed.items():
        print(f"Error: {part}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _page() -> str:
    done = subprocess.run([sys.executable, "-m", "bench.page"], cwd=REPO, check=False)
    return f"exit code {done.returncode}" if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
