"""Names and messages come from commits, compilers, workers and strangers: whatever is in them, they are words
on a terminal and in a log, and nothing that acts, forges a line or goes missing (G10)."""

from __future__ import annotations

import io
import json
import re
import time
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from timewright import log
from timewright.cli.common import printable, printable_lines, safe
from timewright.core.commits import clean
from timewright.core.errors import Problem, Reason
from timewright.core.forges import cut
from timewright.core.masking import printable as spelled
from timewright.core.state import Failure, Pin, Pinned, Suspension
from timewright.views import View

from tests.cli.conftest import Shell
from tests.cli.fake import DIGEST, OLDER, FakeDaemon, event, workflow

NASTY = "a\x1b[2J\x9b31m\rb\x07\x08[red]c[/red]\u202ed\u2066e\u2028f\x00<script>&\nFORGED"
NOW = time.time()
FAILURE = Failure(Reason.TYPE_CHECK_FAILED, NASTY, (Problem(NASTY, NASTY, NASTY),))
#: Where the daemon's own words stand: what is in these no stranger can say.
_OWN = re.compile(
    r"(?:status|health|sync|kind|state|release|digest|Status|phase|.*[aA]t|since|id|commit|sha)$"
)


def poisoned(view: Any) -> Any:
    """A view with every free text in it changed into what nobody wants to see."""
    if isinstance(view, dict):
        return {
            key: f"{item}{NASTY}" if isinstance(item, str) and not _OWN.match(key) else poisoned(item)
            for key, item in view.items()
        }
    if isinstance(view, list):
        return [f"{item}{NASTY}" if isinstance(item, str) else poisoned(item) for item in view]
    return view


def worst() -> View:
    """A workflow of which everything that can be said is said."""
    pin = Pin(Pinned.PIN, OLDER, NASTY, NOW, NASTY)
    said = {"because": NASTY, "name": NASTY, "source": NASTY, "owner": NASTY, "pool": NASTY, "held": NASTY}
    return workflow(
        failure=FAILURE,
        pin=pin,
        suspension=Suspension(NASTY, NOW, NASTY, NOW + 99),
        drift=(NASTY, NASTY),
        warnings=(NASTY,),
        depends_on=(NASTY,),
        health_reason=NASTY,
        **said,
    )


VERBS = (
    *(("status",), ("status", "hello"), ("list",), ("show", "hello"), ("logs",), ("logs", "hello")),
    *(("history", "hello"), ("operations",), ("status", "--oneline"), ("wait", "hello", "--timeout", "1")),
    *(("suspend", "hello", "--reason", NASTY), ("deploy", "hello", "--reason", NASTY)),
    *(("show", NASTY.replace("\0", "")), ("rollback", "hello", NASTY.replace("\0", ""))),
)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb)[:24].strip())
def test_no_verb_shows_what_would_act_on_a_terminal(
    shell: Shell, daemon: FakeDaemon, verb: tuple[str, ...]
) -> None:
    daemon.workflows["hello"] = poisoned(worst()) | {"workflowId": "hello"}
    daemon.events = [poisoned(event(n, failure=FAILURE)) | {"workflowId": "hello"} for n in range(3)]
    daemon.history["hello"] = [poisoned({"release": DIGEST[:12], **event(1)})]
    daemon.source_problem = NASTY
    daemon.sources = [poisoned(view) for view in daemon.sources]
    daemon.ends |= dict.fromkeys(("deploy", "rollback", "suspend"), ("failed", NASTY))
    done = shell.run(*verb)
    assert "Traceback" not in done.err
    shown = done.out + done.err
    assert [char for char in shown if not char.isprintable() and char not in "\n\t"] == []
    lines = [line for line in done.out.splitlines() if line.startswith("FORGED")]
    assert lines == [], "a line that somebody else wrote"


texts = (
    st.text(max_size=40) | st.just(NASTY) | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]))
)


@given(texts)
def test_what_makes_text_harmless_does_so_for_any_text(text: str) -> None:
    for one in (printable(text), safe(text), clean(text), cut(text, 50), spelled(text).replace("\t", " ")):
        assert one.isprintable()
        one.encode()
    assert all(line.isprintable() for line in printable_lines(text).split("\n"))


@given(texts, st.sampled_from(["pretty", "json"]), st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_a_log_line_is_one_line_whatever_is_in_it_and_never_goes_missing(
    text: str, style: str, encoding: str
) -> None:
    """A file name that is no Unicode made its line vanish: who breaks things could hide that they did."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, newline="\n")
    log.configure("info", style, stream)
    try:
        log.get().warning("source", because=text, file=text)
        log.get().info("transition", workflow=text, old=None, new="DEPLOYED", because=text)
    finally:
        structlog.reset_defaults()
    stream.flush()
    said = written.getvalue().decode(encoding)
    assert said.count("\n") == 2
    assert said.endswith("\n")
    assert "\x1b" not in said
    if style == "json":
        assert [json.loads(line)["event"] for line in said.split("\n")[:2]] == ["source", "transition"]
    else:
        assert said.replace("\n", "").isprintable()
