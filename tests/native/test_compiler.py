"""Compiling, keeping and loading small C functions."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import sys
import time
from pathlib import Path

import pytest
import torch

from fedcore.native.compiler import MARK, Compiling, Library, compiler

SOURCE = "int answer(void) { return 42; }"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where libraries are kept."""
    return tmp_path / "cache"


def made(kept: Path, source: str = SOURCE) -> Library:
    """As a process that begins now has it."""
    library = Compiling(lambda: kept).library(source)
    assert library is not None
    return library


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
class TestWithACompiler:
    def test_compiles_once(self, kept: Path) -> None:
        assert made(kept).answer() == 42
        (file,) = kept.iterdir()  # and no draft beside it
        before = file.stat().st_mtime_ns
        assert made(kept).answer() == 42
        assert file.stat().st_mtime_ns == before
        assert made(kept, "int answer(void) { return 43; }").answer() == 43
        assert len(list(kept.iterdir())) == 2

    def test_loads_once_a_process(self, kept: Path) -> None:
        compiling = Compiling(lambda: kept)
        assert compiling.library(SOURCE) is compiling.library(SOURCE)

    def test_makes_a_damaged_file_anew(self, kept: Path, tmp_path: Path) -> None:
        made(kept)
        (file,) = kept.iterdir()
        other = tmp_path / "other" / file.name  # file itself stays loaded
        other.parent.mkdir()
        other.write_bytes(b"half a file")
        assert made(other.parent).answer() == 42
        assert other.stat().st_size == file.stat().st_size

    @pytest.mark.parametrize("fault", ["short", "long", "bit", "unmarked", "writable", "link"])
    def test_loads_nothing_but_what_was_compiled(
        self, kept: Path, tmp_path: Path, fault: str
    ) -> None:
        """A library that is cut off by a page is a SIGBUS when it is called, not when loaded."""
        made(kept)
        (file,) = kept.iterdir()
        content = file.read_bytes()
        other = tmp_path / "other" / file.name  # file itself stays loaded
        other.parent.mkdir(mode=0o700)
        planted = {
            "short": content[: len(content) // 2],
            "long": content + b" ",
            "bit": content[:600] + bytes([content[600] ^ 1]) + content[601:],
            "unmarked": content.rpartition(MARK)[0],
        }.get(fault, content)
        target = tmp_path / "elsewhere.so" if fault == "link" else other
        target.write_bytes(planted)
        target.chmod(0o722 if fault == "writable" else 0o700)
        if fault == "link":
            other.symlink_to(target)
        before = target.stat().st_ino
        assert made(other.parent).answer() == 42
        assert other.read_bytes() == content
        assert other.stat().st_ino != before
        assert not other.is_symlink()

    def test_needs_no_place_to_keep_it(self, kept: Path) -> None:
        kept.write_text("a file where the directory should be")
        assert made(kept).answer() == 42

    @pytest.mark.parametrize("home", [None, "", "nowhere", "/nowhere/at/all"])
    def test_a_user_without_a_home_keeps_nothing(
        self, monkeypatch, tmp_path: Path, home: str | None
    ) -> None:
        """Nor is a home made for such a user, in the working folder or at the root."""
        monkeypatch.chdir(tmp_path)
        for name in ("HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        if home is not None:
            monkeypatch.setenv("HOME", home)
        if not home:  # then the system's list of users is asked
            monkeypatch.setattr(pwd, "getpwuid", no_user)
        compiling = Compiling()
        library = compiling.library(SOURCE)
        assert library is not None
        assert library.answer() == 42
        assert "set HOME or XDG_CACHE_HOME" in compiling.problems[0]
        assert list(tmp_path.iterdir()) == []
        assert not Path("/nowhere").exists()

    @pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="needs AVX2")
    @pytest.mark.parametrize("vectors", [(), ("avx2",), ("avx2", "avx512")])
    def test_uses_the_vectors_of_the_processor(self, kept: Path, monkeypatch, vectors) -> None:
        for name in ("avx2", "avx512"):
            has = name in vectors
            monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda has=has: has)
        source = "int known(void) { return 0"
        for macro in ("__AVX2__", "__FMA__", "__AVX512F__"):
            source += f"\n#ifdef {macro}\n+ 1\n#endif\n"
        assert made(kept, source + ";}").known() == {0: 0, 1: 2, 2: 3}[len(vectors)]

    def test_source_that_does_not_compile(self, kept: Path) -> None:
        compiling = Compiling(lambda: kept)
        assert compiling.library("int answer(void) {") is None
        assert len(compiling.missing) == 1
        assert "ended with status 1: " in compiling.problems[0]

    def test_the_digest_is_of_the_file(self, kept: Path, monkeypatch, tmp_path: Path) -> None:
        one = made(kept)
        (file,) = kept.iterdir()
        made_of, mark, digest = file.read_bytes().rpartition(MARK)
        assert mark
        assert digest.decode() == hashlib.sha256(made_of).hexdigest()
        assert one.digest == digest.decode()[:16]
        # the same compiler makes the same file again, whoever calls it
        wrapper(tmp_path / "wrapper", "")
        for command in ("gcc", "gcc -m64", f"{tmp_path}/wrapper", f"{tmp_path}/wrapper -g0"):
            monkeypatch.setenv("CC", command)
            assert made(tmp_path / "other").digest == one.digest, command

    def test_a_wrapper_with_other_flags_is_another_compiler(
        self, kept: Path, monkeypatch, tmp_path: Path
    ) -> None:
        """Also where it prints the version of the compiler, and when it is edited in place."""
        source = "float f(float x, float y) { return x * y + 1; }"
        script = tmp_path / "wrapper"
        digests = set()
        # not -ffast-math: what loads such a library rounds subnormal numbers to 0 from then on
        for flags in ("", "-ffp-contract=off", "-fno-tree-vectorize -fno-inline"):
            wrapper(script, flags)
            monkeypatch.setenv("CC", str(script))
            digests.add(made(kept, source).digest)
            monkeypatch.setenv("CC", f"gcc {flags}")
            digests.add(made(kept, source).digest)
        assert len(list(kept.iterdir())) == 6
        assert 1 < len(digests) <= 3  # of one set of flags the same

    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
    def test_a_folder_that_others_can_write_to_is_not_used(self, kept: Path, mode: int) -> None:
        made(kept)
        (file,) = kept.iterdir()
        file.unlink()
        file.write_bytes(b"planted")
        kept.chmod(mode)
        compiling = Compiling(lambda: kept)
        library = compiling.library(SOURCE)
        assert library is not None
        assert library.answer() == 42
        assert file.read_bytes() == b"planted"
        assert f"has mode {mode:o}: others can write there" in compiling.problems[0]

    def test_another_users_folder_or_file_is_not_used(self, kept: Path, monkeypatch) -> None:
        made(kept)
        (file,) = kept.iterdir()
        before = file.stat().st_mtime_ns
        own = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: own + 1)
        compiling = Compiling(lambda: kept)
        assert compiling.library(SOURCE) is None  # nor is the temporary folder that user's
        assert f"belongs to user {own}, not to {own + 1}" in compiling.problems[0]
        assert file.stat().st_mtime_ns == before

    def test_a_library_is_on_the_disk_before_it_has_its_name(self, kept, monkeypatch) -> None:
        done: list[str] = []
        fsync, replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), fsync(file)))
        monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
        assert made(kept).answer() == 42
        assert done == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def no_user(number: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {number}")


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


def test_it_can_be_switched_off(kept: Path, monkeypatch) -> None:
    monkeypatch.setenv("FEDCORE_NATIVE", "0")
    assert compiler() is None
    assert Compiling(lambda: kept).library(SOURCE) is None
    assert not kept.exists()


@pytest.mark.parametrize("when", ["--version", "-shared"])
def test_a_compiler_that_hangs_is_ended_with_what_it_started(
    kept: Path, monkeypatch, tmp_path: Path, when: str
) -> None:
    script = tmp_path / "cc"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *{when}*) sleep 60 & echo $! > {tmp_path}/child; wait;; esac\n'
        "echo version\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    compiling = Compiling(lambda: kept, version_seconds=1.0, compile_seconds=1.0)
    began = time.monotonic()
    assert compiling.library(SOURCE) is None
    assert "did not end within 1 s" in compiling.problems[0]
    assert compiling.library("int other;") is None  # waited for once a process
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
def test_no_compiler(kept: Path, monkeypatch, value: str) -> None:
    monkeypatch.setenv("CC", value)
    assert compiler() is None
    assert Compiling(lambda: kept).library(SOURCE) is None


def test_a_compiler_that_fails(kept: Path, monkeypatch, tmp_path: Path) -> None:
    script = tmp_path / "cc"
    script.write_text(f"#!{sys.executable}\nraise SystemExit(1)\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    assert Compiling(lambda: kept).library(SOURCE) is None
