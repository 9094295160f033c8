"""Documents of people who wish us ill: a SpecError comes out or a spec that stays inside, in linear time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from timewright.core.document import Limits
from timewright.core.errors import SpecError
from timewright.core.pack import code_places, unpacked
from timewright.core.policy import read_policy
from timewright.core.spec import read_spec

from tests.core.test_document import growth
from tests.fuzz.readers import READERS, seeds
from tests.fuzz.targets import check_spec, fuzz_spec, fuzz_text
from tests.support import ROOT, WORKFLOW, as_bytes, compile_result, document

SEEDS = list(seeds())
#: What every reader gets, whatever it reads.
FOR_ALL = [b"", b"\0", b"\xff", b"[" * 100_000, b"x = " + b"[" * 20_000, b'{"a":' * 100_000, b"9" * 10_000]
REAL = [path.read_bytes() for path in sorted((ROOT / "specs").iterdir())]


@pytest.mark.parametrize("name", READERS)
def test_every_seed_is_taken_or_refused_by_every_reader(name: str) -> None:
    for _, data in SEEDS:
        READERS[name](data)
    for data in FOR_ALL:
        READERS[name](data)


def test_every_seed_is_of_a_reader_and_every_reader_has_seeds() -> None:
    assert {name for name, _ in SEEDS} == READERS.keys()


@given(st.binary(max_size=400), st.sampled_from(sorted(READERS)))
def test_bytes_of_any_kind_raise_nothing_but_what_is_told(data: bytes, name: str) -> None:
    READERS[name](data)


# Real specs, damaged ---------------------------------------------------------------------------

WORDS = [
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xe2\x80\xa8",
        b"\\ud800",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
    ),
    *(
        b"\n",
        b"\\",
        b"#",
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!python/object ",
        b"!!float ",
        b"- ",
        b"? ",
        b"|\n",
        b"---\n",
    ),
    *(
        b"%TAG ! x\n",
        b"1e999",
        b"NaN",
        b"-0",
        b"0x" + b"f" * 50,
        b"null",
        b"true",
        b"../",
        b"/etc/passwd",
        b"src/",
    ),
    *(
        b"node_modules/",
        b'"workflowId": "x",',
        b'"deploy": {"env": {}},',
        b"import * as x from './workflow';",
    ),
    b"export * from './workflow';",
]
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from(WORDS) | st.binary(max_size=6)),
    min_size=1,
    max_size=6,
)


def damaged(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """`data` with pieces taken out and others put in: (where from 0 to 1, bytes taken out, bytes put in)."""
    for where, size, piece in edits:
        at = int(where * len(data))
        data = data[:at] + piece + data[at + size :]
    return data


@given(st.sampled_from(REAL), edits, st.booleans())
def test_a_real_spec_that_is_damaged_is_a_spec_or_a_spec_error(data: bytes, edits: Any, flip: bool) -> None:
    bad = damaged(data, edits)
    fuzz_spec(bad, is_yaml=flip is data.startswith(b"{"))
    fuzz_text(bad)


# Named attacks ---------------------------------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
ATTACKS: dict[str, tuple[bool, str, str]] = {  # name → (is YAML, document, what it is refused for)
    "yaml bomb": (True, BOMB, "anchor or alias"),
    "yaml merge": (True, "a: &x {b: 1}\nc:\n  <<: *x\n", "anchor or alias"),
    "python object": (True, "a: !!python/object/apply:os.system [id]\n", "the YAML tag"),
    "yaml tag": (True, "a: !!binary aGk=\n", "has a value of type"),
    "second document": (True, "workflowId: a\n---\nworkflowId: b\n", "more than one YAML document"),
    "yaml twins": (True, "workflowId: a\nworkflowId: b\n", "stands twice"),
    "json twins": (False, '{"workflowId": "a", "workflowId": "b"}', "stands twice"),
    "twins below": (False, '{"workflowId": "a", "files": {"src/a.ts": "", "src/a.ts": "x"}}', "stands twice"),
    "deep lists": (False, "[" * 100_000, "nested deeper"),
    "deep objects": (False, '{"a":' * 100_000, "nested deeper"),
    "deep yaml": (True, "[" * 10_000, "nested deeper"),
    "deep yaml blocks": (True, "".join("  " * i + "a:\n" for i in range(200)), "nested deeper"),
    "deep package": (False, json.dumps(document(packageJson="[" * 100_000)), "nested deeper"),
    "huge integer": (False, '{"a": ' + "9" * 5_000 + "}", "digits"),
    "huge yaml integer": (True, "a: " + "9" * 5_000, "digits"),
    "base 60": (True, "a: " + ":".join(["1"] * 5_000), "digits"),
    "infinite float": (False, '{"a": 1e999}', "too large"),
    "yaml infinity": (True, "a: .inf", "not finite"),
    "not a number": (False, '{"a": NaN}', "NaN is not JSON"),
    "half a surrogate": (False, '{"workflowId": "\\ud800"}', "surrogate"),
    "half a surrogate as a key": (False, '{"\\udfff": 1}', "surrogate"),
    "byte order mark": (False, "\ufeff{}", "byte order mark"),
    "many values": (False, "[" + "0," * 300_000 + "0]", "more than 200000 values"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_by_its_name(name: str) -> None:
    is_yaml, text, words = ATTACKS[name]
    with pytest.raises(SpecError) as caught:
        read_spec(text.encode("utf-8", "surrogatepass"), is_yaml=is_yaml)
    assert words in "\n".join(map(str, caught.value.problems))


parts = st.sampled_from(
    [
        *(
            "..",
            ".",
            "",
            "src",
            "a.ts",
            "A.ts",
            "a",
            "node_modules",
            "dist",
            "con",
            "~",
            "-rf",
            "a\\b",
            "a\x00",
        ),
        *("a\n", "\u202e", "é", "e\u0301", ".env", ".npmrc", "package.json", "x" * 300),
    ]
)
odd_paths = st.lists(parts, min_size=1, max_size=4).map("/".join) | st.text(max_size=20)


@given(st.dictionaries(odd_paths, st.just("x"), max_size=4), st.booleans())
@example({"src/../../x.ts": "x"}, False)
def test_a_path_of_any_shape_stays_inside_or_is_refused(paths: dict[str, str], listed: bool) -> None:
    files: Any = {"src/workflow.ts": WORKFLOW, **paths}
    if listed:
        files = [{"path": path, "content": text} for path, text in files.items()]
    value = document(files=files)
    with suppress(SpecError, UnicodeEncodeError):
        check_spec(read_spec(as_bytes(value)))
    with suppress(SpecError):
        for path in unpacked(value).files:
            assert ".." not in path.split("/")
            assert not path.startswith("/")
            assert "\x00" not in path


# Time ------------------------------------------------------------------------------------------

GROWING: dict[str, tuple[int, Callable[[int], None]]] = {}  # name → (size, work)


def growing(size: int) -> Callable[[Callable[[int], None]], Callable[[int], None]]:
    def keep(work: Callable[[int], None]) -> Callable[[int], None]:
        GROWING[work.__name__] = (size, work)
        return work

    return keep


def reads(data: bytes, *, is_yaml: bool = False) -> None:
    with suppress(SpecError):
        read_spec(data, is_yaml=is_yaml, limits=Limits(files=100_000))


@growing(200)
def many_files(size: int) -> None:
    reads(as_bytes(document(files={f"src/d{i}/f{i}.ts": WORKFLOW for i in range(size)})))


@growing(200)
def many_bad_paths(size: int) -> None:
    reads(as_bytes(document(files={f"../f{i}.ts": "" for i in range(size)})))


@growing(100)
def many_twins(size: int) -> None:
    reads(
        as_bytes(document(files={name: "" for i in range(size) for name in (f"src/f{i}.ts", f"src/F{i}.ts")}))
    )


@growing(150)
def a_chain_of_imports(size: int) -> None:
    files = {f"src/f{i}.ts": f"import './f{i + 1}';\nexport * from './f{i + 1}';\n" for i in range(size)}
    reads(as_bytes(document(files={"src/workflow.ts": "export * from './f0';\n", **files})))


@growing(300)
def a_long_yaml_text(size: int) -> None:
    reads(yaml.safe_dump(document(files={"src/workflow.ts": WORKFLOW * size})).encode(), is_yaml=True)


@growing(400)
def many_errors_of_the_builder(size: int) -> None:
    reads(as_bytes(compile_result(errors=[{"message": "x" * 100}] * size)))


@growing(400)
def many_keys_that_deploy_has_not(size: int) -> None:
    reads(as_bytes(document(deploy={f"key{i}": i for i in range(size)})))


@growing(20_000)
def comments_in_a_package(size: int) -> None:
    reads(as_bytes(document(packageJson="{" + "/* */," * size + "}")))


@growing(1_600)
def many_files_to_find(size: int) -> None:
    value = {"data": {"files": [{"path": f"src/f{i}.ts", "content": "x"} for i in range(size)]}}
    code_places(value)
    unpacked(value)


@growing(400)
def many_keys_that_a_policy_has_not(size: int) -> None:
    with suppress(SpecError):
        read_policy(json.dumps({f"key{i}": i for i in range(size)}, indent=1).encode(), "a.policy.json")


@growing(16)
def names_through_a_chain_of_files(size: int) -> None:
    names = ", ".join(f"x{i}" for i in range(4 * size))
    files = {f"src/f{i}.ts": f"export * from './f{i + 1}';\n" for i in range(size)}
    reads(
        as_bytes(document(files={**files, "src/workflow.ts": f"export {{{names}}} from './f0';\n{WORKFLOW}"}))
    )


@pytest.mark.parametrize("name", GROWING)
def test_four_times_the_document_is_about_four_times_the_work(name: str) -> None:
    size, work = GROWING[name]
    ratios = [growth(work, size)]
    while ratios[-1] >= 12 and len(ratios) < 3:  # quadratic work would be 16, each time; noise is not
        ratios.append(growth(work, size))
    assert min(ratios) < 12
