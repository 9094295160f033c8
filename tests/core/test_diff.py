"""What differs between two releases, and what of it people may see."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core import diff as d
from timewright.core.diff import Change, Names, Side, Text, as_diff, compare, proven, split_files, text_of
from timewright.core.masking import MASK, mask, printable

from tests.support import digest


def side(**texts: str) -> Side:
    """A release of these files; `a__ts` stands for `a.ts`."""
    named = {name.replace("__", "."): text for name, text in texts.items()}
    return Side(
        "x",
        {name: digest(text) for name, text in named.items()},
        {name: Text(text) for name, text in named.items()},
    )


def test_two_equal_releases_differ_in_nothing() -> None:
    one = replace(side(a__ts="x"), compiled={"dist/a.js": "1"}, installed={"left-pad": "1"})
    assert compare(one, one) == d.Diff((), Names(), (), (), (), (), Names(), Names(), Names(), (), None)


def test_files_that_came_went_and_changed_are_shown_as_text() -> None:
    found = compare(side(a__ts="one\ntwo\n", b__ts="gone\n"), side(a__ts="one\n2\n", c__ts="new\n"))
    assert [(file.path, file.change) for file in found.files] == [
        ("a.ts", "changed"),
        ("b.ts", "removed"),
        ("c.ts", "added"),
    ]
    assert found.files[0].diff == "--- a/a.ts\n+++ b/a.ts\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n "
    assert "-gone" in str(found.files[1].diff)
    assert "+new" in str(found.files[2].diff)


def test_what_is_no_text_says_why_there_is_no_diff() -> None:
    old = Side("a", {"x": "1"}, {"x": Text(None, "binary: not shown")})
    new = Side("b", {"x": "2"}, {"x": Text("y")})
    assert compare(old, new).files[0].note == "binary: not shown"


def test_packages_options_placement_names_and_versions_are_compared() -> None:
    one = replace(
        side(),
        asked={"left-pad": "^1.0.0", "old": "1"},
        installed={"left-pad": "1.0.0"},
        options={"strict": True, "target": "es2022"},
        placement={"taskQueue": "a"},
        workflow_types=("one", "two"),
        activities=("greet",),
        versions={"sdk": "1.23.0"},
        compiled={"dist/a.js": "1", "dist/b.js": "1"},
        bundle=("x", 5),
    )
    two = replace(
        side(),
        asked={"left-pad": "^1.3.0"},
        installed={"left-pad": "1.3.0"},
        options={"strict": False, "target": "es2022"},
        placement={"taskQueue": "b"},
        workflow_types=("two", "three"),
        activities=("greet",),
        versions={"sdk": "1.24.0"},
        compiled={"dist/a.js": "2", "dist/c.js": "1"},
        bundle=("y", 6),
    )
    found = compare(one, two)
    assert found.asked == (Change("left-pad", "^1.0.0", "^1.3.0"), Change("old", "1", None))
    assert found.installed == (Change("left-pad", "1.0.0", "1.3.0"),)
    assert found.options == (Change("strict", True, False),)
    assert found.placement == (Change("taskQueue", "a", "b"),)
    assert found.workflow_types == Names(("three",), ("one",))
    assert found.activities == Names()
    assert found.versions == (Change("sdk", "1.23.0", "1.24.0"),)
    assert found.compiled == Names(("dist/c.js",), ("dist/b.js",), ("dist/a.js",))
    assert found.bundle == (("x", 5), ("y", 6))


def test_what_was_not_made_yet_is_not_compared() -> None:
    found = compare(replace(side(), compiled={"dist/a.js": "1"}, bundle=("x", 1), installed={}), side())
    assert (found.compiled, found.bundle, found.installed) == (None, None, None)


def test_of_the_environment_only_names_are_shown() -> None:
    one = replace(side(a__ts="key hunter22"), env={"KEY": "hunter22", "OLD": "x", "SAME": "s"})
    two = replace(side(a__ts="key correct-horse"), env={"KEY": "correct-horse", "NEW": "y", "SAME": "s"})
    found = compare(one, two)
    assert found.env == Names(("NEW",), ("OLD",), ("KEY",))
    assert "hunter22" not in repr(found)
    assert "correct-horse" not in repr(found)


def test_a_package_from_a_url_with_a_token_shows_no_token() -> None:
    one = replace(side(), asked={"x": "git+https://ann:hunter22@example.com/x.git"})
    assert compare(one, side()).asked == (Change("x", f"git+https://{MASK}@example.com/x.git", None),)


def test_everything_is_bounded() -> None:
    many = "\n".join(str(number) for number in range(3000))
    shown, note = as_diff("a", Text(""), Text(many))
    assert shown is not None
    assert shown.count("\n") < d.MOST_LINES
    assert note == "cut: 2604 more lines"
    assert as_diff("a", Text(""), Text(many * 2))[0] is None
    wide, _ = as_diff("a", Text(""), Text("x" * 100_000))
    assert len(str(wide)) < 2 * d.MOST_WIDTH
    assert text_of(b"x" * (d.MOST_BYTES + 1)).text is None
    files = {f"f{number:03}": Text("x") for number in range(150)}
    lots = Side("x", dict.fromkeys(files, "1"), files)
    assert [file.diff is not None for file in compare(side(), lots).files] == [True] * 100 + [False] * 50


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a\0b"])
def test_bytes_that_are_no_text_are_binary(data: bytes) -> None:
    assert text_of(data) == Text(None, "binary: not shown")


def test_bytes_that_are_not_what_was_built_are_not_taken_for_it() -> None:
    assert text_of(b"x", digest("x")).text == "x"
    assert text_of(b"y", digest("x")) == Text(None, "it is not as it was built: see its drift")
    assert proven([None, "y", "x", "z"], digest("x")) == "x"
    assert proven(["y"], digest("x")) is None


@pytest.mark.parametrize(
    "path", [".env", "src/.env.local", "prod.env", ".npmrc", "certs/server.key", "a.pem"]
)
def test_files_that_hold_secrets_by_their_name_are_not_shown(path: str) -> None:
    assert as_diff(path, Text("a"), Text("b")) == (None, "files of that name may hold secrets: not shown")


def test_a_diff_does_nothing_to_a_terminal() -> None:
    shown, _ = as_diff("a", Text(""), Text("\x1b[2Jgone\r\u202e\t."))
    assert "+\\x1b[2Jgone\\r\\u202e\t." in str(shown)
    assert printable("plain") == "plain"


def test_what_the_spec_gave_and_what_was_made_are_told_apart() -> None:
    files = {
        "src/a.ts": "1",
        "package.json": "2",
        "dist/a.js": "3",
        "bundle/workflow.js": "4",
        "node_modules": "5",
    }
    given_, compiled = split_files(files)
    assert sorted(given_) == ["package.json", "src/a.ts"]
    assert sorted(compiled) == ["bundle/workflow.js", "dist/a.js", "node_modules"]


# Masking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "const password = 'hunter22';",
        'export const DB_PASSWORD: string = "hunter22"',
        "  apiKey: `hunter22`,",
        '"_authToken": "hunter22"',
        "clientSecret = 'hunter22 and more'",
        "postgres://app:hunter22@db/orders",
        "https://hunter22@example.com/",
        "fetch('https://x/?api_key=hunter22&y=1')",
        "Authorization: Bearer hunter22hunter22",
        "ghp_hunter22hunter22hunter22",
        "AKIAHUNTER2234567890",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyMiJ9.hunter22",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter22\n-----END RSA PRIVATE KEY-----",
        "+MIIEpAIBAAKCAQEAhunter22hunter22hunter22hunter22hunter22hunter22",
    ],
)
def test_what_looks_like_a_secret_is_masked(line: str) -> None:
    masked = mask(line)
    assert "hunter22" not in masked.lower()
    assert MASK in masked
    assert masked.count("\n") == line.count("\n")


@pytest.mark.parametrize(
    "line",
    [
        "const token = await login(user);",
        "import { secretOf } from './secrets';",
        "// the password is asked for at the door",
        "const url = 'https://example.com/a@b';",
        "export async function authorize(name: string): Promise<string> {",
        "const { greet } = proxyActivities<typeof activities>({ startToCloseTimeout: '1 minute' });",
        "src/workflows/orders/handlers/payments/refunds/partial.ts",
    ],
)
def test_ordinary_code_is_left_as_it_is(line: str) -> None:
    assert mask(line) == line


def test_values_that_are_known_as_secret_are_masked_wherever_they_are() -> None:
    assert mask("connect(hunter22)", ["hunter22", "", "abc"]) == f"connect({MASK})"


@given(st.text())
def test_masking_keeps_the_lines_and_never_fails(text: str) -> None:
    assert mask(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text", ["token" * 400, "a." * 1000, "-----BEGIN PRIVATE KEY-----" * 70, "A1" * 1000]
)
def test_masking_takes_no_time_to_speak_of_whatever_the_line(text: str) -> None:
    """A regular expression that backtracks without end would never get here."""
    assert mask("\n".join([text] * 40)).count("\n") == 39
