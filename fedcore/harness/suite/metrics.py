"""Metrics of a cell beside its accuracies: who pays for them, and what they rest on.

Poisoned accuracy is the primary figure. A drop flatters an arm that learns slowly, a mean over
classes hides the one that an attack is after, and a success rate holds mistakes that the model
makes with nobody attacking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedcore.harness.statistics.adjusted import Adjusted, Covariate, adjusted
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.course import Exposure, assumption_of
from fedcore.harness.suite.measures import Records
from fedcore.harness.suite.skill import tail_balanced, tail_worst
from fedcore.records.exposure import Realised, realised
from fedcore.records.record import Record
from fedcore.records.store import Run


@dataclass(frozen=True)
class Metrics:
    """By seed, in percent or points, of the cell's own arm: the attacked one, if there is one.

    ``balanced`` and ``worst_recall`` are of `fedcore.harness.suite.skill`; ``asr_net`` is the
    success rate minus the clean twin's on the same images, empty where either has none.
    ``exposure`` is the realised share of poison. ``assumption`` counts malicious clients in the
    cohorts against the number that the rule is made for, None for a rule without one.
    ``adjusted`` is the poisoned accuracy adjusted for the covariates, ``unadjusted`` the reason why
    there is none; both None for a clean cell.
    """

    balanced: tuple[float, ...]
    worst_recall: tuple[float, ...]
    asr_net: tuple[float, ...] = ()
    exposure: Realised | None = None
    assumption: Exposure | None = None
    adjusted: Adjusted | None = None
    unadjusted: str | None = None


def metrics_of(cell: Cell, seeds: Sequence[int], records: Records, confidence: float) -> Metrics:
    """The metrics of ``cell`` from its records, the adjusted mean at ``confidence``."""
    scenario = cell.scenario
    own = [records[Run(scenario, seed)] for seed in seeds]
    balanced, worst = _percent(own, tail_balanced), _percent(own, tail_worst)
    if scenario.attack is None:
        return Metrics(balanced, worst)
    twins = [records[Run(scenario.clean_twin(), seed)] for seed in seeds]
    rates, calm = _percent(own, _rate), _percent(twins, _rate)
    exposure = realised(scenario, seeds, records)
    found, reason = _adjusted(own, twins, exposure, confidence)
    return Metrics(
        balanced,
        worst,
        asr_net=tuple(a - b for a, b in zip(rates, calm, strict=True)) if rates and calm else (),
        exposure=exposure,
        assumption=assumption_of(scenario, own),
        adjusted=found,
        unadjusted=reason,
    )


def covariates(twins: Sequence[float], exposure: Realised | None) -> list[Covariate]:
    """What a poisoned accuracy is adjusted for.

    ``twin``: the clean twin's accuracy, adjusted to its mean over these seeds, as its expectation
    is not known: see `fedcore.harness.statistics.adjusted` for what that gives and what not.
    ``exposure``: the realised share of poisoned samples, adjusted to the nominal one; where that is
    not known the share that malicious clients held, adjusted to the malicious fraction.
    """
    found = [Covariate("twin", tuple(twins), sum(twins) / len(twins))]
    if exposure is not None and exposure.nominal is not None:
        found.append(Covariate("exposure", exposure.poisoned, exposure.nominal))
    elif exposure is not None:
        found.append(Covariate("exposure", exposure.malicious, exposure.nominal_malicious))
    return found


def _adjusted(
    own: Sequence[Record], twins: Sequence[Record], exposure: Realised | None, confidence: float
) -> tuple[Adjusted | None, str | None]:
    poisoned = [100 * record.tail_accuracy for record in own]
    clean = [100 * record.tail_accuracy for record in twins]
    try:
        return adjusted(poisoned, covariates(clean, exposure), confidence), None
    except ValueError as error:
        return None, str(error)


def _rate(record: Record) -> float | None:
    return record.tail_asr


def _percent(
    records: Sequence[Record], value: Callable[[Record], float | None]
) -> tuple[float, ...]:
    """``value`` of each record in percent; empty where one has none."""
    found = [value(record) for record in records]
    known = tuple(100 * each for each in found if each is not None)
    return known if len(known) == len(found) else ()
