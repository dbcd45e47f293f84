"""Cells that differ have names that differ; a cell that is judged several times counts once."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness.conftest import SUITE

pytest_plugins = ["pytester"]

# as pytest-rerunfailures and pytest-repeat do: the test of a cell runs three times
RERUNS = """
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    for _ in range(3):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""
FEDNOVA = SUITE.replace('("krum", "multikrum", "fednova")', '("fednova",)')
ID = "fednova-iid-labelflip-mal25pct-poison100pct"


def names(suite: Any) -> list[str]:
    return [cell["id"] for cell in suite.results()]


def other(clients: int) -> str:
    """A suite like FEDNOVA on another federation; its base hides how many clients there are."""
    return FEDNOVA.replace("num_clients=4", f"num_clients={clients}")


@pytest.fixture
def small(suite: Any) -> Any:
    (suite.path / "test_suite.py").write_text(FEDNOVA)
    return suite


def test_a_rerun_counts_once(small: Any) -> None:
    (small.path / "conftest.py").write_text(RERUNS)
    result = small.run("--junitxml=junit.xml", "-k", "fednova")
    assert names(small) == ["fednova-iid-clean", ID]
    assert "2 cells: 2 pass" in small.text(result)
    assert sum(line.startswith("fednova ") for line in small.table(result)) == 2
    assert "Left out: 1 cell at 2 rounds" in small.text(result)  # of the means
    properties = re.findall('name="fedcore.id"', (small.path / "junit.xml").read_text())
    assert len(properties) == 2


def test_a_cell_in_two_files_counts_once(small: Any) -> None:
    (small.path / "test_again.py").write_text(FEDNOVA)
    result = small.run()
    assert names(small) == ["fednova-iid-clean", ID]
    assert "2 cells: 2 pass" in small.text(result)
    (left,) = json.loads((small.path / ".fedcore" / "results.json").read_text())["left_out"][
        "overall"
    ]
    assert left["id"] == ID


def test_files_with_other_scenarios_under_one_id_are_told_apart(small: Any) -> None:
    (small.path / "test_wide.py").write_text(other(8))
    result = small.run()
    expected = {f"{name}-clients{n}" for name in ("fednova-iid-clean", ID) for n in (4, 8)}
    assert set(names(small)) == expected
    assert {cell["labels"]["note"] for cell in small.results()} == {"clients4", "clients8"}
    left = json.loads((small.path / ".fedcore" / "results.json").read_text())["left_out"]["overall"]
    assert [one["id"] for one in left] == [f"{ID}-clients4", f"{ID}-clients8"]
    assert "test_suite.py, test_wide.py have different scenarios under one id" in small.text(result)
    # the printed way to repeat one cell selects that one
    assert small.run("-k", f"[{ID}-clients8]").parseoutcomes()["passed"] == 1
    assert names(small) == [f"{ID}-clients8"]
    assert small.run("test_wide.py").parseoutcomes()["passed"] == 3
    assert set(names(small)) == {"fednova-iid-clean", ID}


def test_a_baseline_is_not_recorded_under_ids_that_depend_on_the_files(small: Any) -> None:
    (small.path / "test_wide.py").write_text(other(8))
    result = small.run("--update-baseline")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "give all grids one named_against" in small.text(result)


GRIDS = """
def more(options):
    yield from cells(options)
    for size in (8, 16):
        base = Scenario(dataset="synthetic:400", model="mlp", fraction_train=1.0, batch_size=size)
        yield from Grid(base, [{"strategy": "median"}], [{"partition": "iid"}],
                        [{"attack": "labelflip"}], [0.25], [1.0], 1).cells()

@pytest.mark.cells(function=lambda options: more(options))
def test_more(outcome):
    pass
"""


def test_grids_and_tests_of_one_file_are_told_apart_whatever_is_selected(small: Any) -> None:
    wide = other(8).partition("import Grid")[2].replace("def cells", "def wide")
    for before, after in (
        ("function=cells", "function=lambda options: wide(options)"),
        ("test_robustness", "test_wide"),
        ("test_other", "test_last"),
    ):
        wide = wide.replace(before, after)
    text = FEDNOVA + GRIDS + wide
    (small.path / "test_suite.py").write_text(text)

    def collected(*selection: str) -> set[str]:
        lines = small.run("--collect-only", "-q", *selection).outlines
        return {line for line in lines if "::" in line and "[" in line}

    everything = collected()
    assert "test_suite.py::test_more[median-iid-clean-batchsize8]" in everything
    assert f"test_suite.py::test_wide[{ID}-clients8]" in everything
    assert f"test_suite.py::test_robustness[{ID}-clients4]" in everything
    assert collected("-k", "wide") == {name for name in everything if "test_wide" in name}
    node = "test_suite.py::test_wide"
    assert collected(node) == {name for name in everything if "test_wide" in name}
    assert collected(f"{node}[{ID}-clients8]") == {f"{node}[{ID}-clients8]"}


def test_every_result_says_what_it_was_made_with(small: Any) -> None:
    small.run("--precision=float64", "--report=out")
    for folder in (".fedcore", "out"):
        made = json.loads((small.path / folder / "results.json").read_text())["provenance"]
        assert (made["device"], made["precision"]) == ("cpu", "float64")
        assert made["engine"] == "sequential-float64"
        records = [json.loads(path.read_text()) for path in small.records()]
        digests = {record["provenance"]["data"] for record in records}
        assert set(made["data"].values()) == digests
        assert list(made["data"]) == ["synthetic:1000"]
        for name in ("python", "torch", "torchvision", "numpy", "scipy", "machine", "kernels"):
            assert made[name], name
    digest = made["data"]["synthetic:1000"]
    for file in ("report.md", "report.html", "results.tex"):
        text = Path(small.path / "out" / file).read_text()
        assert f"data synthetic:1000: {digest}" in text
        assert "precision: float64" in text
        assert "engine: sequential-float64" in text
