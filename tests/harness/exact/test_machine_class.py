from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fedcore.harness.exact import machine_class as classes
from fedcore.harness.exact.machine_class import likeness, machine_class, nearest, slug, toolchain

HERE = "torch 2, x86_64, AMD EPYC, AVX512, cpu"
CODE = "from fedcore.harness.exact.machine_class import toolchain; print(toolchain())"


def compiled_with(compiler: str, folder: Path) -> str:
    """What a process of its own says whose compiler is ``compiler``."""
    environment = {"CC": compiler, "XDG_CACHE_HOME": str(folder), "PATH": "/usr/bin:/bin"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    run = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_kernels_of_the_code_make_no_other_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "processor", list)
    one = machine_class("torch 2, x86_64, AMD EPYC, AVX512, kernels 8f348a31, cpu")
    other = machine_class("torch 2, x86_64, AMD EPYC, AVX512, kernels 0913afc0, cpu")
    assert one == other == f"{HERE}, C {toolchain()}"
    for without in ("no C compiler", "kernels none"):
        found = machine_class(f"torch 2, x86_64, AMD EPYC, AVX512, {without}, cpu")
        assert found == f"{HERE}, C none"


@pytest.mark.parametrize("other", ["torch 3", "torch 2, arm64", "torch 2, AVX2"])
def test_all_else_does(other: str) -> None:
    assert machine_class(HERE) != machine_class(other)


def test_generations_and_settings_of_one_processor_name_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    here = machine_class(HERE)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert machine_class(HERE) not in (here, HERE)
    assert likeness(machine_class(HERE), here) == len(here.split(", "))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setattr(classes, "_hardware", lambda: ("family 25.17.1", "caches 32K 1024K"))
    assert machine_class(HERE) == f"{HERE}, family 25.17.1, caches 32K 1024K, C {toolchain()}"
    assert machine_class(HERE) != here


@pytest.mark.slow
def test_compilers_are_told_apart_by_what_they_make(tmp_path: Path) -> None:
    strict = tmp_path / "strict"
    strict.write_text('#!/bin/sh\nexec cc -ffp-contract=off "$@"\n')
    strict.chmod(0o755)
    usual, again = (compiled_with("cc", tmp_path / name) for name in ("a", "b"))
    if usual == "none":
        pytest.skip("there is no C compiler here")
    assert usual == again
    assert compiled_with(str(strict), tmp_path / "c") not in (usual, "none")
    assert compiled_with("/nonexistent", tmp_path / "d") == "none"


def test_names_of_files_tell_classes_apart() -> None:
    assert slug(HERE) != slug(HERE.replace(", ", "-"))
    assert slug("torch " * 40).count("-") < 20
    assert set(slug("Intel(R) Xeon(R), C a/b")) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")


def test_a_machine_is_held_to_its_own_class_else_to_the_one_most_like_it() -> None:
    like = "torch 2, x86_64, AMD EPYC, AVX2, cpu"
    far = "torch 1, arm64, M1, cpu"
    assert nearest(HERE, []) is None
    assert nearest(HERE, [(like, "2026"), (HERE, "2020"), (far, "2027")]) == 1
    assert nearest(HERE, [(far, "2027"), (like, "2020")]) == 1
    assert likeness(HERE, like) == 4
    # as like: the later one, then the first by name
    other = "torch 2, x86_64, AMD EPYC, SSE, cpu"
    assert nearest(HERE, [(like, "2020"), (other, "2021")]) == 1
    assert nearest(HERE, [(other, "2021"), (like, "2021")]) == 1
