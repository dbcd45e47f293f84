from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore import Scenario
from fedcore.data import loading
from fedcore.engine.execution import Execution
from fedcore.errors import DataError
from fedcore.harness.runs import job as worker
from fedcore.harness.runs.job import Failure, Job, execute
from fedcore.records.inputs import inputs_of
from fedcore.records.record import Record
from fedcore.records.store import Run, Store

TINY = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1)
INPUTS = inputs_of(TINY, Path(), Execution("sequential", "cpu"))


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


def test_a_record_that_cannot_be_stored_is_handed_on_all_the_same(tmp_path: Path) -> None:
    """It is judged; the session says that it was not stored, and fails."""
    store = Store(tmp_path)
    (tmp_path / "records").rmdir()
    (tmp_path / "records").write_text("in the way")
    assert isinstance(execute(Job(Run(TINY, 0), INPUTS, store, tmp_path, Execution())), Record)


def test_what_changed_since_the_session_began_is_a_failure_that_names_it(tmp_path: Path) -> None:
    began = dataclasses.replace(INPUTS, data="0123456789abcdef")
    failure = execute(Job(Run(TINY, 0), began, Store(tmp_path), tmp_path, Execution()))
    assert isinstance(failure, Failure)
    assert failure.expected
    assert failure.message.startswith("StoreError: ")
    assert (
        "data synthetic:400 changed while the session ran: 0123456789abcdef when it began, "
        f"{INPUTS.data} in the run; run again"
    ) in failure.message
    assert not list((tmp_path / "records").rglob("*.json"))


def test_data_replaced_before_a_worker_reads_them_are_never_filed_under_the_old_key(
    tmp_path: Path,
) -> None:
    """And the first data, when they are back, are made and found."""
    file, store = tmp_path / "data.npz", Store(tmp_path / "results")

    def write(seed: int) -> None:
        draw = np.random.default_rng(seed)
        images = draw.integers(0, 256, (80, 8, 8), dtype=np.uint8)
        labels = np.arange(80) % 4
        arrays = {"train_images": images[:60], "train_labels": labels[:60]}
        np.savez(file, **arrays, test_images=images[60:], test_labels=labels[60:])
        loading._load.cache_clear()  # as a process that has not read it yet

    scenario = TINY.but(dataset=f"npz:{file}")
    write(0)
    began = inputs_of(scenario, tmp_path, Execution("sequential", "cpu"))
    job = Job(Run(scenario, 0), began, store, tmp_path, Execution("sequential", "cpu"))
    write(1)
    failure = execute(job)
    assert isinstance(failure, Failure)
    assert f"data npz:{file} changed while the session ran: {began.data} when it" in failure.message
    assert store.get(job.run, began) is None
    write(0)
    record = execute(job)
    assert isinstance(record, Record)
    write(1)  # once it is read it may be replaced
    assert store.get(job.run, began) == record
