"""Baselines: are the cells of a suite as good as when they were recorded?

The unit of comparison is an arm: a scenario over its seeds. A clean twin that several cells share
is one arm. What cannot be compared is listed and decided by a rule: see `Comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fedcore.errors import ScenarioError
from fedcore.harness.baseline_coverage import Coverage
from fedcore.harness.baseline_file import Baseline, Entry
from fedcore.harness.gates import Noise
from fedcore.harness.noninferiority import FEWEST_SEEDS, Shifts, compare
from fedcore.scenario import Scenario

if TYPE_CHECKING:
    from fedcore.harness.outcome import Outcome


@dataclass(frozen=True)
class Arm:
    """Tail accuracies of one scenario, in percent by seed: recorded and now."""

    name: str
    strategy: str
    before: Mapping[int, float]
    now: Mapping[int, float]

    @property
    def differences(self) -> dict[int, float]:
        """Now minus recorded, in percentage points, for the seeds in common."""
        return {s: self.now[s] - self.before[s] for s in sorted(self.now) if s in self.before}

    @property
    def changed(self) -> bool:
        """Whether any seed differs, in any bit."""
        return any(self.differences.values())


@dataclass
class Comparison:
    """What became of each cell, by id, and the tests over the ``arms`` that could be judged.

    ``unchanged`` and ``changed`` are judged; a change alone fails nothing. ``new`` cells and those
    that were not ``selected`` are listed. ``short`` cells share too few seeds and are not judged;
    ``unmeasured`` ones have no values now, which fails their own tests. ``redefined`` cells have
    another scenario under their name, ``gone`` ones are no longer in the suite (with the name of
    a new cell of the same scenario): both fail, the latter only where all cells are selected.
    """

    complete: bool
    unchanged: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unselected: list[str] = field(default_factory=list)
    short: dict[str, int] = field(default_factory=dict)
    unmeasured: list[str] = field(default_factory=list)
    redefined: dict[str, list[str]] = field(default_factory=dict)
    gone: dict[str, str | None] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    tests: Shifts | None = None

    @property
    def failed(self) -> bool:
        """Whether the comparison as a whole fails."""
        lost = self.tests is not None and bool(self.tests.worse.any())
        return lost or bool(self.redefined) or (self.complete and bool(self.gone))

    @property
    def judged(self) -> bool:
        """Whether anything could be compared, or fails."""
        return bool(self.unchanged or self.changed) or self.failed


def against(
    baseline: Baseline,
    outcomes: Mapping[str, Outcome],
    coverage: Coverage,
    noise: Noise,
    fingerprint: str,
) -> Comparison:
    """``outcomes`` of the selected cells, by id, against ``baseline``."""
    result = Comparison(coverage.complete)
    entries = baseline.entries
    by_scenario = {o.cell.scenario: n for n, o in outcomes.items() if n not in entries}
    for name, entry in entries.items():
        if coverage.gone(name, entry.test):
            scenario = _scenario(entry)
            result.gone[name] = None if scenario is None else by_scenario.get(scenario)
        elif name not in coverage.selected:
            result.unselected.append(name)
    comparable: list[tuple[str, Outcome, Entry]] = []
    for name, outcome in outcomes.items():
        if name not in entries:
            result.new.append(name)
        elif differences := _redefined(entries[name], outcome.cell.scenario):
            result.redefined[name] = differences
        elif not sound(outcome):
            result.unmeasured.append(name)
        else:
            comparable.append((name, outcome, entries[name]))
    for name, outcome, entry in comparable:
        now = measured(outcome)
        pairs = [Arm(name, "", entry.values.get(metric, {}), now[metric]) for metric in now]
        common = min(len(pair.differences) for pair in pairs)
        if common < FEWEST_SEEDS:
            result.short[name] = common
        elif any(pair.changed for pair in pairs):
            result.changed.append(name)
        else:
            result.unchanged.append(name)
    foreign = (entry.source.fingerprint for _, _, entry in comparable)
    result.foreign = [f for f in dict.fromkeys(foreign) if f != fingerprint]
    result.arms = _arms([c for c in comparable if c[0] not in result.short])
    if result.arms:
        seeds = sorted({seed for arm in result.arms for seed in arm.differences})
        matrix = [[arm.differences.get(s, np.nan) for s in seeds] for arm in result.arms]
        result.tests = compare(np.array(matrix), [arm.strategy for arm in result.arms], noise)
    return result


def sound(outcome: Outcome) -> bool:
    """Whether there are values, and no run, pair or audit that failed."""
    return bool(outcome.clean) and not outcome.errors


def measured(outcome: Outcome) -> dict[str, dict[int, float]]:
    """What a baseline records of ``outcome``, by metric and seed; metrics without values left out.

    The attack success rate is compared for equality, but not judged: its noise is another.
    """
    found = {"clean": outcome.clean, "poisoned": outcome.poisoned, "asr": outcome.asr}
    return {
        metric: dict(zip(outcome.seeds, values, strict=True))
        for metric, values in found.items()
        if values
    }


def _arms(cells: Sequence[tuple[str, Outcome, Entry]]) -> list[Arm]:
    """The distinct arms of ``cells``. Where two recorded the same clean twin, the later counts."""
    arms: dict[Scenario, Arm] = {}
    for name, outcome, entry in sorted(cells, key=lambda cell: cell[2].source.date):
        scenario, now = outcome.cell.scenario, measured(outcome)
        for arm, metric in ((scenario.clean_twin(), "clean"), (scenario, "poisoned")):
            if metric not in now:
                continue
            known = arms.get(arm)
            label = f"the clean twin of {name}" if arm != scenario else name
            if known is not None and arm != scenario:
                label = known.name
            arms[arm] = Arm(
                label,
                arm.strategy,
                {**(known.before if known else {}), **entry.values[metric]},
                {**(known.now if known else {}), **now[metric]},
            )
    return list(arms.values())


def _scenario(entry: Entry) -> Scenario | None:
    """The recorded scenario; None where this version has no such fields or names."""
    try:
        return Scenario.from_dict(entry.scenario)
    except (ScenarioError, TypeError):
        return None


def _redefined(entry: Entry, now: Scenario) -> list[str]:
    """Fields in which the scenario differs from the recorded one; new fields at their defaults."""
    if _scenario(entry) == now:
        return []
    before, after = entry.scenario, now.to_dict()
    names = [*after, *(name for name in before if name not in after)]
    return [
        f"{name}: {before.get(name, '-')} -> {after.get(name, '-')}"
        for name in names
        if before.get(name) != after.get(name)
    ]
