from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.document import Document, Limits, Path, UnreadableError, parse, show, walk
from timewright.core.errors import SpecError

scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    scalars.filter(lambda value: value not in (float("inf"), float("-inf"))) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def refusal(data: bytes, *, is_yaml: bool = False, limits: Limits | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        parse(data, is_yaml=is_yaml, limits=limits)
    return str(caught.value)


@given(values)
def test_what_json_writes_is_read_as_it_was(value: Any) -> None:
    assert parse(json.dumps(value).encode()).value == value


@given(values)
def test_what_yaml_writes_is_read_as_it_was(value: Any) -> None:
    assume_plain = json.loads(json.dumps(value))
    text = yaml.safe_dump(assume_plain, allow_unicode=True, default_style='"')
    read = parse(text.encode(), is_yaml=True).value
    assert read == assume_plain or "\x85" in text or "\u2028" in text or "\u2029" in text or "\ufeff" in text


@given(st.binary(max_size=300), st.booleans())
def test_bytes_of_any_kind_raise_nothing_but_spec_errors(data: bytes, is_yaml: bool) -> None:
    with suppress(SpecError):
        parse(data, is_yaml=is_yaml)


yaml_words = st.sampled_from(
    [
        *(
            "a",
            "b: ",
            "- ",
            "? ",
            ": ",
            "\n",
            "  ",
            "'",
            '"',
            "|\n",
            ">-\n",
            "&a ",
            "*a ",
            "<<: ",
            "%YAML 1.1\n",
        ),
        *(
            "---\n",
            "...\n",
            "{",
            "}",
            "[",
            "]",
            ",",
            "#",
            "!!int ",
            "!!bool ",
            "!!float ",
            "!!null ",
            "!!set ",
        ),
        *(
            "!!binary ",
            "!!timestamp ",
            "!!python/object:os.system ",
            "!!omap ",
            "!x ",
            "!<tag:yaml.org,2002:map> ",
        ),
        *(
            "0x",
            "1:2:3",
            ".inf",
            ".nan",
            "1e9",
            "2026-11-22",
            "yes",
            "~",
            "=",
            "\\ud800",
            "\t",
            "\x00",
            "0o7",
            "_",
        ),
    ]
)


@given(st.lists(yaml_words, max_size=12).map("".join))
def test_yaml_of_any_shape_raises_nothing_but_spec_errors(text: str) -> None:
    with suppress(SpecError):
        json.dumps(parse(text.encode(), is_yaml=True).value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' stands twice"),
        (b'{"x": {"a": 1, "b": 2, "a": 3}}', "the key 'a' stands twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e400}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "has 5000 digits"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte order mark"),
        ('{"a": 1}'.encode("utf-16-le"), "is not JSON"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": 1', "is not JSON"),
        (b"", "is not JSON"),
        (b"[" * 100_000, "nested deeper than 64"),
        (b'{"a":' * 100_000, "nested deeper than 64"),
    ],
)
def test_json_that_parsers_disagree_on_is_refused(data: bytes, words: str) -> None:
    assert words in refusal(data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "the key 'a' stands twice"),
        ("a: &x 1\nb: *x", "anchor or alias"),
        ("a: &x [1]\nb: [*x, *x]", "anchor or alias"),
        ("a: !!python/object/apply:os.system [id]", "the YAML tag"),
        ("a: !!binary aGk=", "a value of type"),
        ("a: !!bool maybe", "can't be read as bool"),
        ("a: !!int ''", "can't be read as int"),
        ("a: !!float ''", "can't be read as float"),
        ("a: .inf", "not finite"),
        ("a: .nan", "not finite"),
        ("a: 0x" + "F" * 5000, "has 5002 digits"),
        ("a: 1" + ":1" * 50, "has 101 digits"),
        ("a: 1\n---\nb: 2", "more than one YAML document"),
        ("? [a]\n: 1", "not plain text"),
        ("[" * 100, "nested deeper than 64"),
        ("- " * 100 + "a", "nested deeper than 64"),
        ("a: [", "is not YAML"),
    ],
)
def test_yaml_that_is_more_than_plain_values_is_refused(text: str, words: str) -> None:
    assert words in refusal(text.encode(), is_yaml=True)


def test_yaml_dates_stay_the_text_they_are() -> None:
    assert parse(b"a: 2026-11-22", is_yaml=True).value == {"a": "2026-11-22"}


@pytest.mark.parametrize(("is_yaml", "data"), [(False, b"[1,1,1,1]"), (True, b"[1,1,1,1]")])
def test_a_document_costs_no_more_than_its_limits(is_yaml: bool, data: bytes) -> None:
    assert "more than the limit of 5" in refusal(data, is_yaml=is_yaml, limits=Limits(bytes=5))
    assert "more than 2 values" in refusal(data, is_yaml=is_yaml, limits=Limits(items=2))


@pytest.mark.parametrize("is_yaml", [False, True])
def test_text_that_may_be_half_written_is_told_from_text_that_is_wrong(is_yaml: bool) -> None:
    with pytest.raises(UnreadableError):
        parse(b'{"a": [1', is_yaml=is_yaml)
    with pytest.raises(SpecError) as caught:
        parse(b'{"a": 1, "a": 2}', is_yaml=is_yaml)
    assert not isinstance(caught.value, UnreadableError)


def test_yaml_leaves_nothing_behind_in_the_parser() -> None:
    parse(b"a: 1", is_yaml=True)
    before = nodes_alive()
    for number in range(50):
        parse(f"a: {number}\nb: text".encode(), is_yaml=True)
    assert nodes_alive() - before < 10


def nodes_alive() -> int:
    gc.collect()
    return sum(isinstance(item, yaml.ScalarNode) for item in gc.get_objects())


# Lines -----------------------------------------------------------------------------------------


@given(values)
def test_the_line_of_every_json_path_is_where_its_value_starts(value: Any) -> None:
    check_lines(parse(json.dumps(value, indent=2).encode()))


def check_lines(document: Document) -> None:
    """With indent=2 each scalar stands on the line of its own; what is found there must be it."""
    lines = document.text.split("\n")
    if len(lines) == 1:
        return
    for path, here in walk(document.value):
        number = document.line(path)
        assert number is not None, show(path)
        shown = lines[number - 1].strip().removesuffix(",")
        if path and isinstance(path[-1], str):
            key = json.dumps(path[-1])
            assert shown.startswith(f"{key}: ")
            shown = shown.removeprefix(f"{key}: ")
        assert shown == json.dumps(here) or (isinstance(here, dict | list) and shown in "{[")


def test_a_yaml_path_has_the_line_where_its_value_starts() -> None:
    document = parse(b"a: 1\nb:\n  - x\n  - c: |\n      text\n    d: 2\n", is_yaml=True)
    assert {path: document.line(path) for path, _ in walk(document.value)} == {
        (): 1,
        ("a",): 1,
        ("b",): 3,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 1, "c"): 4,
        ("b", 1, "d"): 6,
    }


def test_a_document_on_one_line_has_no_line_numbers() -> None:
    assert parse(b'{"a": 1}').line(("a",)) is None


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ((), "(document)"),
        (("deploy", "rollout", "steps", 0), "deploy.rollout.steps[0]"),
        (("files", "src/workflow.ts"), 'files["src/workflow.ts"]'),
    ],
)
def test_a_path_is_shown_as_people_write_it(path: Path, shown: str) -> None:
    assert show(path) == shown


# Cost ------------------------------------------------------------------------------------------

NASTY: dict[str, Callable[[int], str]] = {
    "quotes": lambda n: '"' * n,
    "escaped quotes": lambda n: '"' + '\\"' * (n // 2),
    "backslashes": lambda n: '"' + "\\" * n,
    "brackets in a string": lambda n: '["' + "[" * n,
    "open and closed": lambda n: "[]" * (n // 2),
    "flat list": lambda n: "[" + "0," * (n // 2),
    "spaces": lambda n: "[" + " " * n,
    "lines": lambda n: "[" + "\n" * n,
    "digits": lambda n: "[" + "1" * n,
    "letters": lambda n: "a" * n,
    "colons": lambda n: "a" + ":1" * (n // 2),
    "dashes": lambda n: "- " * (n // 2),
    "questions": lambda n: "? " * (n // 2),
    "keys": lambda n: "".join(f"k{i}: 1\n" for i in range(n // 8)),
}


def growth(work: Callable[[int], object], size: int, factor: int = 4) -> float:
    """How many times longer `work` takes on `factor` times the size; the better of two of each."""
    return best(work, size * factor) / max(best(work, size), 0.004)


def best(work: Callable[[int], object], size: int) -> float:
    def once() -> float:
        start = time.process_time()
        work(size)
        return time.process_time() - start

    return min(once() for _ in range(2))


@pytest.mark.parametrize("is_yaml", [False, True], ids=["json", "yaml"])
@pytest.mark.parametrize("make", NASTY.values(), ids=NASTY)
def test_four_times_the_document_is_about_four_times_the_work(
    make: Callable[[int], str], is_yaml: bool
) -> None:
    def work(size: int) -> None:
        with suppress(SpecError):
            parse(make(size).encode(), is_yaml=is_yaml)

    assert growth(work, 10_000 if is_yaml else 40_000) < 10  # quadratic work would be 16


@pytest.mark.parametrize("text", ['"' * (8 << 20), "[" * (8 << 20), '{"a":' * (1 << 20), "0," * (4 << 20)])
def test_eight_mebibytes_of_nonsense_are_refused_and_not_chewed_on(text: str) -> None:
    start = time.process_time()
    refusal(text.encode())
    assert time.process_time() - start < 20  # seconds; a hundred times what it takes


def test_the_lines_of_many_problems_cost_one_look_at_the_document() -> None:
    def work(size: int) -> None:
        read = parse(json.dumps(list(range(size)), indent=1).encode())
        assert [read.line((index,)) for index in range(size)] == [index + 2 for index in range(size)]

    assert growth(work, 1_000) < 10
