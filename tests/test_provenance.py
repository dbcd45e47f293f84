from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy
import pytest
import torch

from fedcore import provenance as module
from fedcore.provenance import code_digest, fingerprint, git_state, machine, provenance

CPU = torch.device("cpu")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """fedcore's sources in another directory, outside any checkout."""
    package = tmp_path / "fedcore"
    source = Path(module.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE", package)
    for cached in (code_digest, git_state):
        cached.cache_clear()
    yield package
    for cached in (code_digest, git_state):
        cached.cache_clear()


def digest_now() -> str:
    code_digest.cache_clear()
    return code_digest()


def test_what_is_recorded() -> None:
    made = provenance(CPU, "da7a", ("a note",), None)
    assert made.torch == torch.__version__
    assert made.numpy == numpy.__version__
    assert (made.device, made.data, made.data_notes, made.weights) == (
        "cpu",
        "da7a",
        ("a note",),
        None,
    )
    assert re.fullmatch(r"[0-9a-f]{16}", made.code)
    assert made.commit is None or re.fullmatch(r"[0-9a-f]{40}", made.commit)
    assert datetime.now(UTC) - datetime.fromisoformat(made.date) < timedelta(minutes=1)


def test_code_digest_sees_what_computes_and_nothing_else(copied) -> None:
    one = digest_now()
    for untouched in ("harness/pool.py", "__main__.py", "notes.txt"):
        place = copied / untouched
        place.parent.mkdir(exist_ok=True)
        place.write_text("changed\n")
        assert digest_now() == one, untouched
    solver = copied / "engine" / "solvers.py"
    text = solver.read_text()
    solver.write_text(text + "\n")
    assert digest_now() != one
    solver.write_text(text)
    assert digest_now() == one
    solver.rename(copied / "engine" / "renamed.py")
    assert digest_now() != one


def test_outside_a_checkout_there_is_no_commit(copied, monkeypatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(copied.parent.parent))
    assert git_state() == (None, None)


def test_without_git_there_is_no_commit(copied, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() == (None, None)


def test_fingerprint_names_torch_processor_and_device() -> None:
    made = fingerprint(CPU)
    assert made == fingerprint(CPU)
    assert made.startswith(f"torch {torch.__version__}, ")
    assert machine() in made
    assert torch.backends.cpu.get_cpu_capability() in made
    assert made.endswith(", cpu")
