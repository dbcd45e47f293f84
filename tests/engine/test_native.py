"""Compiling, keeping and loading small C functions."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
import torch

from fedcore.engine import native
from fedcore.engine.native import compiler, library

SOURCE = "int answer(void) { return 42; }"


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path: Path) -> Path:
    """A cache directory of its own, nothing remembered; gives where libraries are kept."""
    monkeypatch.setattr(native, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(native, "library", library.__wrapped__)
    return tmp_path / "cache" / "fedcore" / "native"


def made(source: str = SOURCE) -> object:
    return native.library(source)


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
class TestWithACompiler:
    def test_compiles_once(self, fresh: Path) -> None:
        assert made().answer() == 42
        (file,) = fresh.iterdir()  # and no draft beside it
        before = file.stat().st_mtime_ns
        assert made().answer() == 42
        assert file.stat().st_mtime_ns == before
        assert made("int answer(void) { return 43; }").answer() == 43
        assert len(list(fresh.iterdir())) == 2

    def test_makes_a_damaged_file_anew(self, fresh: Path, monkeypatch, tmp_path: Path) -> None:
        made()
        (file,) = fresh.iterdir()
        other = tmp_path / "other" / "fedcore" / "native" / file.name  # file itself stays loaded
        other.parent.mkdir(parents=True)
        other.write_bytes(b"half a file")
        monkeypatch.setattr(native, "user_cache", lambda: tmp_path / "other")
        assert made().answer() == 42
        assert other.stat().st_size == file.stat().st_size

    def test_needs_no_place_to_keep_it(self, fresh: Path) -> None:
        fresh.parent.parent.write_text("a file where the directory should be")
        assert made().answer() == 42

    @pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="needs AVX2")
    @pytest.mark.parametrize("vectors", [(), ("avx2",), ("avx2", "avx512")])
    def test_uses_the_vectors_of_the_processor(self, monkeypatch, vectors) -> None:
        for name in ("avx2", "avx512"):
            has = name in vectors
            monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda has=has: has)
        source = "int known(void) { return 0"
        for macro in ("__AVX2__", "__FMA__", "__AVX512F__"):
            source += f"\n#ifdef {macro}\n+ 1\n#endif\n"
        assert made(source + ";}").known() == {0: 0, 1: 2, 2: 3}[len(vectors)]

    def test_source_that_does_not_compile(self) -> None:
        assert made("int answer(void) {") is None


@pytest.mark.parametrize("value", ["no-such-compiler", os.devnull])
def test_no_compiler(monkeypatch, value: str) -> None:
    monkeypatch.setenv("CC", value)
    assert compiler() is None
    assert made() is None


def test_a_compiler_that_fails(monkeypatch, tmp_path: Path) -> None:
    script = tmp_path / "cc"
    script.write_text(f"#!{sys.executable}\nraise SystemExit(1)\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    assert made() is None


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_part_is_worked_on_once_and_a_free_thread_takes_the_next(threads: int) -> None:
    done: list[tuple[int, int]] = []
    held = threading.Event()

    def work(thread: int, part: int) -> None:
        if part == 0 and threads > 1:
            assert held.wait(60)  # whoever has the first part is slow: others do the rest
        done.append((thread, part))
        if len(done) == 3:
            held.set()

    native.in_threads(work, range(4), threads)
    assert sorted(part for _, part in done) == [0, 1, 2, 3]
    slow = next(thread for thread, part in done if part == 0)
    assert threads == 1 or [part for thread, part in done if thread == slow] == [0]
    assert {thread for thread, _ in done} <= set(range(threads))


def test_without_parts_nothing_is_done() -> None:
    native.in_threads(lambda thread, part: pytest.fail("there is no part"), (), 2)
