from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedcore import Scenario
from fedcore.harness.runs import job as worker
from fedcore.harness.runs.job import Failure
from fedcore.harness.statistics.estimates import CellVerdict, Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.lab import Lab, Progress
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.thresholds import Threshold, Thresholds
from fedcore.records import inputs
from fedcore.records.record import Record
from fedcore.records.store import Run
from tests.data.examples import Drawn

CLEAN = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1, lr=1.0)
ATTACKED = CLEAN.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=1.0)
CELLS = [Cell("clean", CLEAN, 2), Cell("attacked", ATTACKED, 2, ATTACKED)]
THRESHOLDS = Thresholds(
    (
        Threshold("drop.any", "drop", 0.5, None, "r", {}),
        Threshold("control.any", "control", 0.5, None, "r", {}),
    ),
    Noise(0.1, 40),
)

MakeLab = Callable[..., Lab]


def started(lab: Lab, cells: list[Cell]) -> Progress:
    lab.begin(lab.plan(cells))
    return lab.progress


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MakeLab]:
    made: list[Lab] = []

    def make(**changes: Any) -> Lab:
        options = Options(device="cpu", jobs=1, results=tmp_path / "results")
        made.append(Lab(dataclasses.replace(options, **changes), THRESHOLDS))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_plan_has_each_run_once(lab: MakeLab) -> None:
    wanted = [Run(s, seed) for seed in (0, 1) for s in (CLEAN, ATTACKED)]
    assert set(lab().plan(CELLS)) == set(wanted)
    assert len(lab().plan(CELLS)) == 4
    assert len(lab(seeds=3).plan(CELLS)) == 6
    assert lab(seeds=1).seeds(CELLS[0]) == (0,)


def test_the_time_that_results_took_ends_with_the_last_that_was_made(lab: MakeLab) -> None:
    own = lab()
    own.judge(CELLS[0])
    first = own.last_result
    assert 0 < first < own.progress.seconds
    own.judge(CELLS[0])
    assert own.last_result == first
    own.judge(CELLS[1])
    assert own.last_result > first
    stored = lab()
    stored.judge(CELLS[1])
    assert stored.last_result == 0


def test_the_second_lab_finds_everything(lab: MakeLab) -> None:
    first = lab()
    assert started(first, CELLS).stored == 0
    before = [first.judge(cell) for cell in CELLS]
    # 4 runs of 1 round: 2 of 4 clients with 100 samples each, 1 epoch
    seconds = pytest.approx(first.progress.seconds, abs=1)
    assert first.progress == Progress(4, 4, 0, seconds, examples=4 * 2 * 100)
    assert first.progress.remaining == 0
    assert len(first.computed()) == 4

    second = lab()
    found = started(second, CELLS)
    assert (found.examples, found.remaining) == (0, None)
    assert (found.planned, found.finished, found.stored) == (4, 4, 4)
    assert [second.judge(cell) for cell in CELLS] == before
    assert second.computed() == []


def test_fresh_computes_again_the_same_numbers(lab: MakeLab) -> None:
    before = [lab().judge(cell) for cell in CELLS]
    again = lab(fresh=True)
    assert started(again, CELLS).stored == 0
    assert [again.judge(cell) for cell in CELLS] == before
    assert len(again.computed()) == 4


def test_a_cell_that_was_not_planned_is_judged_all_the_same(lab: MakeLab) -> None:
    assert lab().judge(CELLS[1]).verdict is CellVerdict.PASS


def test_starting_computes_nothing_with_one_worker(lab: MakeLab) -> None:
    one = lab()
    started(one, CELLS)
    started(one, CELLS)  # a second time changes nothing
    assert one.progress.finished == 0
    one.judge(CELLS[0])
    assert (one.progress.planned, one.progress.finished) == (4, 2)


def test_tick_hears_of_every_run(lab: MakeLab) -> None:
    heard: list[Progress] = []
    one = lab()
    started(one, CELLS)
    one.judge(CELLS[1], heard.append)
    assert [p.finished for p in heard] == [1, 2, 3, 4]


def test_worker_processes_give_the_same_outcome(lab: MakeLab) -> None:
    here = [lab().judge(cell) for cell in CELLS]
    pool = lab(jobs=2, fresh=True)
    started(pool, CELLS)
    assert [pool.judge(cell) for cell in CELLS] == here


class Reluctant:
    """A pool of two workers, of which one is held up by ``slow`` until ``patience`` looks."""

    workers = 2

    def __init__(self, slow: Run, patience: int) -> None:
        self.slow, self.patience = slow, patience
        self.submitted: list[Run] = []
        self.at_the_end: list[Run] = []

    def submit(self, job: worker.Job) -> None:
        self.submitted.append(job.run)

    def done(self, job: worker.Job) -> bool:
        return job.run != self.slow or not self.patience

    def result(self, job: worker.Job, timeout: float | None = None) -> Record | Failure:
        if not self.done(job):
            self.patience -= 1
            self.at_the_end = list(self.submitted)
            raise TimeoutError
        return worker.execute(job)

    def close(self) -> None:
        pass


def test_idle_workers_begin_the_further_seeds_of_cells_to_come(
    lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both cells are inconclusive; the first one's turn takes long, the second one's seeds do not
    wait for it. What is run and the outcomes are those of judging one after the other."""
    limits = [("drop", -5, 5), ("control", 1, None)]
    entries = tuple(
        Threshold(f"{name}.any", name, low, high, "r", {}) for name, low, high in limits
    )
    wide = Thresholds(entries, Noise(50.0, 4))
    slow = CLEAN.but(lr=0.02)
    cells = [Cell("slow", slow, 2), Cell("attacked", ATTACKED, 2, ATTACKED, max_seeds=4)]
    pool = Reluctant(Run(slow, 1), patience=3)
    monkeypatch.setattr("fedcore.harness.suite.lab.pool_of", lambda *_: pool)
    one = lab()
    one.thresholds = wide
    started(one, cells)
    planned = list(pool.submitted)
    one.expect(cells)
    outcomes = [one.judge(cell) for cell in cells]
    further = [Run(s, seed) for seed in (2, 3) for s in (CLEAN, ATTACKED)]
    assert pool.at_the_end == planned + further
    assert pool.submitted == planned + further
    assert outcomes[1].verdict is CellVerdict.INCONCLUSIVE
    assert outcomes[1].seeds == (0, 1, 2, 3)

    plain = lab(fresh=True)
    plain.thresholds = wide
    assert [plain.judge(cell) for cell in cells] == outcomes


def test_the_origin_says_what_the_numbers_are_made_with_and_of(lab: MakeLab) -> None:
    one = lab(precision="float64")
    assert one.origin["data"] == {}
    started(one, CELLS)
    origin = one.origin
    assert (origin["device"], origin["precision"]) == ("cpu", "float64")
    assert origin["engine"] == "sequential-float64"
    record = one.result(Run(CLEAN, 0))
    assert isinstance(record, Record)
    assert origin["data"] == {CLEAN.dataset: record.provenance.data}
    assert one.fingerprint == origin["fingerprint"]


def test_the_origin_has_each_size_of_a_data_set_with_parameters(lab: MakeLab) -> None:
    one = lab()
    runs = [Run(CLEAN.but(dataset=Drawn(samples=n)), 0) for n in (40, 80)]
    digests = [one.result(run).provenance.data for run in runs]
    assert digests[0] != digests[1]
    assert [*one.origin["data"].values()] == digests


def test_missing_data_is_a_failure_of_that_run_alone(lab: MakeLab, tmp_path: Path) -> None:
    missing = CLEAN.but(dataset=f"npz:{tmp_path}/absent.npz")
    one = lab()
    progress = started(one, [Cell("missing", missing, 1), CELLS[0]])
    assert (progress.planned, progress.finished, progress.stored) == (3, 1, 0)
    outcome = one.judge(Cell("missing", missing, 1))
    assert outcome.verdict is CellVerdict.ERROR
    assert f"DataError: {tmp_path}/absent.npz: there is no such file" in outcome.errors[0]
    assert one.judge(CELLS[0]).errors == ()


def test_refusals_are_of_all_runs_on_the_chosen_data(lab: MakeLab, tmp_path: Path) -> None:
    absent = f"npz:{tmp_path}/absent.npz"
    missing = CLEAN.but(dataset=absent)
    chosen = lab(dataset=absent)
    assert chosen.refusals == []
    chosen.begin(
        [Run(missing, 0), Run(missing, 1), Run(CLEAN, 0)]
    )  # as privacy's cells, which fix theirs
    assert [reason.partition(":")[0] for reason in chosen.refusals] == ["DataError"]
    other = lab()
    other.begin([Run(missing, 0)])
    assert len(other.refusals) == 1  # all are on data that the suite fixed


def test_missing_weights_are_a_failure(lab: MakeLab, tmp_path: Path) -> None:
    result = lab().result(Run(Scenario(model="mobilenet_v2", weights=f"{tmp_path}/absent.pth"), 0))
    assert isinstance(result, Failure)
    assert result.expected
    assert "absent.pth" in result.message


def test_a_failed_run_is_not_stored(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Record:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(worker, "simulate", broken)
        assert lab().judge(CELLS[0]).verdict is CellVerdict.ERROR
    assert started(lab(), CELLS).stored == 0


def test_a_changed_code_digest_computes_anew(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab().judge(CELLS[0])
    real = inputs.code_of
    other = {"own": "0123456789abcdef"}
    monkeypatch.setattr(
        inputs, "code_of", lambda *given: dataclasses.replace(real(*given), **other)
    )
    assert started(lab(), CELLS[:1]).stored == 0


def test_images_read_at_two_sizes_are_two_sets_of_data(lab: MakeLab, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            pixels = generator.integers(0, 256, (9, 7), np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / name / "a.png")
    scenario = CLEAN.but(dataset=f"folder:{tmp_path}")
    one = lab()
    inputs = [one._inputs_of(Run(scenario.but(image_size=size), 0)) for size in (None, 8, 10, 8)]
    digests = [found.data for found in inputs if not isinstance(found, Failure)]
    assert len(set(digests)) == 3
    assert digests[1] == digests[3]
