from __future__ import annotations

import json
import os
import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

# pytester drops the modules that a run within this process imports first, and torch cannot be
# imported twice
from fedcore.harness import documents, lab, report, session, tuner, worker  # noqa: F401
from fedcore.record import Record

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.cells import Grid

def cells(options):
    base = Scenario(
        dataset=options.dataset if options.dataset != "mnist5k" else "synthetic:400",
        model=options.model or "mlp",
        num_clients=4, fraction_train=1.0, rounds=2, local_epochs=(1, 3), optimizer="sgd", lr=0.1,
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
KRUM, NOVA = (f"{name}-iid-labelflip-mal25pct-poison100pct" for name in ("krum", "fednova"))
IDS = [
    f"{name}-iid-{attack}"
    for name in ("krum", "multikrum", "fednova")
    for attack in ("clean", "labelflip-mal25pct-poison100pct")
]


class Suite:
    """A folder with a suite, and pytest on it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester, self.path = pytester, pytester.path
        pytester.makepyfile(test_suite=SUITE)
        self.limits()

    def limits(self, **limits: str) -> None:
        """Write thresholds.toml; by default everything holds."""
        rules = {"clean": "min = -90", "drop": "max = 90", "control": "min = -90", **limits}
        tables = [
            f"[{metric}.rule]\n{rule}\nreason = 'because of {metric}'\n"
            for metric, rule in rules.items()
        ]
        text = "[noise]\nsd = 2\ndf = 4\n" + "".join(tables)
        (self.path / "thresholds.toml").write_text(text)

    def run(self, *arguments: str, jobs: int = 1, **settings: Any) -> pytest.RunResult:
        given = ("-p", "fedcore.harness.plugin", "--device=cpu", f"--jobs={jobs}", *arguments)
        return self.pytester.runpytest_inprocess(*given, **settings)

    def results(self, folder: str = ".fedcore") -> list[dict[str, Any]]:
        return json.loads((self.path / folder / "results.json").read_text())["cells"]

    def records(self, folder: str = ".fedcore") -> list[Path]:
        return sorted((self.path / folder / "records").rglob("*.json"))


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("FEDCORE_DATA", raising=False)
    return Suite(pytester)


def text(result: pytest.RunResult) -> str:
    return result.stdout.str() + result.stderr.str()


def table(result: pytest.RunResult) -> list[str]:
    """The lines of the table and the count below it."""
    lines = result.stdout.lines
    start = next(i for i, line in enumerate(lines) if re.match("=+ fedcore =+", line))
    end = next(i for i, line in enumerate(lines) if "runs from the store" in line)
    return lines[start + 1 : end]


def effort(result: pytest.RunResult) -> tuple[int, int]:
    """(runs from the store, runs made)."""
    found = re.search(r"(\d+) runs from the store, (\d+) made", text(result))
    assert found is not None
    return int(found[1]), int(found[2])


def test_the_options_are_listed(suite: Suite) -> None:
    shown = text(suite.run("--help"))
    for option in (
        "--dataset", "--data-dir", "--model", "--profile", "--seeds", "--device", "--jobs",
        "--results", "--fresh", "--report",
    ):  # fmt: skip
        assert re.search(rf"^ +{option}\b", shown, re.MULTILINE), option
    assert "cells(function=...)" in text(suite.run("--markers"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile=smok"], "--profile: unknown profile 'smok'. Did you mean 'smoke'?"),
        (["--jobs=0"], "--jobs must be >= 1, got 0"),
        (["--seeds=0"], "--seeds must be >= 1, got 0"),
        (["--dataset=syntetic:400"], "unknown dataset 'syntetic'. Did you mean 'synthetic'?"),
        (["--dataset=synthetic:few"], "N of synthetic:N must be a whole number"),
        (["--model=mlpp"], "unknown model 'mlpp'. Did you mean 'mlp'?"),
        (["--results=test_suite.py/below"], "test_suite.py/below cannot be written"),
        (["--device=tpu"], "argument --device: invalid choice: 'tpu'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_usage_ends_with_status_4_and_one_message(
    suite: Suite, arguments: list[str], message: str
) -> None:
    result = suite.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert text(result).count(message) == 1
    assert "Traceback" not in text(result)
    assert "Error: " not in text(result)  # no name of an exception
    assert not (suite.path / ".fedcore" / "records").exists() or not suite.records()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "thresholds.toml: [Errno 2] No such file"),
        ("[noise]\nsd = 2\ndf = 4\n[drop.x]\nmax = 1\n", "[drop.x]: a reason is needed"),
    ],
)
def test_bad_thresholds_end_with_status_4(suite: Suite, content: str | None, message: str) -> None:
    path = suite.path / "thresholds.toml"
    path.unlink() if content is None else path.write_text(content)
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in text(result)
    assert str(path) in text(result)


def test_a_missing_device_ends_with_status_4(suite: Suite) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    result = suite.run("--device=cuda")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "'cuda' is not available on this machine: use cpu or auto" in text(result)


def test_missing_data_name_the_file_and_what_to_do(suite: Suite) -> None:
    result = suite.run("--dataset=npz:absent.npz", "-k", "krum and clean and not multikrum")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*krum-iid-clean: ERROR*",
            "*DataError: absent.npz: there is no such file; correct the path or put the file there",
        ]
    )
    assert suite.results()[0]["verdict"] == "ERROR"


def test_collecting_shows_readable_ids_and_computes_nothing(suite: Suite) -> None:
    result = suite.run("--collect-only", "-q")
    assert result.ret == 0
    lines = [f"test_suite.py::test_robustness[{name}]" for name in IDS]
    assert result.stdout.lines[:7] == [*lines, "test_suite.py::test_other"]
    assert not (suite.path / ".fedcore").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["-k", "fednova and clean"], ["fednova-iid-clean"]),
        (["-k", "krum and clean"], ["krum-iid-clean", "multikrum-iid-clean"]),
        (["-k", f"[{KRUM}]"], [KRUM]),
        (["-m", "case(strategy='krum')"], ["krum-iid-clean", KRUM]),
        (["-m", "case(strategy='krum', attack='labelflip')"], [KRUM]),
        (["-m", "case(malicious=25, poison=100, strategy='fednova')"], [NOVA]),
        (["-m", "case(model='cnn')"], []),
        (["test_suite.py::test_robustness[fednova-iid-clean]"], ["fednova-iid-clean"]),
    ],
)
def test_selection_is_exact(suite: Suite, arguments: list[str], wanted: list[str]) -> None:
    result = suite.run("--collect-only", "-q", "--strict-markers", *arguments)
    found = re.findall(r"\[(.*)\]$", text(result), re.MULTILINE)
    assert found == wanted


def test_only_what_is_selected_is_run(suite: Suite) -> None:
    result = suite.run("-k", "fednova and clean")
    assert result.ret == 0
    assert "1 cells need 2 runs, 0 stored, 2 to make with 1 worker on cpu" in text(result)
    assert len(suite.records()) == 2
    assert [cell["id"] for cell in suite.results()] == ["fednova-iid-clean"]


def test_without_cells_the_plugin_is_silent(suite: Suite) -> None:
    result = suite.run("-k", "test_other")
    result.assert_outcomes(passed=1, deselected=6)
    assert "= fedcore =" not in text(result)
    assert not (suite.path / ".fedcore").exists()


def test_all_that_holds_passes_and_the_second_run_comes_from_the_store(suite: Suite) -> None:
    first = suite.run()
    assert first.ret == 0
    first.assert_outcomes(passed=7)
    # fedavg, the control, is in no cell of its own
    assert effort(first) == (0, 16)
    before = suite.results()
    assert [cell["id"] for cell in before] == IDS
    assert {cell["verdict"] for cell in before} == {"pass"}
    assert max(map(len, table(first))) <= 100

    second = suite.run()
    assert second.ret == 0
    assert effort(second) == (16, 0)
    assert table(second) == table(first)
    assert suite.results() == before

    fresh = suite.run("--fresh", "-k", "fednova and clean")
    assert effort(fresh) == (0, 2)
    assert suite.results() == [cell for cell in before if cell["id"] == "fednova-iid-clean"]


def test_reports_are_written_beside_the_records_and_where_asked(suite: Suite) -> None:
    result = suite.run("-k", "fednova", "--report=out/report", "--results=kept")
    assert result.ret == 0
    names = {"results.json", "results.csv", "results.tex", "report.md", "report.html"}
    for folder in ("out/report", "kept"):
        assert names <= {path.name for path in (suite.path / folder).iterdir()}
        assert f"written: {folder}/results.json" in text(result)
    assert suite.results("kept") == suite.results("out/report")
    assert len(suite.records("kept")) == 8


def test_a_report_that_cannot_be_written_loses_nothing(suite: Suite) -> None:
    result = suite.run("-k", "fednova and clean", "--report=test_suite.py/below")
    assert "the report could not be written to test_suite.py/below" in text(result)
    assert "fednova  iid       clean" in text(result)
    assert len(suite.results()) == 1


def test_a_failure_tells_all_and_its_command_repeats_it(suite: Suite) -> None:
    suite.limits(drop="max = -60")
    result = suite.run("--seeds=3", "--dataset=synthetic:500", "-k", "krum")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=2, passed=2, deselected=3)
    result.stdout.fnmatch_lines(
        [f"{KRUM}: FAIL", "", "*seed*clean*poisoned*drop*", "---*", " *0 *", " *1 *", " *2 *"]
    )
    cell = next(cell for cell in suite.results() if cell["id"] == KRUM)
    for metric in ("clean", "poisoned", "drop"):
        for value in cell["values"][metric]:
            assert f"{value:.2f}" in text(result)
    assert "limit <=-60: FAIL" in text(result)
    assert "threshold drop.rule: because of drop" in text(result)
    assert "Traceback" not in text(result)

    start = text(result).index(f"{KRUM}: FAIL")
    found = re.search(r"repeat it with:\n +pytest benchmark (.*)", text(result)[start:])
    assert found is not None
    again = suite.run(*shlex.split(found[1]))
    assert again.ret == pytest.ExitCode.TESTS_FAILED
    assert suite.results() == [cell]


def test_a_control_without_effect_makes_its_cells_void(suite: Suite) -> None:
    suite.limits(control="min = 80")
    result = suite.run("-k", "fednova")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, passed=1, deselected=5)  # the clean cell stands
    assert f"{NOVA}: VOID (the attack does too little to the undefended control" in text(result)
    assert "threshold control.rule: because of control" in text(result)
    assert [cell["verdict"] for cell in suite.results()] == ["pass", "VOID"]


def test_what_cannot_be_told_is_skipped_with_an_explanation(suite: Suite) -> None:
    suite.run("-k", "fednova")
    mean = suite.results()[1]["estimates"]["drop"]["mean"]
    suite.limits(drop=f"max = {mean:.4f}")
    result = suite.run("-k", "fednova", "-rs")
    assert result.ret == 0
    result.assert_outcomes(skipped=1, passed=1, deselected=5)
    assert f"{NOVA}: unsure (the interval holds the limit: more seeds (--seeds N)" in text(result)
    assert "threshold drop.rule: because of drop" in text(result)
    assert "1 unsure" in text(result)


def test_junit_carries_the_values(suite: Suite) -> None:
    suite.run("-k", "fednova", "--junitxml=junit.xml")
    cases = ElementTree.parse(suite.path / "junit.xml").iter("testcase")
    found = {
        case.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        for case in cases
    }
    values = found[f"test_robustness[{NOVA}]"]
    assert values["fedcore.id"] == NOVA
    assert values["fedcore.verdict"] == "pass"
    drop = suite.results()[1]["estimates"]["drop"]
    shown = f"{drop['mean']:.4f} [{drop['low']:.4f}, {drop['high']:.4f}] n=2 <=90 (drop.rule)"
    assert values["fedcore.drop"] == shown
    assert "fedcore.control" in values
    assert "fedcore.clean" in found["test_robustness[fednova-iid-clean]"]


def test_worker_processes_give_the_same_results(suite: Suite) -> None:
    one = suite.run("--results=one")
    two = suite.run("--results=two", jobs=2)
    assert (one.ret, two.ret) == (0, 0)
    assert "16 to make with 2 workers on cpu" in text(two)
    assert suite.results("one") == suite.results("two")
    assert table(one) == table(two)
    # and what one stored, the other finds
    assert effort(suite.run("--results=two")) == (16, 0)
    names = [[path.name for path in suite.records(folder)] for folder in ("one", "two")]
    assert names[0] == names[1]


@pytest.mark.parametrize("strict", [[], ["-W", "error"]], ids=["", "errors"])
def test_a_record_of_another_schema_is_set_aside_with_a_warning(
    suite: Suite, strict: list[str]
) -> None:
    suite.run("-k", "fednova and clean")
    before = suite.results()
    record = suite.records()[0]
    record.write_text(record.read_text().replace('"schema": 1', '"schema": 99'))
    result = suite.run("-k", "fednova and clean", *strict)
    assert result.ret == 0
    result.assert_outcomes(passed=1, deselected=6, warnings=1)
    assert effort(result) == (1, 1)
    assert "StoreWarning: " + record.name in text(result)
    assert "a record of schema 99 cannot be read, this version reads 1" in text(result)
    assert record.with_suffix(".unreadable").is_file()
    assert suite.results() == before
    assert effort(suite.run("-k", "fednova and clean", "-W", "error")) == (2, 0)


def test_after_x_the_finished_runs_are_kept(suite: Suite) -> None:
    suite.limits(clean="min = 99.9")
    result = suite.run("-x")
    result.assert_outcomes(failed=1)
    assert [cell["id"] for cell in suite.results()] == ["krum-iid-clean"]
    assert len(suite.records()) == 2
    suite.limits()
    assert effort(suite.run()) == (2, 14)


def test_after_an_interrupt_the_finished_runs_are_kept(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate, made = worker.simulate, []

    def interrupted(*arguments: Any, **settings: Any) -> Record:
        made.append(arguments)
        if len(made) > 3:
            raise KeyboardInterrupt
        return simulate(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "simulate", interrupted)
        result = suite.run(no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(suite.records()) == 3
    # the cell that was finished is reported
    assert [cell["id"] for cell in suite.results()] == ["krum-iid-clean"]
    after = suite.run()
    assert after.ret == 0
    assert effort(after) == (3, 13)


def test_an_interrupt_with_workers_ends_them(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_teardown(item):
            raise KeyboardInterrupt
        """
    )
    result = suite.run(jobs=2, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    kept = len(suite.records())
    assert kept >= 2
    (suite.path / "conftest.py").unlink()
    after = suite.run()
    assert after.ret == 0
    assert effort(after) == (kept, 16 - kept)


def test_the_table_goes_to_the_summary_of_a_ci_job(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite.path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    result = suite.run("-k", "fednova and clean")
    shown = "\n".join(table(result))
    assert path.read_text() == f"before\n```\n{shown}\n```\n"


def test_quiet_leaves_out_the_plan(suite: Suite) -> None:
    result = suite.run("-q", "-k", "fednova and clean")
    assert "cells need" not in text(result)
    assert os.linesep not in table(result)[0]
