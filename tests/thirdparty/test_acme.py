"""A package of somebody else, installed by pip beside the wheel of fedcore: nothing is edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.native.test_wheel import archives  # noqa: F401  a fixture

pytestmark = pytest.mark.slow

ACME = Path(__file__).with_name("acme")
IDS = {f"{s} {a}" for s in ("acme/halfway", "median") for a in ("clean", "acme/shift")}


class Environment:
    """Where pip has put fedcore and the package, and the package's own folder of tests."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.site, self.folder = folder / "site", folder / "acme"
        shutil.copytree(ACME, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        command += ["--no-build-isolation", "--target", str(self.site), str(wheel)]
        subprocess.run([*command, str(self.folder)], check=True)
        shutil.rmtree(self.folder / "acme_fl")  # so that it is the installed one

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pytest in the package's folder, as its author does."""
        left_out = ("PYTEST_ADDOPTS", "GITHUB_STEP_SUMMARY")
        kept = {k: v for k, v in os.environ.items() if k not in left_out}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": str(self.site)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def cells(self) -> dict[str, Any]:
        """Clean and poisoned accuracies by strategy and attack."""
        content = json.loads((self.folder / ".fedcore" / "results.json").read_text())
        cells = [(cell["scenario"], cell["values"]) for cell in content["cells"]]
        return {
            f"{scenario['strategy']} {scenario['attack'] or 'clean'}": values
            for scenario, values in cells
        }


@pytest.fixture(scope="module")
def environment(
    archives: tuple[Path, Path],  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Environment:
    pytest.importorskip("setuptools", minversion="77.0.3", reason="needs the build backend")
    return Environment(archives[1], tmp_path_factory.mktemp("thirdparty"))


@pytest.fixture(scope="module")
def alone(environment: Environment) -> dict[str, Any]:
    """The cells as a single process makes them."""
    environment.run("--fedcore-jobs=1")
    return environment.cells()


def test_its_suite_has_the_components_of_the_package(alone: dict[str, Any]) -> None:
    assert set(alone) == IDS
    assert all(len(values["clean"]) == 2 for values in alone.values())
    for strategy in ("acme/halfway", "median"):
        values = alone[f"{strategy} acme/shift"]
        # two classes of four on: half of the clients are wrong about all they know
        assert min(values["clean"]) > max(values["poisoned"])


@pytest.mark.parametrize(
    "arguments",
    [(), ("--fedcore-jobs=2",), ("-n", "2"), ("--fedcore-executor=ray", "--fedcore-jobs=2")],
    ids=["by default", "2 workers", "xdist", "Ray"],
)
def test_its_suite_runs_everywhere(
    environment: Environment, alone: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    if "-n" in arguments:
        pytest.importorskip("xdist")
    if "--fedcore-executor=ray" in arguments:
        pytest.importorskip("ray")
    shown = environment.run(*arguments, "--fedcore-fresh").stdout
    assert "4 cells: 4 no limit" in shown
    assert environment.cells() == alone


def test_an_edit_of_the_attack_makes_its_runs_anew(
    environment: Environment, alone: dict[str, Any]
) -> None:
    assert "12 runs from the store, 0 made" in environment.run("--fedcore-jobs=1").stdout
    file = environment.site / "acme_fl" / "attacks.py"
    source = file.read_text()
    changed = source.replace("(labels + self.by) %", "(labels + self.by + 1) %")
    assert changed != source
    file.write_text(changed)
    try:
        shown = environment.run("--fedcore-jobs=1").stdout
        edited = environment.cells()
    finally:
        file.write_text(source)
    # of the package any file counts for all that it registers; what is clean is what it was
    assert "0 runs from the store, 12 made" in shown
    for name, values in edited.items():
        assert (values == alone[name]) is name.endswith("clean")
