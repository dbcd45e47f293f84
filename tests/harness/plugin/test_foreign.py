"""Components of the suite's own: in workers, under pytest-xdist, on Ray, and from a conftest."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest_plugins = ["pytester"]

RULE = """
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine

@STRATEGIES.register("halfavg", "FedAvg at half the step")
class HalfAvg(Strategy):
    def step(self, updates, cohort, memory):
        return 0.5 * combine(updates, cohort.weights)
"""
BODY = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Grid

BASE = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=0.5, rounds=1,
    optimizer="sgd", lr=0.3,
)

def cells(options):
    yield from Grid(
        BASE, [{"strategy": "halfavg"}, {"strategy": "fedavg"}], [{"partition": "iid"}],
        [{"attack": "labelflip"}], [0.5], [1.0], 1,
    ).cells()

@pytest.mark.cells(function=cells)
def test_mine(outcome):
    outcome.check()
"""
SUITE = "import mystrategy\n" + BODY
VERDICTS = {f"{s} {a}": "no limit" for s in ("halfavg", "fedavg") for a in ("clean", "labelflip")}
ONE, TWO, SPREAD = ("--fedcore-jobs=1",), ("--fedcore-jobs=2",), ("--numprocesses=2",)


@pytest.fixture
def mine(installed: Any) -> Any:
    """A suite of somebody's with a strategy of his own in a module of his own."""
    installed.write(mystrategy=RULE, test_mine=SUITE)
    return installed


def numbers(project: Any) -> list[Any]:
    cells = json.loads((project.path / ".fedcore" / "results.json").read_text())["cells"]
    return sorted((cell["id"], str(cell["values"])) for cell in cells)


def refused(result: pytest.RunResult, message: str) -> bool:
    """Whether pytest ended with status 4 and ``message`` once, and no run was made."""
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, text
    assert "Traceback" not in text
    assert "runs from the store" not in text
    return text.count(message) == 1


@pytest.mark.slow
def test_workers_know_what_the_suite_has_imported(mine: Any) -> None:
    """By default, on two workers, under xdist: pytest has put the folder into sys.path."""
    found = []
    for arguments in (ONE, (), TWO, SPREAD, (*SPREAD, *ONE)):
        result = mine.run(*arguments, "--fedcore-fresh")
        assert result.ret == 0, mine.text(result)
        assert mine.verdicts(result) == VERDICTS
        found.append(numbers(mine))
    assert len(found[0]) == 4
    assert all(one == found[0] for one in found)


@pytest.mark.slow
def test_workers_of_ray_know_it_too(mine: Any) -> None:
    pytest.importorskip("ray")
    (mine.path / "pytest.ini").write_text("[pytest]\npythonpath = parts\n")
    (mine.path / "parts").mkdir()
    (mine.path / "mystrategy.py").rename(mine.path / "parts" / "mystrategy.py")
    result = mine.run("--fedcore-executor=ray", *ONE)
    assert result.ret == 0, mine.text(result)
    assert mine.verdicts(result) == VERDICTS


def test_a_folder_of_pytests_setting_pythonpath_is_known_to_workers(mine: Any) -> None:
    (mine.path / "pytest.ini").write_text("[pytest]\npythonpath = parts\n")
    (mine.path / "parts").mkdir()
    (mine.path / "mystrategy.py").rename(mine.path / "parts" / "mystrategy.py")
    result = mine.run(*TWO, "--import-mode=importlib", "-k", "halfavg")
    assert result.ret == 0, mine.text(result)


def test_workers_know_what_a_component_looks_up_by_name(mine: Any) -> None:
    """The module of the inner strategy is imported by the suite only."""
    step = "STRATEGIES['whole']().step(updates, cohort, memory)"
    whole = RULE.replace("halfavg", "whole").replace("HalfAvg", "Whole").replace("0.5 * ", "")
    mine.write(
        inner=whole,
        mystrategy=RULE.replace("combine(updates, cohort.weights)", step),
        test_mine="import inner\n" + SUITE,
    )
    result = mine.run(*TWO, "-k", "halfavg")
    assert result.ret == 0, mine.text(result)
    assert mine.verdicts(result) == {k: v for k, v in VERDICTS.items() if "halfavg" in k}


@pytest.mark.parametrize("place", ["conftest", "test_mine", "test_rules"])
def test_a_class_that_workers_cannot_import_runs_in_one_process(mine: Any, place: str) -> None:
    (mine.path / "mystrategy.py").unlink()
    mine.write(test_mine=BODY)
    mine.write(**{place: RULE + (BODY if place == "test_mine" else "")})
    if place == "test_rules":
        mine.write(test_mine="import test_rules\n" + BODY)
    name = f"strategy 'halfavg' is defined in {place}.py, which "
    remedy = " cannot import: move it to a module of its own and import that, or "
    assert refused(mine.run(*TWO), f"{name}worker processes{remedy}give --fedcore-jobs 1")
    assert not (mine.path / ".fedcore").exists()
    # what is not selected does no harm
    assert mine.run(*TWO, "-k", "fedavg and clean").ret == 0
    result = mine.run(*ONE)
    assert result.ret == 0, mine.text(result)
    assert mine.verdicts(result) == VERDICTS


@pytest.mark.slow
def test_under_xdist_it_is_refused_by_the_controller(mine: Any) -> None:
    (mine.path / "mystrategy.py").unlink()
    mine.write(conftest=RULE, test_mine=BODY)
    assert refused(
        mine.run(*SPREAD, *ONE),
        "ERROR: strategy 'halfavg' is defined in conftest.py, which the process that reports for "
        "pytest-xdist cannot import: move it to a module of its own and import that, or leave "
        "out -n",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("halfavg", "halfavgg"), "unknown strategy 'halfavgg'. Did you mean 'halfavg'?"),
        (("synthetic:400", "synthetic:few"), "ERROR: test_mine.py:7: 1 problem in this scenario:"),
        (("HIDDEN", "[drop.x]"), "[drop.x]: a reason is needed"),
    ],
    ids=["strategy", "data set", "thresholds"],
)
def test_what_workers_of_xdist_refuse_ends_the_session_once(
    mine: Any, change: tuple[str, str], message: str
) -> None:
    mine.write(test_mine=SUITE.replace(*change))
    if change[0] == "HIDDEN":
        limits = f"[noise]\nsd = 1.0\ndf = 4\n{change[1]}\nmax = 1.0\n"
        (mine.path / "thresholds.toml").write_text(limits)
    assert refused(mine.run(*SPREAD), message)
    # and in one process
    assert refused(mine.run(), message)


HOOKS = {
    "by importing it": "    import mystrategy\n",
    "by its name": "    return 'mystrategy'\n",
    "by names": "    return ['mystrategy']\n",
    "as a module": "    import mystrategy\n    return [mystrategy]\n",
}


@pytest.mark.parametrize("body", HOOKS.values(), ids=HOOKS)
def test_a_conftest_registers_components(mine: Any, body: str) -> None:
    """Before the tests are imported, which may name them; each conftest is asked once."""
    hook = "def pytest_fedcore_components():\n    print('asked', end='')\n"
    mine.write(
        conftest=hook + body,
        test_mine=BODY.replace("lr=0.3,", 'lr=0.3, strategy="halfavg",'),
        test_other="def test_other():\n    pass\n",
    )
    result = mine.run(*TWO, "-s", "-k", "halfavg")
    assert result.ret == 0, mine.text(result)
    assert mine.verdicts(result) == {k: v for k, v in VERDICTS.items() if "halfavg" in k}
    assert mine.text(result).count("asked") == 1


def test_a_conftest_below_may_register_components(mine: Any) -> None:
    below = mine.path / "below"
    below.mkdir()
    (below / "conftest.py").write_text(
        "def pytest_fedcore_components(config):\n    assert config\n    return 'mystrategy'\n"
    )
    (mine.path / "test_mine.py").rename(below / "test_mine.py")
    (below / "test_mine.py").write_text(BODY)
    mine.write(test_other="def test_other():\n    pass\n")
    result = mine.run(*ONE, "--rootdir=.", "-k", "halfavg")
    assert result.ret == 0, mine.text(result)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise KeyError('x')", "failed: KeyError: 'x'"),
        ("return 'nowhere'", "failed: ModuleNotFoundError: No module named 'nowhere'"),
        ("return 3", "failed: TypeError: it must return names of modules or None, got 3"),
        ("return [3]", "failed: TypeError: it must return names of modules, got 3 among them"),
        (
            "import mystrategy, importlib; importlib.reload(mystrategy)",
            "failed: RegistrationError: strategy 'halfavg' is registered already",
        ),
    ],
    ids=["raises", "no such module", "a number", "numbers", "twice"],
)
def test_a_hook_that_fails_ends_the_session_before_any_run(
    mine: Any, body: str, problem: str
) -> None:
    mine.write(conftest=f"def pytest_fedcore_components():\n    {body}\n")
    place = mine.path / "conftest.py"
    assert refused(mine.run(*ONE), f"ERROR: pytest_fedcore_components of {place} {problem}")
