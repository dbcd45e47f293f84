"""Each case is a process of its own: an import cannot be undone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedcore.errors import ModelError
from fedcore.models import torchvision_import

# torchvision's extension cannot load, and somebody's own import of torchvision has failed before.
MISMATCHED = """
import gc, sys, torch
from pathlib import Path
from types import SimpleNamespace
from fedcore.models.build import build_model
from fedcore.models.cnn import Cnn

cnn = SimpleNamespace(model="cnn", norm="none", weights=None)
cnn.parts = SimpleNamespace(model=Cnn())
build_model(cnn, num_classes=2, channels=1, size=(8, 8), seed=0, data_dir=Path())
assert "torchvision" not in sys.modules, "a cnn paid for torchvision"

def refuse(path):
    raise OSError(path)

torch.ops.load_library = refuse
try:
    import torchvision
except RuntimeError as error:
    assert "torchvision::nms does not exist" in str(error)
else:
    raise AssertionError("the mismatch is gone: fedcore.models.torchvision_import may go, too")

from fedcore.models.torchvision_import import import_torchvision

module = import_torchvision()
assert module is sys.modules["torchvision"] and module is import_torchvision()
gc.collect()
assert torch.ops.torchvision.nms.default._schema.name == "torchvision::nms"
assert module.models.mobilenet_v2().classifier[1].out_features == 1000
"""

# The extension loads: here a stand-in, which defines the operators as torchvision's own does.
HEALTHY = """
import torch
from fedcore.models import torchvision_import

library = torch.library.Library("torchvision", "DEF")
loaded = []

def load(path):
    loaded.append(path)
    for name in ("nms", "qnms"):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

torch.ops.load_library = load
torchvision_import.importlib.import_module = lambda name: name
assert torchvision_import.import_torchvision() == "torchvision"
assert len(loaded) == 1 and "_C." in loaded[0], loaded
assert not torchvision_import._KEPT, "operators that exist were declared again"
"""


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_import_survives_an_extension_built_for_another_torch() -> None:
    run(MISMATCHED)


def test_operators_of_a_working_extension_are_left_alone() -> None:
    run(HEALTHY)


def test_missing_torchvision_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_import, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install torchvision.*\(cnn, mlp\)"):
        torchvision_import.import_torchvision.__wrapped__()


def test_other_import_failures_keep_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("compiled with different CUDA major versions")

    monkeypatch.setattr(torchvision_import.importlib, "import_module", fail)
    with pytest.raises(ModelError, match=r"beside torch .* different CUDA major versions"):
        torchvision_import.import_torchvision.__wrapped__()
