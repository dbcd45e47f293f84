"""Lab: turns selected cells into distinct runs, has them run or found, and judges the cells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fedcore.data.loading import data_directory, load
from fedcore.engine import flower_engines as flower
from fedcore.engine.execution import Execution
from fedcore.engine.local_rules import needs_reference_engine
from fedcore.errors import FedcoreError
from fedcore.harness.exact.machine_class import machine_class
from fedcore.harness.proofs.arms import Proofs
from fedcore.harness.runs.imports import KnownImports
from fedcore.harness.runs.job import Failure, Job
from fedcore.harness.statistics.estimates import CellVerdict, confidence
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.look_ahead import LookAhead
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.outcome import Outcome, judge_cell
from fedcore.harness.suite.pools import checkpoints_of, pool_of, say_stored
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.harness.suite.unwritten import Unwritten
from fedcore.records.inputs import inputs_of
from fedcore.records.provenance import device_name, fingerprint
from fedcore.records.record import Record
from fedcore.records.store import Inputs, Run, Store


@dataclass(frozen=True)
class Progress:
    """How far the plan is; ``stored`` runs were found, not made."""

    planned: int
    finished: int
    stored: int
    seconds: float
    examples: float  # training examples, as expected, of the runs to make

    @property
    def remaining(self) -> float | None:
        """Seconds still to go at the pace so far; None before the first run is made."""
        made = self.finished - self.stored
        return (self.planned - self.finished) * self.seconds / made if made > 0 else None


class Lab:
    """Runs and judges cells. One lab serves one session; `close` ends its workers."""

    def __init__(self, options: Options, thresholds: Thresholds) -> None:
        self.options = options
        self.thresholds = thresholds
        self.execution = Execution(options.engine, options.device, options.precision)
        self.device = self.execution.torch_device
        self.store = Store(options.results.resolve())
        self.data_dir = data_directory(options.data_dir)
        self.proofs = Proofs(self.data_dir)
        self._pool = pool_of(options, self.execution)
        self.jobs = self._pool.workers
        #: Whether other processes make the runs.
        self.elsewhere = options.executor == "ray" or self.jobs > 1
        self._results: dict[Run, Record | Failure] = {}
        self._jobs: dict[Run, Job] = {}
        self._open: dict[Job, None] = {}  # submitted and not known to be done
        self.unwritten = Unwritten()
        self._found = 0
        self._refused, self._examples = 0, 0.0  # refused: runs that failed before there was a job
        self._samples: dict[tuple[str, int | None], int] = {}
        self._engines: dict[str, None] = {}
        self._data: dict[str, str] = {}
        self._weights: dict[str, str] = {}
        self._began = time.perf_counter()
        #: Seconds from the beginning to the last result that a worker made.
        self.last_result = 0.0
        self._inputs: dict[tuple[str | int | None, ...], Inputs | Failure] = {}
        self._imports = KnownImports()
        self._ahead = LookAhead()

    @property
    def fingerprint(self) -> str:
        """What must be equal for equal numbers: torch, machine, device, and how runs are made."""
        label = self.execution.label
        return fingerprint(self.device) + ("" if label == "sequential" else f", {label}")

    @property
    def together(self) -> bool:
        """Whether runs train together on a GPU, where others decide on a run's last bits."""
        return self.device.type == "cuda" and self.execution.stacks

    @property
    def origin(self) -> dict[str, Any]:
        """Device, engines, precision, fingerprint, class and digests of data, for result files."""
        return {
            "device": device_name(self.device),
            "engine": ", ".join(sorted(self._engines) or [self.execution.label]),
            "precision": self.execution.precision,
            "fingerprint": self.fingerprint,
            **({} if self.together else {"class": machine_class(self.fingerprint)}),
            "data": dict(self._data),
            **({"weights": dict(self._weights)} if self._weights else {}),
        }

    def seeds(self, cell: Cell) -> tuple[int, ...]:
        """The seeds that ``cell`` is judged on."""
        return tuple(range(self.options.seeds or cell.seeds))

    def plan(self, cells: Iterable[Cell]) -> list[Run]:
        """The distinct runs that ``cells`` need, in the order in which they are needed."""
        return list(dict.fromkeys(run for cell in cells for run in cell.runs(self.seeds(cell))))

    def begin(self, runs: Iterable[Run]) -> None:
        """Find stored ``runs`` and set workers on the others; returns at once."""
        for run in runs:
            self._begin(run)

    def _begin(self, run: Run) -> None:
        if run in self._results or run in self._jobs:
            return
        inputs = self._inputs_of(run)
        if isinstance(inputs, Failure):
            self._results[run] = inputs
            self._refused += 1
            self._ahead.finished(run, self._finished)
            return
        self._engines[inputs.engine] = None
        self._data[run.scenario.data] = inputs.data
        if inputs.weights is not None:
            self._weights[str(run.scenario.weights)] = inputs.weights
        record = None if self.options.fresh else self.store.get(run, inputs)
        if record is not None:
            self._results[run] = record
            self._found += 1
            self._ahead.finished(run, self._finished)
            return
        fitting = self.execution.fitting(run.scenario)
        imports = self._imports.of(run.scenario, fitting.label)
        saved = checkpoints_of(run.scenario, self.store.root, self.options)
        job = Job(run, inputs, self.store, self.data_dir, fitting, imports, saved)
        self._jobs[run] = job
        self._open[job] = None
        self._examples += self._expected_examples(run)
        self._pool.submit(job)

    @property
    def refusals(self) -> list[str]:
        """Why no run on ``options.dataset``, of those begun, can be made; empty if any can.

        Where all runs are on other data, which a suite may fix: why none of them can.
        """
        runs = (*self._results, *self._jobs)
        asked = [run for run in runs if run.scenario.dataset == self.options.dataset] or runs
        failures = [self._results.get(run) for run in asked]
        reasons = [found.message for found in failures if isinstance(found, Failure)]
        return list(dict.fromkeys(reasons)) if len(reasons) == len(asked) else []

    def result(self, run: Run, tick: Callable[[Progress], None] | None = None) -> Record | Failure:
        """The record of ``run``, waiting for it; ``tick`` is called about twice a second."""
        self._begin(run)
        while run not in self._results:
            with contextlib.suppress(TimeoutError):
                self._results[run] = self._pool.result(self._jobs[run], timeout=0.5)
                self.last_result = time.perf_counter() - self._began
                self._close_jobs([self._jobs[run]])
                self.unwritten.look(self.store, run, self._results[run])
            # a single worker makes what is asked for, when it is asked for
            if run not in self._results and self.jobs > 1:
                self._look_ahead()
            if tick is not None:
                tick(self.progress)
        return self._results[run]

    def known(self, cell: Cell) -> bool:
        """Whether all runs that ``cell`` is judged on are done."""
        self._notice()
        return all(self._finished(run) for run in cell.runs(self.seeds(cell)))

    def judge(self, cell: Cell, tick: Callable[[Progress], None] | None = None) -> Outcome:
        """The outcome of ``cell`` once its runs are done.

        Where that is inconclusive, further seeds are run, and the error is spent evenly over the
        looks that the cell may take. ``--seeds`` fixes their number.
        """
        known = self._ahead.drop(cell)
        for count in self._looks(cell):
            if count in known:
                outcome = known[count]
            else:
                results = {run: self.result(run, tick) for run in cell.runs(range(count))}
                outcome = self._outcome(cell, count, results)
            if outcome.verdict is not CellVerdict.INCONCLUSIVE:
                break
        return outcome

    def expect(self, cells: Iterable[Cell]) -> None:
        """``cells`` will be judged in this order: further seeds begin before their turn comes.

        Where an earlier cell waits for its last runs, the other workers would have nothing to do.
        """
        self._ahead = LookAhead((cell, self._looks(cell)) for cell in cells)

    def _look_ahead(self) -> None:
        """Begin the next look of cells to come that are inconclusive, if a worker is idle.

        Each look of a cell is judged once, when the last of its runs is there.
        """
        self._notice()
        while len(self._open) < self.jobs and (look := self._ahead.ready(self._finished)):
            cell, count, following = look
            results = {run: self.result(run) for run in cell.runs(range(count))}
            outcome = self._outcome(cell, count, results)
            self._ahead.judged(cell, count, outcome)
            if outcome.verdict is CellVerdict.INCONCLUSIVE:
                self.begin(cell.runs(range(following)))

    def _looks(self, cell: Cell) -> tuple[int, ...]:
        return cell.looks() if self.options.seeds is None else (self.options.seeds,)

    def _outcome(self, cell: Cell, count: int, results: dict[Run, Record | Failure]) -> Outcome:
        level = confidence(len(self._looks(cell)))
        outcome = judge_cell(
            cell, range(count), results, self.thresholds, confidence=level, proofs=self.proofs
        )
        return outcome.on_data_of(results.values())

    def _finished(self, run: Run) -> bool:
        return run in self._results or (run in self._jobs and self._jobs[run] not in self._open)

    def _notice(self) -> None:
        """Take note of the jobs that have been done since the last time."""
        news = getattr(self._pool, "news", None)
        # a pool that cannot tell is asked about each job
        self._close_jobs(news() if news else [j for j in self._open if self._pool.done(j)])

    def _close_jobs(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job in self._open:
                del self._open[job]
                self._ahead.finished(job.run, self._finished)

    @property
    def progress(self) -> Progress:
        """How far the plan is."""
        self._notice()
        planned = self._found + self._refused + len(self._jobs)
        seconds = time.perf_counter() - self._began
        return Progress(planned, planned - len(self._open), self._found, seconds, self._examples)

    def computed(self) -> Sequence[Record]:
        """Records made in this session, not found in the store."""
        results = [self._results[run] for run in self._jobs if run in self._results]
        return [record for record in results if isinstance(record, Record)]

    def _expected_examples(self, run: Run) -> float:
        """Training examples that ``run`` will see, with mean epochs and mean client sizes."""
        scenario = run.scenario
        data = (scenario.data, scenario.image_size)
        if data not in self._samples:
            loaded = load(scenario.data, self.data_dir, scenario.image_size)
            self._samples[data] = len(loaded.train)
        samples = self._samples[data]
        share = scenario.cohort_size / scenario.num_clients * (1 - scenario.validation_fraction)
        if scenario.steps_range is not None:
            images = scenario.cohort_size * scenario.batch_size * sum(scenario.steps_range) / 2
            return scenario.rounds * images
        return scenario.rounds * share * samples * sum(scenario.epochs_range) / 2

    def incidents(self) -> list[str]:
        """A line for each worker process that was lost since the last call."""
        incidents = getattr(self._pool, "incidents", None)
        return incidents() if incidents else []

    def abandon(self) -> str:
        """End the workers at once; in words, what is stored and what is lost."""
        lost = self._pool.abandon()
        progress = self.progress
        return say_stored(progress.finished, progress.planned, lost, self.options.results)

    def close(self) -> None:
        """End the workers, and what engines have kept between runs."""
        self._pool.close()
        flower.release()

    def _inputs_of(self, run: Run) -> Inputs | Failure:
        """Digests of what ``run`` depends on; a Failure where data or weights are not to be had."""
        scenario = run.scenario
        # what code_of and the files depend on: the names of all components, and the size on reading
        named = (scenario.strategy_spec, scenario.client_mods, scenario.data, scenario.weights)
        chosen = (f"{part.kind} {part.name}" for _, part in scenario.parts.everything())
        fitting = needs_reference_engine(scenario)  # which engine auto means
        key = (*named, *chosen, scenario.image_size, str(fitting))
        if key not in self._inputs:
            try:
                self._inputs[key] = inputs_of(scenario, self.data_dir, self.execution)
            except FedcoreError as error:
                self._inputs[key] = Failure(f"{type(error).__name__}: {error}", expected=True)
        return self._inputs[key]
