"""Which compiler options of a spec count."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.tsconfig import Options, compiler_options, render


def chosen(options: Mapping[str, object], package_type: str = "commonjs") -> Options:
    return compiler_options({"compilerOptions": options}, package_type=package_type)


def test_a_spec_without_a_tsconfig_is_strict_modern_commonjs() -> None:
    assert compiler_options({}) == Options(
        {
            "strict": True,
            "target": "es2022",
            "module": "commonjs",
            "moduleResolution": "bundler",
            "types": ["node"],
            "rootDir": "src",
            "outDir": "dist",
            "sourceMap": True,
            "skipLibCheck": True,
        }
    )


def test_options_that_decide_what_is_checked_are_followed_without_a_word() -> None:
    asked = {
        "strict": False,
        "noUncheckedIndexedAccess": True,
        "noUnusedLocals": True,
        "exactOptionalPropertyTypes": True,
        "experimentalDecorators": True,
        "emitDecoratorMetadata": True,
        "lib": ["es2023", "dom"],
        "types": ["node", "jest"],
        "jsx": "react-jsx",
        "moduleDetection": "force",
        "declaration": True,
    }
    made = chosen(asked)
    assert made.ignored == ()
    assert asked.items() <= made.options.items()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("outDir", "/etc"),
        ("rootDir", ".."),
        ("declarationDir", "/tmp/x"),
        ("tsBuildInfoFile", "/tmp/x"),
        ("generateTrace", "/tmp/x"),
        ("generateCpuProfile", "/tmp/x"),
        ("outFile", "/tmp/x.js"),
        ("paths", {"*": ["/etc/*"]}),
        ("baseUrl", "/"),
        ("typeRoots", ["/etc"]),
        ("rootDirs", ["/"]),
        ("plugins", [{"name": "x"}]),
        ("incremental", True),
        ("composite", True),
        ("preserveSymlinks", True),
        ("moduleSuffixes", ["/../../x"]),
        ("sourceMap", False),
        ("inlineSourceMap", True),
        ("skipLibCheck", False),
        ("noEmit", True),
        ("noLib", True),
        ("__proto__", {"x": 1}),
        ("nobodyKnowsThis", 1),
    ],
)
def test_options_that_read_or_write_elsewhere_are_left_out_with_a_note(name: str, value: object) -> None:
    made = chosen({name: value})
    default = compiler_options({})
    assert made.options == default.options
    assert len(made.ignored) == 1
    assert made.ignored[0].startswith(f"compilerOptions.{name}: ")


@pytest.mark.parametrize("key", ["extends", "files", "include", "exclude", "references", "watchOptions"])
def test_everything_beside_the_options_is_left_out_with_a_note(key: str) -> None:
    made = compiler_options({key: "/etc/passwd"})
    assert made.options == compiler_options({}).options
    assert made.ignored == (f"tsconfig.{key}: not used; a release is compiled from its entry points",)


def test_saying_what_is_pinned_anyway_gives_no_note() -> None:
    made = chosen(
        {
            "outDir": "./dist",
            "rootDir": "./src",
            "sourceMap": True,
            "skipLibCheck": True,
            "incremental": False,
        }
    )
    assert made == compiler_options({})


@pytest.mark.parametrize(
    ("asked", "expected", "words"),
    [
        ({"target": "ES5"}, {"target": "es2015"}, "es5 was removed"),
        ({"target": "es3"}, {"target": "es2015"}, "es3 was removed"),
        ({"target": "ES6"}, {"target": "es2015"}, ""),
        ({"target": "ES2020"}, {"target": "es2020"}, ""),
        ({"target": "es1999"}, {"target": "es2022"}, "es2022 is used"),
        (
            {"moduleResolution": "node"},
            {"module": "commonjs", "moduleResolution": "bundler"},
            "bundler is used",
        ),
        ({"moduleResolution": "node10"}, {"moduleResolution": "bundler"}, "bundler is used"),
        ({"moduleResolution": "classic"}, {"moduleResolution": "bundler"}, "bundler is used"),
        ({"module": "CommonJS", "moduleResolution": "Bundler"}, {"module": "commonjs"}, ""),
        ({"module": "amd"}, {"module": "commonjs"}, "not in TypeScript 7"),
        (
            {"module": "ESNext"},
            {"module": "commonjs", "moduleResolution": "bundler"},
            "Node runs this release as",
        ),
        ({"module": "commonjs", "moduleResolution": "node16"}, {"module": "node16"}, "can't go with"),
        ({"module": "node16", "moduleResolution": "bundler"}, {"module": "node16"}, "can't go with"),
        ({"moduleResolution": "nodenext"}, {"module": "nodenext"}, ""),
        ({"esModuleInterop": False}, {}, "always true"),
        ({"esModuleInterop": True}, {}, ""),
        ({"alwaysStrict": False}, {}, "always true"),
        ({"strict": "yes"}, {"strict": True}, "must be true or false"),
        ({"lib": "es2022"}, {}, "must be a list"),
        (
            {"types": ["node", "../../x", "/etc/x", "C:\\x", "@types/y"]},
            {"types": ["node", "@types/y"]},
            "not paths",
        ),
        ({"types": [1]}, {"types": ["node"]}, "must be a list"),
        ({"jsxImportSource": "../x"}, {}, "must be a name"),
        ({"jsx": "vue"}, {}, "must be one of"),
    ],
)
def test_what_typescript_7_dropped_becomes_something_sound(
    asked: Mapping[str, object], expected: Mapping[str, object], words: str
) -> None:
    made = chosen(asked)
    assert expected.items() <= made.options.items()
    assert words in "".join(made.ignored)
    assert bool(made.ignored) == bool(words)


def test_node_modules_kinds_need_no_resolution_of_their_own() -> None:
    made = chosen({"module": "NodeNext", "moduleResolution": "NodeNext"})
    assert made.ignored == ()
    assert made.options["module"] == "nodenext"
    assert "moduleResolution" not in made.options


def test_an_esm_package_keeps_es_modules() -> None:
    made = chosen({"module": "es2022", "verbatimModuleSyntax": True}, "module")
    assert (made.options["module"], made.options["moduleResolution"]) == ("esnext", "bundler")
    assert made.options["verbatimModuleSyntax"] is True


def test_es_modules_that_node_would_not_run_lose_their_verbatim_syntax_too() -> None:
    made = chosen({"module": "esnext", "verbatimModuleSyntax": True})
    assert made.options["isolatedModules"] is True
    assert "verbatimModuleSyntax" not in made.options
    assert len(made.ignored) == 2


def test_options_that_are_not_an_object_are_ignored_with_a_note() -> None:
    made = compiler_options({"compilerOptions": ["strict"]})
    assert made.options == compiler_options({}).options
    assert made.ignored == ("tsconfig.compilerOptions: must be an object; ignored",)


def test_the_rendered_file_lists_entry_points_once_and_nothing_else() -> None:
    text = render(compiler_options({}), ["src/workflow.ts", "src/activities.ts", "src/workflow.ts"])
    document = json.loads(text)
    assert set(document) == {"compilerOptions", "files"}
    assert document["files"] == ["src/activities.ts", "src/workflow.ts"]
    assert text.endswith("\n")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from(
    ["strict", "target", "module", "moduleResolution", "lib", "types", "outDir", "paths", "jsx", "noEmit"]
)


@given(
    st.dictionaries(_NAMES | st.text(max_size=12), _JSON, max_size=8),
    st.sampled_from(["module", "", "commonjs"]),
)
def test_no_input_raises_or_moves_what_is_pinned(options: dict[str, object], package_type: str) -> None:
    made = compiler_options({"compilerOptions": options}, package_type=package_type)
    assert (made.options["rootDir"], made.options["outDir"]) == ("src", "dist")
    assert not {"paths", "baseUrl", "typeRoots", "plugins", "outFile", "noEmit"} & set(made.options)
    json.loads(render(made, []))


@given(st.dictionaries(_NAMES, _JSON, max_size=6))
def test_the_order_in_which_options_are_written_does_not_matter(options: dict[str, object]) -> None:
    backwards = dict(reversed(options.items()))
    one, other = (compiler_options({"compilerOptions": item}) for item in (options, backwards))
    assert one == other
    assert render(one, []) == render(other, [])
