"""Two compilers are two fingerprints; a compiler that fails is heard of once and ends nothing."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
from pathlib import Path
from typing import Protocol

import pytest

from fedcore.native import disabled
from fedcore.native.compiler import COMPILING, compiler
from fedcore.native.kernels import NONE, KernelWarning, kernels, tell
from tests.forked_python import ForkedPython

_STRICT = "import warnings\nwarnings.simplefilter('error')\n"
_CODE = """
import torch
from fedcore.records.provenance import fingerprint, machine
from fedcore.native.kernels import kernels
print(kernels(), fingerprint(torch.device("cpu")) == fingerprint(torch.device("cpu")), machine())
"""

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


class Told(Protocol):
    """Says the digest of the kernels in a process of its own, and what that wrote as errors."""

    def __call__(self, cache: Path, strict: bool = False, **environment: str) -> tuple[str, str]:
        """With warnings as errors if ``strict``; ``cache`` is the user's folder of caches."""


@pytest.fixture
def told(forked_python: ForkedPython) -> Told:
    def told(cache: Path, strict: bool = False, **environment: str) -> tuple[str, str]:
        (cache / "told_code.py").write_text(_STRICT * strict + _CODE)
        paths = os.pathsep.join(filter(None, [str(cache), os.environ.get("PYTHONPATH")]))
        given = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": paths, **environment}
        status, out, err = forked_python.run("told_code", [], given, cache)
        assert status == 0, err
        digest, same, machine = out.strip().split(" ", 2)
        assert same == "True"
        assert machine.endswith(f", kernels {digest}")
        return digest, err

    return told


@needs_compiler
@pytest.mark.slow
def test_compilers_are_told_apart_by_what_they_make(told: Told, tmp_path: Path) -> None:
    def script(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    usual, quiet = told(tmp_path, CC="gcc")
    assert re.fullmatch("[0-9a-f]{16}", usual)
    assert quiet == ""
    assert told(tmp_path, CC="gcc")[0] == usual  # from the cache
    other = told(tmp_path, CC="gcc -ffp-contract=off")[0]
    assert other != usual
    wrapped = script("wrapper", 'exec gcc -ffp-contract=off "$@"')
    assert told(tmp_path, CC=wrapped)[0] == other
    ccache = script("ccache", 'exec "$@"')
    assert told(tmp_path, CC=f"{ccache} gcc")[0] == usual
    # one that knows its version and cannot compile, for all or for one of the kernels
    failing = script("failing", 'case "$*" in *--version*) exec gcc --version;; esac; exit 1')
    digest, text = told(tmp_path, strict=True, CC=failing)
    assert digest == "none"
    assert text.count("KernelWarning") == 1
    assert "5 of 5 compiled kernels are missing" in text
    partly = script(
        "partly",
        f'case "$*" in *--version*) exec gcc --version;; esac; cat > {tmp_path}/source\n'
        f'grep -q "void gram" {tmp_path}/source && exit 1\nexec gcc "$@" < {tmp_path}/source',
    )
    digest, text = told(tmp_path, CC=partly)
    assert digest not in (usual, other, "none")
    assert "1 of 5 compiled kernels are missing" in text


@pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("clang") is None, reason="needs gcc and clang"
)
def test_gcc_and_clang_are_two_fingerprints(told: Told, tmp_path: Path) -> None:
    """What they make are other files, even where these compute the same."""
    digests = {told(tmp_path, CC=name)[0] for name in ("gcc", "clang")}
    assert len(digests) == 2
    assert NONE not in digests
    assert len([*(tmp_path / "fedcore" / "native").iterdir()]) == 10


def test_without_a_compiler_a_warning_says_so_and_ends_nothing(told: Told, tmp_path: Path) -> None:
    digest, text = told(tmp_path, strict=True, CC="no-such-compiler")
    assert digest == "none"
    assert text.count("KernelWarning") == 1
    assert "CC='no-such-compiler' names no program" in text
    assert told(tmp_path, strict=True, FEDCORE_NATIVE="0") == ("none", "")


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_a_kernel_that_fails_later_is_no_part_of_the_digest() -> None:
    """Of a size that no key was made for: such a record is not filed."""
    before = kernels()
    assert not before.endswith("-incomplete")
    try:
        assert COMPILING.library("this is no C") is None
        assert kernels() == f"{before}-incomplete"
    finally:
        COMPILING.missing.pop()
        COMPILING.problems.pop()
    assert kernels() == before


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_kernels_that_are_disabled_are_no_part_of_the_digest() -> None:
    before = kernels()
    with disabled():
        assert kernels() == NONE
        with disabled("gram"):
            assert kernels() == NONE
    with disabled("gram"):
        assert kernels() not in (before, NONE)
    assert kernels() == before


@pytest.mark.parametrize("parent", [None, object()], ids=["main", "worker"])
def test_workers_leave_the_word_to_the_session(monkeypatch, parent: object) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    monkeypatch.delenv("FEDCORE_NATIVE", raising=False)
    with pytest.WarningsRecorder(_ispytest=True) as caught:
        tell(4, 4, ["it is full", "it is full"])
    assert len(caught) == (parent is None)
    for warning in caught:
        assert warning.category is KernelWarning
        assert str(warning.message) == "it is full: each process compiles its kernels anew"
