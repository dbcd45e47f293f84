"""fedcore beside other plugins, and in projects that do not use it: it does no harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Cell

BASE = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=1.0, rounds=1,
)

def cells(options):
    for strategy in ("fedavg", "median", "krum"):
        scenario = BASE.but(strategy=strategy)
        yield Cell(scenario.id, scenario, 1)

@pytest.mark.cells(function=cells)
def test_cell(outcome):
    outcome.check()
"""
CELLS = [f"{strategy} clean" for strategy in ("fedavg", "krum", "median")]
PLAIN = """
import sys, pytest

def test_one(tmp_path):
    assert "torch" not in sys.modules and "numpy" not in sys.modules

def test_two():
    assert False

@pytest.mark.skip
def test_three():
    pass
"""
#: Plugins as pip finds them, with what they need; pytest-playwright needs a browser to be of use.
REAL = {
    "pytest-profiling": ["six", "gprof2dot"],
    "pytest-rerunfailures": [],
    "pytest-randomly": [],
    "pytest-repeat": [],
}


@pytest.fixture(scope="module")
def real_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the newest of `REAL` are installed; skips without a registry."""
    folder = tmp_path_factory.mktemp("plugins")
    names = [one for name, needs in REAL.items() for one in (name, *needs)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries=1"]
    try:
        done = subprocess.run(
            [*command, "--timeout=10", "--target", str(folder), *names],
            capture_output=True,
            text=True,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("no registry of packages answers: the plugins cannot be installed")
    if done.returncode:
        pytest.skip(f"the plugins cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.fixture
def beside(installed: Any, real_plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A suite in an environment that has the real plugins, too."""
    paths = os.pathsep.join([str(real_plugins), os.environ["PYTHONPATH"]])
    monkeypatch.setenv("PYTHONPATH", paths)
    installed.write(test_cells=SUITE)
    return installed


@pytest.mark.slow
def test_beside_real_plugins_each_has_its_options(beside: Any) -> None:
    """pytest-profiling's --profile is a flag: with it a word behind it would be a file."""
    result = beside.run(
        *("-p", "fedcore.harness.plugin", "--profile", "--fedcore-profile=smoke", "--jobs=1"),
        *("-p", "randomly", "--randomly-seed=3", "--count=2", "--reruns=1"),
    )
    assert result.ret == 0, beside.text(result)
    assert "write --fedcore-profile" in beside.text(result)
    result.assert_outcomes(passed=6)  # each cell twice
    assert sorted(beside.verdicts(result)) == CELLS
    assert "3 cells: 3 no limit" in beside.text(result)
    cells = json.loads((beside.path / ".fedcore" / "results.json").read_text())["cells"]
    assert sorted(cell["scenario"]["strategy"] for cell in cells) == ["fedavg", "krum", "median"]
    assert (beside.path / "prof").is_dir()  # pytest-profiling has done its work


@pytest.mark.slow
def test_beside_pytest_randomly_runs_are_what_they_are_alone(beside: Any) -> None:
    """It seeds the global generators before each test: nothing of fedcore draws from these."""
    values = []
    for seed in ("-p no:randomly", "-p randomly --randomly-seed=1", "--randomly-seed=2"):
        result = beside.run("--fedcore-jobs=1", "--fedcore-fresh", *seed.split())
        assert result.ret == 0, beside.text(result)
        cells = json.loads((beside.path / ".fedcore" / "results.json").read_text())["cells"]
        values.append({cell["id"]: cell["values"] for cell in cells})
    assert len(values[0]) == 3
    assert values[0] == values[1] == values[2]


@pytest.mark.parametrize("arguments", [(), ("-p", "fedcore.harness.plugin")], ids=["", "-p"])
def test_a_project_that_does_not_use_it_notices_nothing(
    project: Any, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same status, same output but for pytest's own line of plugins, no file, nothing heavy."""
    project.write(test_plain=PLAIN)
    summary = project.path / "ci.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    quiet = ("-q", "-p", "no:randomly", "-o", "console_output_style=classic")
    without = project.run(*quiet, anew=True)
    before = sorted(project.path.rglob("*"))
    project.install("fedcore_bench", {"fedcore.harness.plugin": "fedcore.harness.plugin"})
    result = project.run(*quiet, *arguments, anew=True)
    assert (result.ret, without.ret) == (1, 1)
    result.assert_outcomes(passed=1, failed=1, skipped=1)

    def lines(run: pytest.RunResult) -> list[str]:
        return [line for line in run.outlines if " in " not in line]

    assert lines(result) == lines(without)
    new = {path for path in project.path.rglob("*") if project.site not in path.parents}
    assert new == {path for path in before if project.site not in path.parents}
    assert not summary.exists()
    empty = project.run("-q", "-k", "nothing")
    assert empty.ret == pytest.ExitCode.NO_TESTS_COLLECTED


_IMPORT = """
import sys, time
import pytest
begun = time.process_time()
import fedcore.harness.plugin
seconds = time.process_time() - begun
heavy = {"torch", "numpy", "scipy", "tabulate", "fedcore.scenario"} & set(sys.modules)
assert not heavy, heavy
print(seconds)
"""


def test_importing_it_takes_a_tenth_of_a_second_at_most(project: Any) -> None:
    """Of processor time beyond what pytest itself takes; the fastest of five."""
    command = [sys.executable, "-c", _IMPORT]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    assert min(times) <= 0.1, times


@pytest.mark.slow
def test_an_empty_project_starts_as_fast_as_without(project: Any) -> None:
    """``pytest --co`` with and without the plugin, in turns: 0.1 s of processor time at most."""
    project.write(test_plain="def test_one():\n    pass\n")
    project.install("fedcore_bench", {"fedcore.harness.plugin": "fedcore.harness.plugin"})
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(5):
        for blocked in (True, False):
            more = ["-p", "no:fedcore.harness.plugin"] if blocked else []
            command = [sys.executable, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider"]
            begun = _of_children()
            subprocess.run([*command, *more], cwd=project.path, capture_output=True, check=True)
            seconds[blocked].append(_of_children() - begun)
    assert min(seconds[False]) - min(seconds[True]) <= 0.1, seconds


def _of_children() -> float:
    """Processor time of the processes that this one has waited for."""
    used = os.times()
    return used.children_user + used.children_system
