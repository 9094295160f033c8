"""What is put into a query comes out of it as it was, and ends nothing."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from timewright.core.visibility import of_version, on_queue, quoted

#: A literal of MySQL's kind: no quote within but behind a backslash.
LITERAL = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)


@given(st.text(alphabet=st.sampled_from("a'\\\"%; \n")))
def test_any_text_is_one_literal_that_says_it(text: str) -> None:
    found = LITERAL.fullmatch(quoted(text))
    assert found is not None
    assert re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL) == text


def test_executions_are_asked_for_by_queue_type_and_version() -> None:
    assert on_queue("it's \\ mine") == r"TaskQueue = 'it\'s \\ mine'"
    assert on_queue("q", ["a", "b"]) == "TaskQueue = 'q' AND WorkflowType IN ('a', 'b')"
    assert of_version("q", "1a") == "TemporalWorkerDeploymentVersion = 'q:1a'"
