"""The measuring script in small, on a CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.gpu import __main__ as gpu


@pytest.fixture
def found_by() -> Callable[..., dict[str, Any]]:
    """``found_by(folder, *arguments, status=0)``: what the tiny script writes there."""

    def measure(folder: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
        assert gpu.main(["--tiny", "--out", str(folder), *arguments]) == status
        found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
        return found

    return measure
