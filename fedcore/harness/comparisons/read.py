"""A stored session by its path: a directory of results or of runs, a results.json, a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedcore.harness.baselines.file import Baseline
from fedcore.harness.comparisons.from_baseline import side_of_baseline
from fedcore.harness.comparisons.from_results import side_of_results
from fedcore.harness.comparisons.from_store import note_rounds, side_of_store
from fedcore.harness.comparisons.side import ComparisonError, Side
from fedcore.harness.reports.files import RESULTS
from fedcore.outside.files import read_text
from fedcore.outside.limits import JSON_BYTES
from fedcore.outside.text import read_json

_KINDS = (
    "a directory that --results or --report has written, a results.json, or a baseline of "
    "--update-baseline"
)


def read_side(path: Path, stores: Sequence[Path] = ()) -> Side:
    """The session stored at ``path``.

    In a directory results.json counts, and beside it the store has the rounds of its runs; without
    one the store alone, else the single baseline in it. ``stores`` are further places with the
    rounds of the runs. Raises `ComparisonError`, or `BaselineError` for a baseline.
    """
    name = str(path)
    if not path.is_dir():
        side = _of_file(path, name)
    elif (path / RESULTS).exists():
        side = _of_file(path / RESULTS, name)
        stores = (path, *stores)
    elif (path / "records").is_dir():
        return side_of_store(path, name)
    else:
        files = sorted(path.glob("*.json"))
        if len(files) != 1:
            raise ComparisonError(
                f"{path} holds neither results.json nor records/, and {len(files)} other files of "
                f"JSON: name {_KINDS}"
            )
        side = _of_file(files[0], name)
    if side.kind == "results":
        for store in stores:
            note_rounds(side, store)
    return side


def _of_file(path: Path, name: str) -> Side:
    content, text = _content(path)
    if "cells" in content and "runs" in content:
        return side_of_baseline(Baseline.from_text(text, str(path)), name)
    if "cells" in content and "provenance" in content and "tests" not in content:
        return side_of_results(content, name, str(path))
    raise ComparisonError(f"{path} is no stored session: name {_KINDS}")


def _content(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = read_text(path, JSON_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ComparisonError(f"{path} cannot be read ({reason}): name {_KINDS}") from error
    try:
        content = read_json(text)
    except ValueError as error:
        raise ComparisonError(f"{path} is cut off or no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ComparisonError(f"{path} is no stored session: name {_KINDS}")
    return content, text
