"""Which files an alias of a tsconfig may mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.aliases import Aliases


def aliases(paths: object = None, base: object = None) -> Aliases:
    return Aliases.of({"paths": paths, "baseUrl": base})


@pytest.mark.parametrize(
    ("paths", "base", "specifier", "expected"),
    [
        ({"@/*": ["./src/*"]}, None, "@/lib/x", ("src/lib/x",)),
        ({"@/*": ["src/*"]}, ".", "@/lib/x", ("src/lib/x", "@/lib/x")),
        ({"@/*": ["./*"]}, "./src", "@/lib/x", ("src/lib/x", "src/@/lib/x")),
        ({"@/*": ["./src/*"], "@/lib/*": ["./lib/*"]}, None, "@/lib/x", ("lib/x",)),
        ({"@/lib/*": ["./lib/*"], "@/*": ["./src/*"]}, None, "@/lib/x", ("lib/x",)),
        ({"@/*": ["./src/*"], "@/lib": ["./exact"]}, None, "@/lib", ("exact",)),
        ({"@/*": ["./one/*", "./two/*"]}, None, "@/x", ("one/x", "two/x")),
        ({"*-svc": ["./services/*"]}, None, "mail-svc", ("services/mail",)),
        ({"shared": ["./src/shared/index.ts"]}, None, "shared", ("src/shared/index.ts",)),
        ({"@/*": ["${configDir}/src/*"]}, None, "@/x", ("src/x",)),
        ({"@/*": [".\\src\\*"]}, None, "@/x", ("src/x",)),
        (None, "./src", "lib/x", ("src/lib/x",)),
        (None, ".", "lib/x", ("lib/x",)),
        ({"@/*": ["./src/*"]}, None, "@temporalio/workflow", ()),
        ({"*": ["./src/*"]}, None, "./x", ()),
        ({"*": ["./src/*"]}, None, "../x", ()),
        ({"*": ["./src/*"]}, None, "/etc/passwd", ()),
        ({"*": ["./src/*"]}, None, "node:fs", ()),
        ({"@/*": ["./src/*"]}, None, "@/../../../etc/passwd", ()),
        ({"aa*aa": ["./src/*"]}, None, "aaa", ()),
        ({}, None, "x", ()),
    ],
)
def test_a_specifier_means_what_typescript_takes_it_for(
    paths: object, base: object, specifier: str, expected: tuple[str, ...]
) -> None:
    assert aliases(paths, base).targets(specifier) == expected


@pytest.mark.parametrize(
    ("paths", "base", "words"),
    [
        ({"@acme/*": ["../packages/*"]}, None, "is not in the release"),
        ({"@acme/*": ["/srv/*"]}, None, "is not in the release"),
        ({"@acme/*": ["C:\\x\\*"]}, None, "is not in the release"),
        ({"@acme/*": ["./a/../../*"]}, None, "is not in the release"),
        ({"a*b*": ["./src/*"]}, None, "one * at most"),
        ({"a*": ["./src/*/*"]}, None, "one * at most"),
        ({"a": "./src"}, None, "must be a list"),
        ({"a": [1]}, None, "must be a list"),
        (["a"], None, "must be an object"),
        ({"a": ["./node_modules/b"]}, None, "node_modules"),
        ({}, "..", "must be a folder"),
        ({}, "/", "must be a folder"),
        ({}, 1, "must be a folder"),
    ],
)
def test_what_leaves_the_release_is_left_out_with_a_note(paths: object, base: object, words: str) -> None:
    made = aliases(paths, base)
    assert not made
    assert len(made.notes) == 1
    assert words in made.notes[0]


def test_one_bad_target_does_not_take_the_good_one_with_it() -> None:
    made = aliases({"@/*": ["../x/*", "./src/*"]})
    assert made.targets("@/a") == ("src/a",)
    assert len(made.notes) == 1


def test_paths_are_relative_to_the_folder_of_their_file() -> None:
    assert Aliases.of({"paths": {"@/*": ["../src/*"]}}, "config").targets("@/a") == ("src/a",)
    assert (
        Aliases.of({"paths": {"@/*": ["*"]}, "baseUrl": ".."}, "config/deep").targets("@/a")[0] == "config/a"
    )


def test_the_compiler_gets_them_from_the_root_with_the_base_as_last_candidate() -> None:
    assert aliases({"@/*": ["./lib/*"]}).paths() == {"@/*": ["./lib/*"]}
    assert aliases({"@/*": ["lib/*"]}, "./src").paths() == {
        "@/*": ["./src/lib/*", "./src/@/*"],
        "*": ["./src/*"],
    }
    assert aliases({"*": ["types/*"]}, ".").paths() == {"*": ["./types/*", "./*"]}


def test_node_modules_among_the_candidates_of_everything_needs_no_note() -> None:
    made = aliases({"*": ["node_modules/*", "src/types/*"]}, ".")
    assert made.notes == ()
    assert made.targets("x") == ("src/types/x", "x")


_TEXT = st.text(alphabet="@/.*ab\\~:", max_size=12)


@given(st.dictionaries(_TEXT, st.lists(_TEXT, max_size=3), max_size=4), st.none() | _TEXT, _TEXT)
def test_no_target_ever_leaves_the_release(paths: dict[str, list[str]], base: str | None, said: str) -> None:
    made = aliases(paths, base)
    for path in (*made.targets(said), *(item for items in made.paths().values() for item in items)):
        assert not path.startswith("/")
        assert ".." not in path.split("/")
