"""The measuring script in small, on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark.gpu import __main__ as gpu


def found_by(folder: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    assert gpu.main(["--tiny", "--out", str(folder), *arguments]) == status
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found
