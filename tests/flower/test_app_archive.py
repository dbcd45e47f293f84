"""What `flwr run` packs is all of fedcore that computes: the same code, the same kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

build = pytest.importorskip("flwr.cli.build")

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import fedcore
from fedcore.native.kernels import kernels
from fedcore.records.provenance import code_digest
print(fedcore.__file__, code_digest(), kernels())
"""


def told(folder: Path) -> list[str]:
    """Where fedcore is imported from, the digest of its code, and that of its kernels."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # by flwr itself
def test_the_packed_app_computes_with_the_same_code_and_kernels(tmp_path: Path) -> None:
    packed = build.build_fab_from_disk(ROOT)
    archive = tmp_path / "app.zip"
    archive.write_bytes(packed)
    with zipfile.ZipFile(archive) as fab:
        fab.extractall(tmp_path / "app")
    assert not [*(tmp_path / "app").rglob("*.c")], "Flower takes them now: c_files.json can go"
    file, *digests = told(tmp_path / "app")
    assert Path(file).is_relative_to(tmp_path / "app")
    # Flower packs no file whose name ends in _test.py
    unpacked = shutil.ignore_patterns("*_test.py", "__pycache__")
    shutil.copytree(ROOT / "fedcore", tmp_path / "checkout" / "fedcore", ignore=unpacked)
    assert digests == told(tmp_path / "checkout")[1:]
