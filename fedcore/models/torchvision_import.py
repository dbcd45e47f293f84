"""torchvision, imported late and past a mismatch of builds.

PyPI's torchvision is compiled for CUDA. Beside a CPU build of torch its extension cannot load, so
the operators `nms` and `qnms` are never defined; torchvision nevertheless registers fake kernels
for them, and its import ends in "operator torchvision::nms does not exist". Networks need neither
operator. Declaring the two (a schema, no kernel) lets the import pass; a call of one still fails.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from importlib.machinery import PathFinder
from importlib.util import find_spec
from types import ModuleType

import torch

from fedcore.errors import ModelError

_DETECTION_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# A Library takes its definitions back when it is collected, so it lives as long as the process.
_KEPT: list[torch.library.Library] = []


@functools.cache
def import_torchvision() -> ModuleType:
    """The module `torchvision`, whatever build of torch it meets; 2 to 3 s at the first call.

    Raises `ModelError` where torchvision is not installed or cannot be imported for other reasons.
    """
    spec = find_spec("torchvision")
    if spec is None:
        raise ModelError(
            "this model needs torchvision, which is not installed: pip install torchvision, or "
            "choose a model that does without it (cnn, mlp)"
        )
    # Decided before the import, because a failed one leaves half of its modules behind.
    _load_extension(spec.submodule_search_locations or [])
    _declare_missing_operators()
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        raise ModelError(
            f"torchvision in {spec.origin} cannot be imported beside torch {torch.__version__} "
            f"({type(error).__name__}: {error}): install the release made for that torch"
        ) from error


def _load_extension(package: list[str]) -> None:
    """Load torchvision's compiled extension, which defines its operators, if it can be loaded.

    Where it loads, torchvision's own attempt finds it loaded and changes nothing.
    """
    extension = PathFinder.find_spec("_C", package)
    if extension is not None and extension.origin is not None:
        # one built for another torch cannot be loaded; torchvision itself ignores that, too
        with contextlib.suppress(OSError):
            torch.ops.load_library(extension.origin)  # type: ignore[no-untyped-call]


def _declare_missing_operators() -> None:
    missing = [name for name in _DETECTION_OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in missing:
            library.define(name + _SCHEMA)  # type: ignore[no-untyped-call]
        _KEPT.append(library)
