"""A small suite of its own for each test, and what its output says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

# pytester drops the modules that a run within this process imports first; torch cannot be imported
# twice, and what registers itself is refused the second time
from fedcore.engine import sequential  # noqa: F401
from fedcore.harness.plugin import session  # noqa: F401
from fedcore.harness.reports import files as report  # noqa: F401
from fedcore.harness.reports import formats as documents  # noqa: F401
from fedcore.harness.runs import job as worker  # noqa: F401
from fedcore.harness.suite import lab  # noqa: F401
from fedcore.harness.tuning import search as tuner  # noqa: F401
from fedcore.scenario.validation import registries

for _registry in registries().values():
    list(_registry)  # imports all that is registered

SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Grid

def cells(options):
    base = Scenario(
        dataset=options.dataset if options.dataset != "mnist5k" else "synthetic:1000",
        model=options.model or "mlp",
        num_clients=4, fraction_train=1.0, rounds=2, local_epochs=(1, 3), optimizer="sgd", lr=1.0,
    )
    strategies = [{"strategy": s} for s in ("krum", "multikrum", "fednova")]
    yield from Grid(
        base, strategies, [{"partition": "iid"}], [{"attack": "labelflip"}], [0.25], [1.0], 2
    ).cells()

@pytest.mark.cells(function=cells)
def test_robustness(outcome):
    outcome.check()

def test_other():
    pass
"""


class Suite:
    """A folder with a suite, and pytest on it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester, self.path = pytester, pytester.path
        pytester.makepyfile(test_suite=SUITE)
        self.limits()

    def limits(self, **limits: str) -> None:
        """Write thresholds.toml; by default everything holds."""
        rules = {"clean": "min = 20", "drop": "max = 40", "control": "min = 1", **limits}
        tables = [
            f"[{metric}.rule]\n{rule}\nreason = 'because of {metric}'\n"
            for metric, rule in rules.items()
        ]
        text = "[noise]\nsd = 0.2\ndf = 40\n" + "".join(tables)
        (self.path / "thresholds.toml").write_text(text)

    def run(self, *arguments: str, jobs: int = 1, **settings: Any) -> pytest.RunResult:
        given = ("-p", "fedcore.harness.plugin", "--device=cpu", f"--jobs={jobs}", *arguments)
        return self.pytester.runpytest_inprocess(*given, **settings)

    def results(self, folder: str = ".fedcore") -> list[dict[str, Any]]:
        return json.loads((self.path / folder / "results.json").read_text())["cells"]

    def records(self, folder: str = ".fedcore") -> list[Path]:
        return sorted((self.path / folder / "records").rglob("*.json"))

    @staticmethod
    def text(result: pytest.RunResult) -> str:
        return result.stdout.str() + result.stderr.str()

    @staticmethod
    def table(result: pytest.RunResult) -> list[str]:
        """The lines of the table and the count below it."""
        lines = result.stdout.lines
        start = next(i for i, line in enumerate(lines) if re.match("=+ fedcore =+", line))
        end = next(i for i, line in enumerate(lines) if "runs from the store" in line)
        return lines[start + 1 : end]

    @staticmethod
    def effort(result: pytest.RunResult) -> tuple[int, int]:
        """(runs from the store, runs made)."""
        found = re.search(r"(\d+) runs from the store, (\d+) made", Suite.text(result))
        assert found is not None
        return int(found[1]), int(found[2])


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("FEDCORE_DATA", raising=False)
    # matplotlib would be imported anew by each run; figures have their own tests
    for figure in ("drop_figure", "learning_figure"):
        monkeypatch.setattr(f"fedcore.harness.reports.files.{figure}", lambda cells: None)
    return Suite(pytester)


@pytest.fixture
def recorded(suite: Suite) -> Suite:
    """A suite whose FedNova cells are recorded."""
    assert suite.run("--update-baseline", "-k", "fednova").ret == 0
    return suite
