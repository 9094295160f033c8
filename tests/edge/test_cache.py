from __future__ import annotations

import os
from pathlib import Path

import pytest
from timewright.edge.cache import CompileCache

KEY = "a" * 64
TEXTS = {
    "dist/workflow.js": "exports.a = 'é\r\n\u2028';\n",
    "dist/a/b.js.map": "{}",
    "bundle/workflow.js": "x",
}


def release(home: Path, name: str = "one", texts: dict[str, str] = TEXTS) -> Path:
    root = home / name
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8", newline="")
    (root / "src").mkdir()
    (root / "src" / "workflow.ts").write_text("not part of it")
    return root


def texts_of(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes().decode()
        for path in root.rglob("*")
        if path.is_file()
    }


def first_letters(root: Path) -> list[str]:
    return sorted(path.name[0] for path in root.iterdir())


def test_what_was_put_comes_back_byte_for_byte(tmp_path: Path) -> None:
    CompileCache(tmp_path / "cache", 10_000).put(KEY, release(tmp_path), {"warnings": ["w"]})
    assert CompileCache(tmp_path / "cache", 10_000).take(KEY, tmp_path / "two") == {"warnings": ["w"]}
    assert texts_of(tmp_path / "two") == TEXTS


def test_what_is_not_there_writes_nothing(tmp_path: Path) -> None:
    assert CompileCache(tmp_path / "cache", 10_000).take(KEY, tmp_path / "two") is None
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None], ids=["emptied", "other", "cut"])
def test_a_damaged_entry_is_as_good_as_none_and_is_dropped(tmp_path: Path, damage: bytes | None) -> None:
    cache = CompileCache(tmp_path / "cache", 10_000)
    cache.put(KEY, release(tmp_path), {})
    path = tmp_path / "cache" / KEY
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    assert cache.take(KEY, tmp_path / "two") is None
    assert not (tmp_path / "two").exists()
    assert not path.exists()


def test_the_entry_that_was_not_used_for_the_longest_time_makes_room(tmp_path: Path) -> None:
    source, root = release(tmp_path), tmp_path / "cache"
    CompileCache(root, 10_000).put("0" * 64, source, {})
    size = (root / ("0" * 64)).stat().st_size
    cache = CompileCache(root, 3 * size)
    cache.put("1" * 64, source, {})
    cache.put("2" * 64, source, {})
    assert cache.take("0" * 64, tmp_path / "two") is not None
    cache.put("3" * 64, source, {})
    assert first_letters(root) == ["0", "2", "3"]


def test_the_order_of_use_outlives_the_daemon(tmp_path: Path) -> None:
    source, root = release(tmp_path), tmp_path / "cache"
    for name in "012":
        CompileCache(root, 10_000).put(name * 64, source, {})
        os.utime(root / (name * 64), (int(name), int(name)))
    assert CompileCache(root, 10_000).take("0" * 64, tmp_path / "two") is not None
    size = (root / ("0" * 64)).stat().st_size
    CompileCache(root, 3 * size).put("3" * 64, source, {})
    assert first_letters(root) == ["0", "2", "3"]


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    CompileCache(tmp_path / "cache", 100).put(KEY, release(tmp_path), {})
    assert not (tmp_path / "cache" / KEY).exists()


def test_a_limit_of_zero_turns_it_off(tmp_path: Path) -> None:
    cache = CompileCache(tmp_path / "cache", 0)
    cache.put(KEY, release(tmp_path), {})
    assert cache.take(KEY, tmp_path / "two") is None
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_can_not_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    cache = CompileCache(tmp_path / "cache", 10_000)
    cache.put(KEY, release(tmp_path), {})
    assert cache.take(KEY, tmp_path / "two") is None


def test_leftovers_of_a_crash_are_swept(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".tmp-x").write_text("half")
    CompileCache(tmp_path / "cache", 10_000).put(KEY, release(tmp_path), {})
    assert first_letters(tmp_path / "cache") == ["a"]
