"""Old names of modules are the modules that they became."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedcore.moved import MOVED

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("old", sorted(set(MOVED) - {"strategies.flower", "harness.ray_pool"}))
def test_an_old_name_is_the_module_that_it_became(old: str) -> None:
    new = importlib.import_module(f"fedcore.{MOVED[old]}")
    spec = new.__spec__
    assert importlib.import_module(f"fedcore.{old}") is new
    assert new.__name__ == f"fedcore.{MOVED[old]}"
    assert new.__spec__ is spec


def test_what_suites_of_others_import() -> None:
    code = (
        "from fedcore.harness.cells import Cell, Grid\n"
        "from fedcore.strategies.base import STRATEGIES, Strategy, combine\n"
        "from fedcore.models.base import MODELS, Architecture\n"
        "from fedcore.partition.federation import partition\n"
        "from fedcore.simulation import run\n"
        "from fedcore.attacks.poisoning import Poisoning, Threat\n"
        "import fedcore.strategies.strategy as new, fedcore\n"
        "assert Strategy is new.Strategy and run is fedcore.run and Poisoning is Threat\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_nothing_of_the_project_uses_an_old_name() -> None:
    names = "|".join(re.escape(f"fedcore.{old}") for old in MOVED)
    used = re.compile(rf"(?<![\w.])(?:{names})(?!\w)")
    files = [p for d in ("fedcore", "benchmark", "docs", "tests") for p in (ROOT / d).rglob("*.py")]
    assert len(files) > 300
    assert not [
        (path.relative_to(ROOT), match[0])
        for path in files
        if path.name != "test_moved.py"
        for match in [used.search(path.read_text())]
        if match
    ]
