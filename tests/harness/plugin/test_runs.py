from __future__ import annotations

import errno
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from fedcore.harness.plugin.session import SuiteSession
from fedcore.harness.runs import job as worker
from fedcore.records.record import Record
from fedcore.records.store import StoreError

pytest_plugins = ["pytester"]

IDS = [
    f"{name}-iid-{attack}"
    for name in ("krum", "multikrum", "fednova")
    for attack in ("clean", "labelflip-mal25pct-poison100pct")
]


def test_all_that_holds_passes_and_the_second_run_comes_from_the_store(suite: Any) -> None:
    first = suite.run()
    assert first.ret == 0
    first.assert_outcomes(passed=7)
    # fedavg, the control, is in no cell of its own
    assert suite.effort(first) == (0, 16)
    before = suite.results()
    assert [cell["id"] for cell in before] == IDS
    assert {cell["verdict"] for cell in before} == {"pass"}
    assert max(map(len, suite.table(first))) <= 100

    second = suite.run()
    assert second.ret == 0
    assert suite.effort(second) == (16, 0)
    assert suite.table(second) == suite.table(first)
    assert suite.results() == before

    fresh = suite.run("--fresh", "-k", "fednova and clean")
    assert suite.effort(fresh) == (0, 2)
    assert suite.results() == [cell for cell in before if cell["id"] == "fednova-iid-clean"]


def test_reports_are_written_beside_the_records_and_where_asked(suite: Any) -> None:
    result = suite.run("-k", "fednova", "--report=out/report", "--results=kept")
    assert result.ret == 0
    names = {"results.json", "results.csv", "results.tex", "report.md", "report.html"}
    for folder in ("out/report", "kept"):
        assert names <= {path.name for path in (suite.path / folder).iterdir()}
        assert f"written: {folder}/results.json" in suite.text(result)
    assert suite.results("kept") == suite.results("out/report")
    assert len(suite.records("kept")) == 8


def test_a_report_that_cannot_be_written_is_known_before_the_first_run(suite: Any) -> None:
    result = suite.run("-k", "fednova and clean", "--report=test_suite.py/below")
    assert result.ret == 4
    told = "--report: test_suite.py/below cannot be written to (Not a directory)"
    assert told in suite.text(result)
    assert not suite.records()


def test_a_place_that_fails_later_loses_nothing(suite: Any, monkeypatch: Any) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StoreError("No space left on device")

    monkeypatch.setattr("fedcore.harness.reports.files.write_reports", full)
    result = suite.run("-k", "fednova and clean", "--report=out")
    assert "the report to out could not be written: No space" in suite.text(result)
    assert result.ret == 1  # although all cells hold
    result.assert_outcomes(passed=1, deselected=6)
    assert "fednova  iid       clean" in suite.text(result)
    assert len(suite.records()) == 2


def test_records_that_cannot_be_stored_are_judged_and_the_session_fails(
    suite: Any, monkeypatch: Any
) -> None:
    def full(path: Any, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("fedcore.records.store.write_atomically", full)
        result = suite.run("-k", "fednova and clean")
    result.assert_outcomes(passed=1, deselected=6)
    assert result.ret == 1
    assert "2 records could not be stored" in suite.text(result)
    assert "No space left on device; make room, or name another place" in suite.text(result)
    assert "fednova  iid       clean" in suite.text(result)
    assert not suite.records()
    assert suite.effort(suite.run("-k", "fednova and clean")) == (0, 2)


def test_worker_processes_give_the_same_results(suite: Any) -> None:
    one = suite.run("--results=one")
    two = suite.run("--results=two", jobs=2)
    assert (one.ret, two.ret) == (0, 0)
    assert "16 to make with 2 workers on cpu" in suite.text(two)
    assert suite.results("one") == suite.results("two")
    assert suite.table(one) == suite.table(two)
    # and what one stored, the other finds
    assert suite.effort(suite.run("--results=two")) == (16, 0)
    names = [[path.name for path in suite.records(folder)] for folder in ("one", "two")]
    assert names[0] == names[1]


@pytest.mark.parametrize("strict", [[], ["-W", "error"]], ids=["", "errors"])
def test_a_record_of_another_schema_is_set_aside_with_a_warning(
    suite: Any, strict: list[str]
) -> None:
    suite.run("-k", "fednova and clean")
    before = suite.results()
    record = suite.records()[0]
    record.write_text(record.read_text().replace('"schema": 2', '"schema": 99'))
    result = suite.run("-k", "fednova and clean", *strict)
    assert result.ret == 0
    result.assert_outcomes(passed=1, deselected=6, warnings=1)
    assert suite.effort(result) == (1, 1)
    assert "StoreWarning: " + record.name in suite.text(result)
    assert "a record of schema 99 cannot be read, this version reads 2" in suite.text(result)
    assert record.with_suffix(".unreadable").is_file()
    assert suite.results() == before
    assert suite.effort(suite.run("-k", "fednova and clean", "-W", "error")) == (2, 0)


def test_after_x_the_finished_runs_are_kept(suite: Any) -> None:
    suite.limits(clean="min = 99.9")
    result = suite.run("-x")
    result.assert_outcomes(failed=1)
    assert [cell["id"] for cell in suite.results()] == ["krum-iid-clean"]
    assert len(suite.records()) == 2
    suite.limits()
    assert suite.effort(suite.run()) == (2, 14)


def test_after_an_interrupt_the_finished_runs_are_kept(
    suite: Any, monkeypatch: pytest.MonkeyPatch
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
    assert "interrupted by Ctrl-C: 3 of 16 runs are stored in .fedcore" in suite.text(result)
    assert "1 were being made and are lost" in suite.text(result)
    assert "12 had not begun. The same command goes on from there" in suite.text(result)
    # the cell that was finished is reported
    assert [cell["id"] for cell in suite.results()] == ["krum-iid-clean"]
    after = suite.run()
    assert after.ret == 0
    assert suite.effort(after) == (3, 13)


def test_sigterm_ends_a_session_in_order_and_the_handlers_are_taken_back(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate, made = worker.simulate, []

    def terminated(*arguments: Any, **settings: Any) -> Record:
        made.append(arguments)
        if len(made) > 2:
            signal.raise_signal(signal.SIGTERM)
        return simulate(*arguments, **settings)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(worker, "simulate", terminated)
        result = suite.run(no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "interrupted by SIGTERM: 2 of 16 runs are stored in .fedcore" in suite.text(result)
    assert [cell["id"] for cell in suite.results()] == ["krum-iid-clean"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_interrupt_with_workers_ends_them(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert suite.effort(after) == (kept, 16 - kept)


def test_the_table_goes_to_the_summary_of_a_ci_job(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite.path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    result = suite.run("-k", "fednova and clean")
    shown = "\n".join(suite.table(result)).strip()
    assert path.read_text() == f"before\n```\n{shown}\n```\n"


def test_workers_are_busy_until_the_last_result_not_the_last_verdict_of_a_cell() -> None:
    """Claims go on making runs after all cells are judged: two workers were 209 % busy."""
    record = SimpleNamespace(timings=SimpleNamespace(total=3.0), examples=500)
    progress = SimpleNamespace(stored=1, seconds=60.0)  # what follows, such as timings, counts not
    lab = SimpleNamespace(computed=lambda: [record] * 4, last_result=8.0, jobs=2, progress=progress)
    text = SuiteSession.effort(SimpleNamespace(lab=lab, _first_verdict=1.0, _last_verdict=2.0))
    assert text == (
        "1 runs from the store, 4 made in 8 s: 250 training examples/s, workers 75 % busy, "
        "first verdict after 1 s"
    )
