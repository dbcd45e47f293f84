"""The C files travel in a wheel, made by way of a source distribution; Flower apps hold a copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fedcore.native.compiler import compiler
from fedcore.native.kernels import kernels

ROOT = Path(__file__).resolve().parents[2]
FILES = {f"fedcore/native/{path.name}" for path in (ROOT / "fedcore" / "native").glob("*.[ch]")}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source distribution, and the wheel that is made of what it holds."""
    folder = tmp_path_factory.mktemp("archives")
    tree = folder / "tree"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("fedcore", "benchmark"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    sdist = folder / made_in(tree, "sdist", folder)
    with tarfile.open(sdist) as packed:
        # Python 3.11.3 and older have no filters
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        packed.extractall(folder / "unpacked", **safely)
    (unpacked,) = (folder / "unpacked").iterdir()
    return sdist, folder / made_in(unpacked, "wheel", folder)


def made_in(tree: Path, kind: str, folder: Path) -> str:
    """The name of what setuptools makes of ``tree``, without a network."""
    pytest.importorskip("setuptools", minversion="77.0.3", reason="needs the build backend")
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def test_both_archives_hold_them(archives: tuple[Path, Path]) -> None:
    sdist, wheel = archives
    with tarfile.open(sdist) as packed:
        assert {name.partition("/")[2] for name in packed.getnames()} >= FILES
    with zipfile.ZipFile(wheel) as packed:
        assert {*packed.namelist()} >= FILES


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_an_installed_wheel_has_the_kernels_of_the_checkout(archives, tmp_path: Path) -> None:
    with zipfile.ZipFile(archives[1]) as packed:
        packed.extractall(tmp_path)
    code = "import fedcore; from fedcore.native.kernels import kernels; print(fedcore, kernels())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert str(tmp_path) in done.stdout, done.stderr
    assert done.stdout.split()[-1] == kernels()


def test_what_a_flower_app_carries_is_up_to_date() -> None:
    texts = json.loads((ROOT / "fedcore" / "native" / "c_files.json").read_text())
    files = {Path(name).name: (ROOT / name).read_text() for name in FILES}
    assert texts == files, "run python -m fedcore.native.source"
