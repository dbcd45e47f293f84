"""What the tests of baselines share: the file of a suite, and ways to change it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedcore.harness.baselines.file import checksum

NAME = "mnist5k-quick-cpu"
ITEM = f"baselines/{NAME}::regression"
CLEAN, POISONED = "fednova-iid-clean", "fednova-iid-labelflip-mal25pct-poison100pct"
NOVA = ("-k", "fednova")


ELSEWHERE = "torch 9.9, another CPU, cpu, C none"


def file_of(suite: Any) -> Path:
    """The baseline of the one machine class that has been recorded."""
    (path,) = (suite.path / "baselines" / NAME).glob("*.json")
    return path


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
    """Add ``by`` percentage points to the recorded accuracies, in every round and in the tail."""

    def change(content: dict[str, Any]) -> None:
        for cell in cells or content["cells"]:
            for metric in ("clean", "poisoned"):
                values = content["cells"][cell]["values"].get(metric, {})
                for seed in set(seeds) & set(values):
                    values[seed] += by
        hashes = {content["cells"][cell]["hash"] for cell in cells or content["cells"]}
        for found in (content["runs"][name] for name in hashes):
            for seed in set(seeds) & set(found):
                run = found[seed]
                run["correct"] = [c + round(by * run["tested"] / 100) for c in run["correct"]]

    return change


def elsewhere(content: dict[str, Any]) -> None:
    """Make the file one of another machine class."""
    content["class"] = ELSEWHERE
    content["source"]["fingerprint"] = "torch 9.9, another CPU, no C compiler, cpu"


def both(
    *changes: Callable[[dict[str, Any]], None],
) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for one in changes:
            one(content)

    return change
