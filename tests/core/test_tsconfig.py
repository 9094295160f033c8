"""Which compiler options of a spec count."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.aliases import Aliases
from timewright.core.tsconfig import Options, compiler_options, render
from timewright.edge.tsbases import tsconfig_bases

from tests.edge.toolbox import TOOLCHAIN


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
        ("generateTrace", "/tmp/x"),
        ("generateCpuProfile", "/tmp/x"),
        ("outFile", "/tmp/x.js"),
        ("paths", {"*": ["/etc/*"]}),
        ("baseUrl", "/"),
        ("typeRoots", ["/etc"]),
        ("rootDirs", ["/"]),
        ("plugins", [{"transform": "x"}]),
        ("preserveSymlinks", True),
        ("moduleSuffixes", ["/../../x"]),
        ("skipLibCheck", False),
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
    assert made.ignored[0].startswith(f"compilerOptions.{name}")


@pytest.mark.parametrize("key", ["files", "include", "exclude", "watchOptions", "$schema", "ts-node"])
def test_what_decides_nothing_about_a_release_is_left_out_without_a_word(key: str) -> None:
    assert compiler_options({key: "/etc/passwd"}) == compiler_options({})


def test_project_references_are_not_followed_and_said_so() -> None:
    made = compiler_options({"references": [{"path": "../x"}]})
    assert made.options == compiler_options({}).options
    assert len(made.ignored) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tsBuildInfoFile", "/tmp/x"),
        ("incremental", True),
        ("composite", True),
        ("sourceMap", False),
        ("inlineSourceMap", True),
        ("declarationMap", True),
        ("pretty", True),
        ("plugins", [{"name": "typescript-eslint-language-service"}]),
    ],
)
def test_options_whose_loss_nobody_sees_are_left_out_without_a_word(name: str, value: object) -> None:
    assert chosen({name: value}).options == compiler_options({}).options
    assert chosen({name: value}).ignored == ()


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
        ({"module": "amd"}, {"module": "commonjs"}, "Node can't run it"),
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
    assert (made.options["module"], made.options["moduleResolution"]) == ("es2022", "bundler")
    assert made.options["verbatimModuleSyntax"] is True


def test_the_type_of_the_package_decides_where_the_spec_says_nothing() -> None:
    assert chosen({}, "module").options["module"] == "esnext"
    assert chosen({}, "module").ignored == ()
    assert judged("5.9.3", {}, "module").options["moduleResolution"] == "bundler"
    assert chosen({"verbatimModuleSyntax": True}).options["isolatedModules"] is True


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
    assert not {"baseUrl", "typeRoots", "plugins", "outFile", "noEmit"} & set(made.options)
    json.loads(render(made, []))


@given(st.dictionaries(_NAMES, _JSON, max_size=6))
def test_the_order_in_which_options_are_written_does_not_matter(options: dict[str, object]) -> None:
    backwards = dict(reversed(options.items()))
    one, other = (compiler_options({"compilerOptions": item}) for item in (options, backwards))
    assert one == other
    assert render(one, []) == render(other, [])


# --- by version ---


def judged(version: str, options: Mapping[str, object], package_type: str = "commonjs") -> Options:
    return compiler_options({"compilerOptions": options}, package_type=package_type, typescript=version)


OLD = {"target": "ES5", "module": "commonjs", "moduleResolution": "node", "esModuleInterop": False}


def test_typescript_5_gets_what_it_still_has() -> None:
    made = judged("5.9.3", OLD)
    assert made.ignored == ()
    assert made.options["target"] == "es5"
    assert made.options["moduleResolution"] == "node10"
    assert made.options["esModuleInterop"] is False
    assert "ignoreDeprecations" not in made.options


def test_typescript_6_gets_it_too_and_is_told_that_we_know() -> None:
    made = judged("6.0.3", OLD)
    assert made.ignored == ()
    assert (made.options["target"], made.options["moduleResolution"]) == ("es5", "node10")
    assert made.options["ignoreDeprecations"] == "6.0"
    assert "ignoreDeprecations" not in judged("6.0.3", {"target": "es2022"}).options


def test_typescript_7_says_what_became_of_it() -> None:
    assert len(judged("7", OLD).ignored) == 3


@pytest.mark.parametrize("version", ["5.9.3", "6.0.3", "7"])
@pytest.mark.parametrize("option", [{"module": "system"}, {"module": "amd"}, {"outFile": "x.js"}])
def test_what_no_release_can_be_made_of_is_mapped_for_every_version(
    version: str, option: dict[str, object]
) -> None:
    made = judged(version, option)
    assert made.options["module"] == "commonjs"
    assert "outFile" not in made.options
    assert len(made.ignored) == 1


def test_the_default_types_are_those_of_the_version() -> None:
    assert "types" not in judged("5.4.5", {"strict": True}).options
    assert judged("5.4.5", {"strict": True}).options["typeRoots"] == ["./node_modules/@types"]
    assert judged("6.0.3", {"strict": True}).options["types"] == ["node"]
    assert judged("7", {"strict": True}).options["types"] == ["node"]


def test_strict_is_the_default_from_typescript_6_on() -> None:
    assert "strict" not in judged("5.9.3", {"target": "es2020"}).options
    assert judged("6.0.3", {"target": "es2020"}).options["strict"] is True
    assert compiler_options({}, typescript="5.9.3").options["strict"] is True


def test_typescript_5_has_no_bundler_resolution_for_commonjs() -> None:
    made = judged("5.9.3", {"module": "esnext", "moduleResolution": "bundler"})
    assert made.options["module"] == "nodenext"
    assert len(made.ignored) == 2
    kept = judged("5.9.3", {"module": "esnext", "moduleResolution": "bundler"}, "module")
    assert (kept.options["module"], kept.options["moduleResolution"]) == ("esnext", "bundler")
    assert kept.ignored == ()


def test_code_may_lie_anywhere_in_the_release() -> None:
    made = compiler_options({"compilerOptions": {"rootDir": "."}}, root=".")
    assert (made.options["rootDir"], made.options["outDir"]) == (".", "dist")
    assert made.ignored == ()
    assert compiler_options({"compilerOptions": {"rootDir": "./src"}}, root=".").ignored == ()


def test_javascript_is_compiled_when_it_is_reached_and_checked_only_when_asked() -> None:
    made = compiler_options({"compilerOptions": {"allowJs": False}}, javascript=True)
    assert made.options["allowJs"] is True
    assert "checkJs" not in made.options


def test_files_that_name_their_kind_of_module_need_modules_of_node() -> None:
    assert compiler_options({}, mixed=True).options["module"] == "node16"
    made = compiler_options({"compilerOptions": {"module": "nodenext"}}, mixed=True)
    assert (made.options["module"], made.ignored) == ("nodenext", ())


def test_imports_of_ts_files_are_written_as_js() -> None:
    made = chosen({"allowImportingTsExtensions": True, "noEmit": False})
    assert made.options["rewriteRelativeImportExtensions"] is True
    assert made.ignored == ()


def test_aliases_count_from_the_root_of_the_release() -> None:
    made = chosen({"baseUrl": "./src", "paths": {"@/*": ["./lib/*"]}})
    assert made.ignored == ()
    assert "baseUrl" not in made.options
    assert Aliases.of(made.options).targets("@/x") == ("src/lib/x", "src/@/x")


# --- extends ---

BASES: dict[str, dict[str, object]] = {
    "@tsconfig/node20": {"compilerOptions": {"target": "es2022", "strict": True, "lib": ["es2023"]}},
    "@tsconfig/strictest": {"compilerOptions": {"strict": False, "noUnusedLocals": True}},
}


def extended(extends: object, own: Mapping[str, str] | None = None, **options: object) -> Options:
    document = {"extends": extends, "compilerOptions": options}
    return compiler_options(document, bases=BASES, own=own)


@pytest.mark.parametrize(
    "name", ["@tsconfig/node20", "@tsconfig/node20/tsconfig.json", "@tsconfig/node20/tsconfig"]
)
def test_a_base_that_we_ship_gives_its_options(name: str) -> None:
    made = extended(name, target="es2020")
    assert made.ignored == ()
    assert (made.options["target"], made.options["lib"]) == ("es2020", ["es2023"])


def test_of_several_bases_the_later_wins() -> None:
    made = extended(["@tsconfig/node20", "@tsconfig/strictest"])
    assert (made.options["strict"], made.options["noUnusedLocals"]) == (False, True)
    assert extended(["@tsconfig/strictest", "@tsconfig/node20"]).options["strict"] is True


def test_null_takes_back_what_a_base_says() -> None:
    assert "lib" not in extended("@tsconfig/node20", lib=None).options


def test_a_file_of_the_spec_may_be_extended_with_comments_and_chains() -> None:
    own = {
        "config/base.json": '//\n{"extends": "./more", "compilerOptions": {"noImplicitAny": true,}}',
        "config/more.json": '\ufeff{"extends": "@tsconfig/node20", "compilerOptions": {"noImplicitAny": 1}}',
    }
    made = extended("./config/base.json", own)
    assert made.ignored == ()
    assert (made.options["noImplicitAny"], made.options["lib"]) == (True, ["es2023"])


def test_paths_are_relative_to_the_file_that_has_them() -> None:
    own = {"config/base.json": '{"compilerOptions": {"paths": {"@/*": ["../src/*"]}}}'}
    made = extended("./config/base.json", own)
    assert made.options["paths"] == {"@/*": ["./src/*"]}
    own = {"config/base.json": '{"compilerOptions": {"baseUrl": "..", "paths": {"@/*": ["src/*"]}}}'}
    assert extended("./config/base.json", own).options["paths"] == {"@/*": ["./src/*", "./@/*"], "*": ["./*"]}
    made = extended("./config/base.json", own, paths={"~/*": ["lib/*"]})
    assert made.options["paths"] == {"~/*": ["./lib/*", "./~/*"], "*": ["./*"]}


@pytest.mark.parametrize(
    ("extends", "own", "words"),
    [
        ("@acme/tsconfig", {}, "the options of @acme/tsconfig are not known here"),
        ("./nope", {}, "nope is not a file of the spec"),
        ("/etc/passwd", {}, "passwd is not a file of the spec"),
        ("../../x", {}, "x is not a file of the spec"),
        ("./tsconfig.json", {}, "extends itself"),
        ("./a", {"a.json": '{"extends": "./b"}', "b.json": '{"extends": "./a"}'}, "a.json extends itself"),
        ("./a", {"a.json": "{"}, "a.json: "),
        ("./a", {"a.json": "[]"}, "a.json: must be an object"),
        (1, {}, "must be a name"),
        (["@acme/x", "@acme/x"], {}, "@acme/x"),
    ],
)
def test_what_cant_be_extended_is_said_once(extends: object, own: dict[str, str], words: str) -> None:
    made = extended(extends, own, target="es2020")
    assert made.options["target"] == "es2020"
    assert len(made.ignored) == 1
    assert words in made.ignored[0]


def test_a_tangle_of_bases_costs_little() -> None:
    own = {f"{n}.json": f'{{"extends": ["./{n + 1}", "./{n + 1}", "./{n + 1}"]}}' for n in range(40)}
    made = extended("./0.json", own)
    assert made.ignored == ("tsconfig.extends: too many files; the rest is left out",)


@pytest.mark.parametrize("base", sorted(tsconfig_bases(TOOLCHAIN)))
@pytest.mark.parametrize("version", ["5.9.3", "6.0.3", "7"])
def test_every_base_that_we_ship_makes_a_release(base: str, version: str) -> None:
    bases = tsconfig_bases(TOOLCHAIN)
    made = compiler_options({"extends": base}, typescript=version, bases=bases)
    assert "not known" not in "".join(made.ignored)
    assert made.options["module"] in ("commonjs", "node16", "nodenext")
