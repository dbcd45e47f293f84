"""Rooms stay of a size that a reader takes in: modules in a folder, lines in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES, LINES = 25, 300


def crowded(files: Iterable[Path]) -> dict[str, int]:
    """Folders with more than `MODULES` modules, packages' own files aside."""
    counts = Counter(path.parent for path in files if path.name != "__init__.py")
    return {str(folder): n for folder, n in counts.items() if n > MODULES}


def long(files: Iterable[Path]) -> dict[str, int]:
    """Files of more than `LINES` lines."""
    counts = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    return {name: n for name, n in counts.items() if n > LINES}


@pytest.mark.parametrize("room", ["fedcore", "tests", "benchmark"])
def test_no_folder_is_crowded_and_no_file_long(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert len(files) > 20
    assert crowded(files) == {}
    assert long(files) == {}


def test_one_too_many_is_told(tmp_path: Path) -> None:
    files = [tmp_path / f"m{i}.py" for i in range(MODULES + 1)]
    for path in files:
        path.write_text("pass\n" * LINES)
    assert crowded(files[1:]) == {}
    assert crowded([tmp_path / "__init__.py", *files[1:]]) == {}
    assert crowded(files) == {str(tmp_path): MODULES + 1}
    assert long(files) == {}
    files[0].write_text("pass\n" * (LINES + 1))
    assert long(files) == {str(files[0]): LINES + 1}
