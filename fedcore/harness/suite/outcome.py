"""Outcome: what is known about a cell once its runs are done, and what its gates say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedcore.harness.proofs.arms import Proofs, seeds_alike
from fedcore.harness.proofs.audit import audit_problems, effect_problems
from fedcore.harness.proofs.judge import unproven
from fedcore.harness.runs.job import Failure
from fedcore.harness.statistics.estimates import CellVerdict, Estimate, Noise, estimate, worst
from fedcore.harness.statistics.prior import Priors, Trend
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.clients import ClientFindings, client_findings
from fedcore.harness.suite.course import Course, course_of
from fedcore.harness.suite.learning import Curves, curves_of
from fedcore.harness.suite.measures import Gate, Measure, Records, idle, measures, put_gates
from fedcore.harness.suite.metrics import Metrics, metrics_of
from fedcore.harness.suite.pairs import no_twin as no_twin
from fedcore.harness.suite.pairs import strange as strange
from fedcore.harness.suite.pairs import unpaired as unpaired
from fedcore.harness.suite.published import published_limits
from fedcore.harness.suite.thresholds import CONTROLS, Thresholds
from fedcore.records.record import Record
from fedcore.records.store import Run


@dataclass(frozen=True)
class Outcome:
    """The judgement of ``cell`` on ``seeds``. Accuracies in percent, drops in percentage points.

    For a clean cell ``poisoned``, ``drop`` and ``asr`` are empty; ``asr_twin`` is the success rate
    of the attack where nobody attacks, of clean twins that are scored on its probe set. ``errors``
    are runs that failed, failed audits and broken pairs; ``diverged`` names runs that left the
    finite numbers and count at chance. ``epsilon_total`` is by seed the largest total of a client,
    None where there is no bound; empty where nothing is private. ``class_names`` and ``data_notes``
    are the data set's. ``notes`` are what strategies remark of their runs. ``voids`` say why
    nothing is proven, ``unlimited`` which limits were left out, and why: `measures.Gates`.
    ``unproven`` names runs of which nobody noted what they trained on, with the reason. ``clients``
    is what is known of single clients, ``metrics`` are those beside the accuracies; ``course`` says
    whether the arms have converged, ``curves`` how they got there. All four are None where runs
    failed.
    """

    cell: Cell
    seeds: tuple[int, ...]
    clean: tuple[float, ...]
    poisoned: tuple[float, ...]
    asr: tuple[float, ...]
    gates: tuple[Gate, ...]
    errors: tuple[str, ...]
    diverged: tuple[str, ...]
    noise: Noise
    confidence: float = 0.9
    epsilon_total: tuple[float | None, ...] = ()
    voids: tuple[str, ...] = ()
    unlimited: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    data_notes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    asr_twin: tuple[float, ...] = ()
    clients: ClientFindings | None = None
    course: Course | None = None
    metrics: Metrics | None = None
    curves: Curves | None = None
    strata: Mapping[tuple[str, str], Trend] = field(default_factory=dict, hash=False)

    def on_data_of(self, results: Iterable[Record | Failure]) -> Outcome:
        """This outcome with the class names and notes of the data that ``results`` are from."""
        known = [r.provenance for r in results if isinstance(r, Record)]
        if not known:
            return self
        notes = tuple(dict.fromkeys(note for p in known for note in p.data_notes))
        return replace(self, class_names=known[0].class_names, data_notes=notes)

    @property
    def drop(self) -> tuple[float, ...]:
        """Clean minus poisoned, by seed."""
        return tuple(c - p for c, p in zip(self.clean, self.poisoned, strict=False))

    @property
    def retention(self) -> float | None:
        """Mean poisoned over mean clean accuracy."""
        return sum(self.poisoned) / sum(self.clean) if self.poisoned and sum(self.clean) else None

    @property
    def verdict(self) -> CellVerdict:
        """Of all gates together; "no limit" without one on the cell itself.

        Void where a metric could not be measured, the undefended control shows no effect or the
        clean twin has learned nothing.
        """
        if self.errors:
            return CellVerdict.ERROR
        control = [g.verdict for g in self.gates if g.threshold.metric in CONTROLS]
        if self.voids or CellVerdict.FAIL in control:
            return CellVerdict.VOID
        if self.cell.place is not None:
            return CellVerdict.MEASURED
        if len(control) == len(self.gates):
            return CellVerdict.NO_LIMIT  # a control alone says nothing about the cell
        found = worst([g.verdict for g in self.gates])
        shown = found is CellVerdict.PASS and self.cell.reported is not None
        return CellVerdict.NO_LIMIT if shown else found

    def spread(self, values: Sequence[float], metric: str = "") -> Estimate | None:
        """Mean and interval of ``values``, None if there are none.

        The prior of ``metric``'s stratum holds where there is one.
        """
        if not values:
            return None
        priors = Priors(self.noise, self.strata)
        noise = priors.of(self.cell.scenario.partition, metric, sum(values) / len(values))
        return estimate(values, noise, self.confidence)


def judge_cell(
    cell: Cell,
    seeds: Sequence[int],
    results: Mapping[Run, Record | Failure],
    thresholds: Thresholds,
    *,
    confidence: float = 0.9,
    proofs: Proofs | None = None,
) -> Outcome:
    """The outcome of ``cell`` from the results of its runs on ``seeds``.

    ``confidence`` is the level of its intervals, see `estimates.confidence`. ``proofs`` are the
    session's: what other arms have drawn, and where the data are (None: by default).
    """
    records = {run: r for run, r in results.items() if isinstance(r, Record)}
    failures = [
        f"{run.id}: {result.message}"
        for run in cell.runs(seeds)
        if isinstance(result := results[run], Failure)
    ]
    diverged = [
        f"{run.id} in round {records[run].diverged}"
        for run in cell.runs(seeds)
        if run in records and records[run].diverged is not None
    ]
    outcome = Outcome(
        cell,
        tuple(seeds),
        clean=(),
        poisoned=(),
        asr=(),
        gates=(),
        errors=tuple(failures),
        diverged=tuple(diverged),
        noise=thresholds.noise,
        confidence=confidence,
        strata=thresholds.strata,
    )
    if failures:
        return outcome
    measured = measures(cell, seeds, records)
    return replace(
        _gated(outcome, records, measured, thresholds),
        clean=_tails(cell, seeds, records, clean=True),
        poisoned=_tails(cell, seeds, records, clean=False),
        asr=measured["asr"].values if "asr" in measured else (),
        asr_twin=_twin_rates(cell, seeds, records),
        errors=tuple(_broken_proofs(cell, seeds, records, proofs or Proofs())),
        epsilon_total=_epsilon_totals(cell, seeds, records),
        notes=_notes(cell, seeds, records),
        clients=client_findings(cell, seeds, records),
        metrics=metrics_of(cell, seeds, records, confidence),
        unproven=tuple(filter(None, (unproven(records[run]) for run in cell.runs(seeds)))),
        course=course_of(
            cell.scenario, None if cell.place is None else cell.place.declared, seeds, records
        ),
        curves=curves_of(cell.scenario, seeds, records, thresholds.noise),
    )


def _gated(
    outcome: Outcome, records: Records, measured: Mapping[str, Measure], thresholds: Thresholds
) -> Outcome:
    """``outcome`` with the gates of its cell: those of a study, or those of ``thresholds``."""
    cell, seeds, level = outcome.cell, outcome.seeds, outcome.confidence
    if cell.place is not None:
        return replace(outcome, voids=tuple(idle(cell, seeds, records)))
    if cell.published is not None or cell.reported is not None:
        gates = _published_gates(cell, seeds, records, thresholds.priors, level)
        return replace(outcome, gates=gates)
    judged = put_gates(cell, seeds, records, measured, thresholds, level)
    return replace(outcome, gates=judged.gates, voids=judged.voids, unlimited=judged.unlimited)


def _twin_rates(cell: Cell, seeds: Sequence[int], records: Records) -> tuple[float, ...]:
    """Tail success rates in percent of the clean twin, by seed; empty where it has none."""
    if cell.scenario.attack is None:
        return ()
    twin = cell.scenario.clean_twin()
    rates = [records[Run(twin, seed)].tail_asr for seed in seeds]
    known = tuple(100 * rate for rate in rates if rate is not None)
    return known if len(known) == len(rates) else ()


def _tails(cell: Cell, seeds: Sequence[int], records: Records, *, clean: bool) -> tuple[float, ...]:
    """Tail accuracies in percent of the clean twin, or of the attacked arm; empty without one."""
    if not clean and cell.scenario.attack is None:
        return ()
    arm = cell.scenario.clean_twin() if clean else cell.scenario
    return tuple(100 * records[Run(arm, seed)].tail_accuracy for seed in seeds)


def _notes(cell: Cell, seeds: Sequence[int], records: Records) -> tuple[str, ...]:
    """What strategies remark of the runs of ``cell``, each with its run."""
    return tuple(
        f"{run.id}: {note}" for run in cell.runs(seeds) for note in records[run].audit.notes
    )


def _epsilon_totals(cell: Cell, seeds: Sequence[int], records: Records) -> tuple[float | None, ...]:
    statements = [records[Run(cell.scenario, seed)].audit.privacy for seed in seeds]
    return tuple(s.epsilon_total for s in statements if s is not None)


def _broken_proofs(cell: Cell, seeds: Sequence[int], records: Records, proofs: Proofs) -> list[str]:
    """What the audits of the runs and of the pairs find, as messages."""
    problems: list[str] = []
    for run in cell.runs(seeds):
        record = records[run]
        problems += strange(run, record) or audit_problems(record) or proofs.problems(record)
    if not problems:
        for scenario in dict.fromkeys(run.scenario for run in cell.runs(seeds)):
            problems += seeds_alike({seed: records[Run(scenario, seed)] for seed in seeds})
    for arm in dict.fromkeys((cell.scenario, cell.control)):
        if arm is not None and arm.attack is not None:
            for seed in seeds:
                pair = records[Run(arm.clean_twin(), seed)], records[Run(arm, seed)]
                odd = no_twin(*pair) or unpaired(*pair)
                problems += odd or ([] if problems else effect_problems(*pair))
    return problems


def _published_gates(
    cell: Cell, seeds: Sequence[int], records: Records, priors: Priors, confidence: float
) -> tuple[Gate, ...]:
    """The limits of a cell of a study: chance, and what was published for it."""
    values = _tails(cell, seeds, records, clean=cell.scenario.attack is None)
    metric = "clean" if cell.scenario.attack is None else "poisoned"
    noise = priors.of(cell.scenario.partition, metric, sum(values) / len(values))
    accuracy = estimate(values, noise, confidence)
    classes = len(records[Run(cell.scenario, seeds[0])].recall[0])
    judged = published_limits(cell.scenario, accuracy, classes, cell.published, cell.reported)
    return tuple(Gate(threshold, accuracy, verdict) for threshold, verdict in judged)
