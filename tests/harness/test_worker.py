from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.errors import DataError
from fedcore.execution import Execution
from fedcore.harness import worker
from fedcore.harness.store import Inputs, Run, Store
from fedcore.harness.worker import Failure, Job, execute
from fedcore.record import Record

TINY = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1)
INPUTS = Inputs(data="d", weights=None, code="c", machine="m", engine="sequential")


def raising(error: Exception) -> Any:
    def simulate(*_: Any, **__: Any) -> Record:
        raise error

    return simulate


def test_a_job_is_run_stored_and_handed_back(tmp_path: Path) -> None:
    job = Job(Run(TINY, 3), INPUTS, Store(tmp_path), tmp_path, Execution())
    record = execute(pickle.loads(pickle.dumps(job)))
    assert isinstance(record, Record)
    assert (record.scenario, record.seed) == (TINY, 3)
    assert job.store is not None
    assert job.store.get(job.run, INPUTS) == record


def test_without_a_store_nothing_is_written(tmp_path: Path) -> None:
    assert isinstance(execute(Job(Run(TINY, 0), None, None, tmp_path, Execution())), Record)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "expected", "part"),
    [
        (DataError("no such file: put it there"), True, "DataError: no such file: put it there"),
        (ZeroDivisionError("a bug"), False, "ZeroDivisionError: a bug"),
    ],
)
def test_errors_are_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: bool, part: str
) -> None:
    monkeypatch.setattr(worker, "simulate", raising(error))
    failure = execute(Job(Run(TINY, 0), INPUTS, Store(tmp_path), tmp_path, Execution()))
    assert isinstance(failure, Failure)
    assert failure.expected is expected
    assert part in failure.message
    assert ("Traceback" in failure.message) is not expected  # for a bug: where it happened


def test_a_store_that_fails_is_an_expected_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    (tmp_path / "records").rmdir()
    (tmp_path / "records").write_text("in the way")
    failure = execute(Job(Run(TINY, 0), INPUTS, store, tmp_path, Execution()))
    assert isinstance(failure, Failure)
    assert failure.expected
    assert "cannot be written" in failure.message
