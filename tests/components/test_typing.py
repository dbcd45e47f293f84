"""mypy checks the parameters of components as it checks any call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SNIPPET = """
from fedcore.components import Component, param
from fedcore.partition.dirichlet import Dirichlet

class Mine(Component):
    depth: int = param("layers", default=2)
    width: float = param("required")

Dirichlet(alpha=0.1, min_partition_size=3)
Mine(width=1.0)
Dirichlet(alfa=0.1)
Dirichlet(alpha="small")
Dirichlet(0.1)
Mine(depth=3)
Mine(width=1.0).depth = 4
"""
ERRORS = {
    11: 'Unexpected keyword argument "alfa" for "Dirichlet"',
    12: 'Argument "alpha" to "Dirichlet" has incompatible type "str"; expected "float"',
    13: 'Too many positional arguments for "Dirichlet"',
    14: 'Missing named argument "width" for "Mine"',
    15: 'Property "depth" defined in "Mine" is read-only',
}


def test_mypy_refuses_a_misspelt_parameter(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    cache = ["--cache-dir", str(tmp_path / "cache"), str(snippet)]
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *cache],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=500,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    found: dict[int, list[str]] = {}
    for line in lines:
        _, number, rest = line.split(":", 2)
        found.setdefault(int(number), []).append(rest)
    assert set(found) == set(ERRORS), done.stdout + done.stderr
    for number, text in ERRORS.items():
        assert any(text in rest for rest in found[number]), (number, found[number])
