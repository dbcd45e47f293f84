"""Under pytest-xdist no worker has all cells: the controller must show and write them all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fedcore.harness.plugin.xdist import joined

pytest_plugins = ["pytester"]

# what pytest-xdist gives a worker, and how the controller gets it back
WORKER = """
import pathlib, pytest
def pytest_configure(config):
    config.workerinput, config.workeroutput = {}, {}
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    return None if "[MINE-" in item.name else True  # the others are other workers'
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    place = pathlib.Path("sent")
    place.mkdir(exist_ok=True)
    name = str(len(list(place.iterdir())))
    (place / name).write_bytes(session.config.workeroutput["fedcore"])
"""
CONTROLLER = """
import pathlib, pytest, types
@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    plugin = session.config.pluginmanager.get_plugin("fedcore.harness.plugin")
    for file in sorted(pathlib.Path("sent").iterdir()):
        output = {"fedcore": file.read_bytes()}
        node = types.SimpleNamespace(config=session.config, workeroutput=output)
        plugin.pytest_testnodedown(node)
    crashed = types.SimpleNamespace(config=session.config)
    plugin.pytest_testnodedown(crashed)
    return True
"""


@pytest.fixture
def spread(suite: Any) -> Any:
    """The suite, whose cells of FedNova and Krum two workers have judged, in that order."""
    for strategy in ("fednova", "krum"):
        (suite.path / "conftest.py").write_text(WORKER.replace("MINE", strategy))
        suite.run("--report=out")
    return suite


def test_a_worker_writes_no_report_of_its_own(spread: Any) -> None:
    assert not (spread.path / "out").exists()
    assert not (spread.path / ".fedcore" / "results.json").exists()


def test_the_controller_shows_and_writes_the_cells_of_all_workers(spread: Any) -> None:
    (spread.path / "conftest.py").write_text(CONTROLLER)
    result = spread.run("--report=out")
    for folder in ("out", ".fedcore"):
        strategies = [cell["id"].partition("-")[0] for cell in spread.results(folder)]
        assert strategies == ["krum", "krum", "fednova", "fednova"]  # as the suite lists them
    assert "4 runs from the store, 12 made by the workers of pytest-xdist" in spread.text(result)
    assert "4 cells: 4 pass" in spread.text(result)
    made = json.loads((spread.path / "out" / "results.json").read_text())["provenance"]
    assert (made["device"], made["engine"], made["precision"]) == ("cpu", "sequential", "float32")
    assert list(made["data"]) == ["synthetic:1000"]


def test_what_workers_say_of_their_machines_is_joined() -> None:
    one = {"device": "cpu", "data": {"a": "1"}}
    assert joined({}, one) == joined(one, one) == one
    other = {"device": "cuda H100", "data": {"b": "2"}, "precision": "float32"}
    both = {"device": "cpu; cuda H100", "data": {"a": "1", "b": "2"}, "precision": "float32"}
    assert joined(one, other) == both
    assert joined(both, one) == both


@pytest.mark.slow
def test_by_pytest_xdist_itself(suite: Any) -> None:
    pytest.importorskip("xdist")
    given = ("-p", "fedcore.harness.plugin", "--device=cpu", "--jobs=1", "--report=out")
    result = suite.pytester.runpytest_subprocess(*given, "--numprocesses=2")
    assert result.ret == 0
    strategies = [cell["id"].partition("-")[0] for cell in suite.results("out")]
    assert strategies == ["krum", "krum", "multikrum", "multikrum", "fednova", "fednova"]
    assert "made by the workers of pytest-xdist" in suite.text(result)
    assert "6 cells: 6 pass" in suite.text(result)


TIMINGS = """
import pytest

@pytest.mark.timing
def test_time():
    pass

@pytest.mark.timing
def test_measured(benchmark):
    benchmark(int)

def test_other():
    pass
"""


@pytest.mark.parametrize(
    ("workers", "passed", "reasons"),
    [
        ("2", 1, ["a timing beside 1 other worker(s) measures their load"] * 2),
        ("1", 2, ["pytest-benchmark measures nothing under pytest-xdist"]),
        ("0", 3, []),
    ],
)
def test_timings_beside_other_workers_are_skipped_with_the_reason(
    suite: Any, workers: str, passed: int, reasons: list[str]
) -> None:
    pytest.importorskip("xdist")
    suite.pytester.makepyfile(test_suite=TIMINGS)
    given = ("-p", "fedcore.harness.plugin", "-p", "no:cacheprovider", "-rs")
    result = suite.pytester.runpytest_subprocess(*given, f"--numprocesses={workers}")
    result.assert_outcomes(passed=passed, skipped=len(reasons))
    for reason in reasons:
        assert reason in suite.text(result)
