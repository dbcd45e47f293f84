"""Two stored sessions compared: every bit where one machine class made both, else by a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedcore.harness.comparisons.findings import Finding, judged
from fedcore.harness.comparisons.pairing import Pair, Pairing, pair
from fedcore.harness.comparisons.side import Side
from fedcore.harness.exact.trace import Divergence, Trace, divergence
from fedcore.harness.statistics.portable import ALPHA


@dataclass(frozen=True)
class Changed:
    """A run that differs between the sides: where it parts, and B - A of its tail accuracy.

    ``where.round`` is None where the rounds of one side are not stored, and where no score differs.
    """

    name: str
    seed: int
    tail: float
    where: Divergence


@dataclass
class Comparison:
    """What became of ``a`` in ``b``.

    ``same_machine``: both were made on one machine class, None where a side does not say on which.
    ``exact``: any difference of any bit counts. ``changed`` are the runs that differ in a bit,
    ``traced`` counts the pairs of runs whose rounds were compared. ``findings`` are the tests, with
    an error of ``alpha`` in all, ``scales`` what differences were divided by.
    """

    a: Side
    b: Side
    pairing: Pairing
    same_machine: bool | None
    exact: bool
    alpha: float
    changed: list[Changed] = field(default_factory=list)
    traced: int = 0
    findings: list[Finding] = field(default_factory=list)
    scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def significant(self) -> list[Finding]:
        """The findings that count, losses and improvements alike."""
        return [finding for finding in self.findings if finding.direction is not None]

    @property
    def compared(self) -> bool:
        """Whether there was anything to compare."""
        found = self.pairing
        return bool(found.arms or found.failed_a or found.failed_b)

    @property
    def differs(self) -> bool:
        """Whether anything differs significantly: exit status 1."""
        found = self.pairing
        moved = self.exact and bool(self.changed)
        return moved or bool(self.significant or found.failed_a or found.failed_b)


def compare_sides(
    a: Side, b: Side, *, alpha: float = ALPHA, exact: bool | None = None
) -> Comparison:
    """Compare ``b`` with ``a``, run by run, and by the tests of `findings.judged`.

    ``exact``: whether any bit counts; None where both sides are of one machine class.
    """
    known = None not in (a.machine_class, b.machine_class)
    same = a.machine_class == b.machine_class if known else None
    pairing = pair(a, b)
    result = Comparison(a, b, pairing, same, bool(same) if exact is None else exact, alpha)
    for arms in pairing.arms:
        _exactly(result, arms)
    result.findings, result.scales = judged(pairing.arms, alpha)
    return result


def _exactly(result: Comparison, arms: Pair) -> None:
    for seed, (before, now) in arms.accuracy.items():
        old, new = arms.a.traces.get(seed), arms.b.traces.get(seed)
        if old is not None and new is not None:
            result.traced += 1
            where = divergence(*_alike(old, new))
        else:
            where = _tails(arms, seed)
        if where is not None:
            result.changed.append(Changed(arms.name, seed, now - before, where))


def _tails(arms: Pair, seed: int) -> Divergence | None:
    """What differs in the tail values of a run whose rounds one side does not store."""
    parts = []
    for what, values in (("tail accuracy", arms.accuracy), ("tail ASR", arms.asr)):
        before, now = values.get(seed, (0.0, 0.0))  # no rate of an attack, or of a broken model
        if before != now:
            parts.append(f"{what} {before:.4f} -> {now:.4f} %")
    if not parts:
        return None
    first = _first_round(arms)
    if first is not None:
        parts.append(f"the mean over the seeds first differs in round {first}")
    return Divergence(None, ", ".join(parts))


def _first_round(arms: Pair) -> int | None:
    """The first round in which the mean curves differ; None where they are of other seeds."""
    a, b = arms.a, arms.b
    if not a.curve or a.curve.keys() != b.curve.keys() or a.accuracy.keys() != b.accuracy.keys():
        return None
    return next((round for round in a.curve if a.curve[round] != b.curve[round]), None)


def _alike(old: Trace, new: Trace) -> tuple[Trace, Trace]:
    """Both in shares, where one does not know how many images it was scored on."""
    if old.tested != new.tested and 1 in (old.tested, new.tested):
        return _shares(old), _shares(new)
    return old, new


def _shares(trace: Trace) -> Trace:
    return dataclasses.replace(trace, tested=1, correct=trace.shares)
