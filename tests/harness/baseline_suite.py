"""What the tests of baselines share: the file of a suite, and ways to change it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedcore.harness.baseline_file import checksum

NAME = "mnist5k-quick-cpu.json"
ITEM = f"baselines/{NAME}::regression"
CLEAN, POISONED = "fednova-iid-clean", "fednova-iid-labelflip-mal25pct-poison100pct"
NOVA = ("-k", "fednova")


def file_of(suite: Any) -> Path:
    return suite.path / "baselines" / NAME


def content_of(suite: Any) -> dict[str, Any]:
    return json.loads(file_of(suite).read_text())


def tamper(suite: Any, change: Callable[[dict[str, Any]], None], sign: bool = True) -> None:
    """Change the file as another version of the code would have written it (or by hand)."""
    content = content_of(suite)
    change(content)
    if sign:
        content.pop("checksum")
        content["checksum"] = checksum(content)
    file_of(suite).write_text(json.dumps(content))


def shift(by: float, *cells: str, seeds: str = "01") -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for cell in cells or content["cells"]:
            for metric in ("clean", "poisoned"):
                values = content["cells"][cell]["values"].get(metric, {})
                for seed in set(seeds) & set(values):
                    values[seed] += by

    return change
