"""No compiler has anything to warn of, whatever the vectors of the processor."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from fedcore.native import (
    convolution_backward,
    convolution_forward,
    gram,
    pooling,
    selection,
    source,
)
from fedcore.native.compiler import COMMON_FLAGS, Target
from fedcore.native.functions import CFile
from fedcore.native.selection_plan import plan

FILES = [
    pooling.FILE,
    convolution_forward.FILE,
    convolution_backward.FILE,
    gram.FILE,
    selection.file(10, plan(10, 2)),
]
TARGETS = [Target(64, ("-march=x86-64-v4",)), Target(32, ("-march=x86-64-v3",)), Target(16, ())]
STRICT = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", *COMMON_FLAGS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.vector} bytes")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_none(name: str, file: CFile, target: Target, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    if not torch.cpu._is_avx2_supported():
        pytest.skip("compilers of other processors know no x86-64-v3")
    text = file.program(target)
    if text is None:
        pytest.skip(f"{file.name} has no kernel for vectors of {target.vector} bytes")
    command = [name, *STRICT, *target.flags, "-x", "c", "-", "-o", str(tmp_path / "library")]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_c_file_is_among_them() -> None:
    assert {f"{file.name}.c" for file in FILES} == {
        path.name for path in Path(source.__file__).parent.glob("*.c")
    }
