"""The suite in the wheel: fedcore is installed by pip, and the folder is empty."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.test_wheel import archives  # noqa: F401  a fixture

pytestmark = pytest.mark.slow

TWO_CELLS = ("--profile=smoke", "-k", "fednova and robustness", "--jobs=1", "--seeds=1")


@pytest.fixture(scope="module")
def site(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Where pip has installed the wheel."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(place), str(archives[1])], check=True)
    return place


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on the installed suite in ``folder``."""
    # pytest-benchmark warns where it believes to be in a worker of pytest-xdist
    left_out = ("PYTEST_ADDOPTS", "GITHUB_STEP_SUMMARY", "PYTEST_XDIST_WORKER")
    kept = {k: v for k, v in os.environ.items() if k not in left_out}
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**kept, "PYTHONPATH": str(site)}, capture_output=True, text=True
    )


def test_two_cells_run_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    result = run(site, tmp_path, "--pyargs", "fedcore_benchmark", "-W", "error", *TWO_CELLS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 cells: 2 pass" in result.stdout
    assert "2 passed" in result.stdout
    cells = json.loads((tmp_path / ".fedcore" / "results.json").read_text())
    assert len(cells["cells"]) == 2
    # the limits of the suite came along, and what is printed can be repeated
    assert all(cell["gates"] for cell in cells["cells"])
    assert cells["repeat"] == "pytest --pyargs fedcore_benchmark --profile=smoke --seeds=1"
    assert not {path.name for path in (site / "fedcore_benchmark").glob(".*")}


def test_every_test_of_the_checkout_is_in_the_wheel(site: Path, tmp_path: Path) -> None:
    """Its files of claims, canaries, baselines and of the study, too, on the way."""
    root = Path(__file__).resolve().parents[1]
    found = []
    for place, folder in (("--pyargs fedcore_benchmark", tmp_path), ("benchmark", root)):
        arguments = (*place.split(), "--profile=quick", "--co", "-q", "-p", "no:cacheprovider")
        shown = run(site if folder == tmp_path else root, folder, *arguments)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        found.append(sorted(re.findall(r"^\S*(test_\w+\.py::.*)$", shown.stdout, re.MULTILINE)))
    assert len(found[0]) > 100
    assert found[0] == found[1]
    data = {path.name for path in (site / "fedcore_benchmark").rglob("*.*") if path.suffix != ".py"}
    expected = {path.name for path in (root / "benchmark").glob("*.toml")}
    expected |= {path.name for path in (root / "benchmark" / "baselines").rglob("*.json")}
    assert expected | {"canaries.json"} <= data


def test_limits_can_be_renewed_under_either_name(site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import fedcore_benchmark.limits as m; print(m.FOLDER)"]
    shown = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True
    )
    assert shown.stdout.decode().strip() == str(site / "fedcore_benchmark"), shown.stderr
