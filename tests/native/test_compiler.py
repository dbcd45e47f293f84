"""Compiling, keeping and loading small C functions."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from fedcore.native import compiler as native
from fedcore.native.compiler import compiler, library

SOURCE = "int answer(void) { return 42; }"


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path: Path) -> Path:
    """A cache directory of its own, nothing remembered; gives where libraries are kept."""
    monkeypatch.setattr(native, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(native, "library", library.__wrapped__)
    monkeypatch.setattr(native, "problems", [])
    monkeypatch.setattr(native, "missing", [])
    monkeypatch.setattr(native, "_hanging", set())
    native._identity.cache_clear()
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
        assert len(native.missing) == 1
        assert "ended with status 1: " in native.problems[0]

    def test_the_digest_is_of_the_file(self, fresh: Path, monkeypatch, tmp_path: Path) -> None:
        one = made()
        (file,) = fresh.iterdir()
        assert one.digest == hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        # the same compiler makes the same file again, whoever calls it
        wrapper(tmp_path / "wrapper", "")
        monkeypatch.setattr(native, "user_cache", lambda: tmp_path / "other")
        for command in ("gcc", "gcc -m64", f"{tmp_path}/wrapper", f"{tmp_path}/wrapper -g0"):
            monkeypatch.setenv("CC", command)
            assert made().digest == one.digest, command

    def test_a_wrapper_with_other_flags_is_another_compiler(
        self, fresh: Path, monkeypatch, tmp_path: Path
    ) -> None:
        """Also where it prints the version of the compiler, and when it is edited in place."""
        source = "float f(float x, float y) { return x * y + 1; }"
        script = tmp_path / "wrapper"
        digests = set()
        # not -ffast-math: what loads such a library rounds subnormal numbers to 0 from then on
        for flags in ("", "-ffp-contract=off", "-fno-tree-vectorize -fno-inline"):
            wrapper(script, flags)
            monkeypatch.setenv("CC", str(script))
            native._identity.cache_clear()
            digests.add(made(source).digest)
            monkeypatch.setenv("CC", f"gcc {flags}")
            digests.add(made(source).digest)
        assert len(list(fresh.iterdir())) == 6
        assert 1 < len(digests) <= 3  # of one set of flags the same

    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
    def test_a_folder_that_others_can_write_to_is_not_used(self, fresh: Path, mode: int) -> None:
        made()
        (file,) = fresh.iterdir()
        file.unlink()
        file.write_bytes(b"planted")
        fresh.chmod(mode)
        assert made().answer() == 42
        assert file.read_bytes() == b"planted"
        assert f"has mode {mode:o}: others can write there" in native.problems[0]

    def test_another_users_folder_or_file_is_not_used(self, fresh: Path, monkeypatch) -> None:
        made()
        (file,) = fresh.iterdir()
        before = file.stat().st_mtime_ns
        own = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: own + 1)
        assert made() is None  # nor is the temporary folder that user's
        assert f"belongs to user {own}, not to {own + 1}" in native.problems[0]
        assert file.stat().st_mtime_ns == before

    def test_a_library_is_on_the_disk_before_it_has_its_name(self, fresh, monkeypatch) -> None:
        done: list[str] = []
        fsync, replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), fsync(file)))
        monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
        assert made().answer() == 42
        assert done == ["fsync", "replace"]


def wrapper(path: Path, flags: str) -> None:
    path.write_text(f'#!/bin/sh\nexec gcc {flags} "$@"\n')
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sh", ["sh"]),
        ("sh -m64", ["sh", "-m64"]),
        ("env sh", ["env", "sh"]),
        ("  sh  ", ["sh"]),
        ("sh -D'A B'", ["sh", "-DA B"]),
    ],
)
def test_the_words_of_cc(monkeypatch, value: str, words: list[str]) -> None:
    monkeypatch.setenv("CC", value)
    found = compiler()
    assert found is not None
    assert [Path(found[0]).name, *found[1:]] == words
    assert os.path.isabs(found[0])


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_cc_counts_as_unset(monkeypatch, value: str) -> None:
    monkeypatch.delenv("CC", raising=False)
    usual = compiler()
    monkeypatch.setenv("CC", value)
    assert compiler() == usual


def test_it_can_be_switched_off(monkeypatch) -> None:
    monkeypatch.setenv("FEDCORE_NATIVE", "0")
    assert compiler() is None
    assert made() is None


@pytest.mark.parametrize("when", ["--version", "-shared"])
def test_a_compiler_that_hangs_is_ended_with_what_it_started(
    monkeypatch, tmp_path: Path, when: str
) -> None:
    script = tmp_path / "cc"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *{when}*) sleep 60 & echo $! > {tmp_path}/child; wait;; esac\n'
        "echo version\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(native, "_VERSION_SECONDS", 1.0)
    monkeypatch.setattr(native, "_COMPILE_SECONDS", 1.0)
    began = time.monotonic()
    assert made() is None
    assert "did not end within 1 s" in native.problems[0]
    assert made("int other;") is None  # waited for once a process
    assert time.monotonic() - began < 30
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in _state(child):
            break
        time.sleep(0.05)
    else:
        pytest.fail("what it started goes on")


def _state(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][:3]
    return "Z"


@pytest.mark.parametrize("value", ["no-such-compiler", os.devnull, "gcc 'unclosed"])
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
