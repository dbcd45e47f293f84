"""Baselines: are the cells of a suite what they were when they were recorded?

The unit of comparison is an arm: a scenario over its seeds. A clean twin that several cells share
is one arm. On the machine class of the baseline an arm must repeat every bit; on another one it
must not be significantly worse. What cannot be compared is listed and decided by a rule: see
`Comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fedcore.errors import ScenarioError
from fedcore.harness.baselines.coverage import Coverage
from fedcore.harness.baselines.file import Baseline, BaselineCell
from fedcore.harness.exact.changes import Change, Traces, arms_of, changes
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.statistics.noninferiority import FEWEST_SEEDS, Shifts, compare
from fedcore.scenario import Scenario

if TYPE_CHECKING:
    from fedcore.harness.suite.outcome import Outcome

#: Spread of a targeted cell's attack success rate on one seed between two machines, in percentage
#: points, worth as much as five seeds. Undefended FedAvg of profile quick, an AVX-512 processor
#: against AVX2 without kernels: +2.7, -0.7 and -1.7 on three seeds (81.7, 65.7 and 16.3 %).
ASR_NOISE = Noise(sd=4.0, df=4.0)
#: Rises of the attack success rate of less, in percentage points, never fail.
ASR_EFFECT = 3.0


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
    """What became of each cell, by id, and what the runs and the tests over ``arms`` say.

    ``exact``: this is the machine class that the baseline was ``recorded_on``. ``unchanged`` and
    ``changed`` are judged: where ``exact``, by all bits, and each of the ``changes`` fails; else by
    tail values, and only what the tests find worse fails. ``tests`` are over tail accuracy,
    ``asr_tests`` over the attack success rate of targeted cells. ``new`` cells and those that were
    not ``selected`` are listed. ``short`` cells share too few seeds and are not judged;
    ``unmeasured`` ones have no values now, which fails their own tests. ``redefined`` cells have
    another scenario under their name, ``gone`` ones are no longer in the suite (with the name of
    a new cell of the same scenario): both fail, the latter only where all cells are selected.
    """

    complete: bool
    exact: bool
    recorded_on: str
    unchanged: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unselected: list[str] = field(default_factory=list)
    short: dict[str, int] = field(default_factory=dict)
    unmeasured: list[str] = field(default_factory=list)
    redefined: dict[str, list[str]] = field(default_factory=dict)
    gone: dict[str, str | None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    tests: Shifts | None = None
    asr_arms: list[Arm] = field(default_factory=list)
    asr_tests: Shifts | None = None

    @property
    def lost(self) -> bool:
        """Whether a test finds a loss of accuracy, or a rise of the attack success rate."""
        return bool(
            (self.tests is not None and self.tests.worse.any())
            or (self.asr_tests is not None and self.asr_tests.worse_than(ASR_EFFECT).any())
        )

    @property
    def failed(self) -> bool:
        """Whether the comparison as a whole fails."""
        moved = self.exact and bool(self.changes)
        return moved or self.lost or bool(self.redefined) or (self.complete and bool(self.gone))

    @property
    def judged(self) -> bool:
        """Whether anything could be compared, or fails."""
        return bool(self.unchanged or self.changed) or self.failed


def against(
    baseline: Baseline,
    outcomes: Mapping[str, Outcome],
    traces: Traces,
    coverage: Coverage,
    noise: Noise,
    here: str | None,
) -> Comparison:
    """``outcomes`` of the selected cells, by id, and their ``traces``, against ``baseline``.

    ``here`` is the class of this machine; None where runs do not repeat their bits.
    """
    exact = here == baseline.machine_class
    result = Comparison(coverage.complete, exact, baseline.machine_class)
    entries = baseline.entries
    by_scenario = {o.cell.scenario: n for n, o in outcomes.items() if n not in entries}
    for name, entry in entries.items():
        if coverage.gone(name, entry.test):
            scenario = _scenario(entry)
            result.gone[name] = None if scenario is None else by_scenario.get(scenario)
        elif name not in coverage.selected:
            result.unselected.append(name)
    comparable: dict[str, tuple[Outcome, BaselineCell]] = {}
    for name, outcome in outcomes.items():
        if name not in entries:
            result.new.append(name)
        elif differences := _redefined(entries[name], outcome.cell.scenario):
            result.redefined[name] = differences
        elif not sound(outcome):
            result.unmeasured.append(name)
        else:
            comparable[name] = outcome, entries[name]
    scenarios = {name: outcome.cell.scenario for name, (outcome, _) in comparable.items()}
    changed = changes(scenarios, baseline.traces, traces) if exact else {}
    for name, (outcome, entry) in list(comparable.items()):
        now = measured(outcome)
        pairs = [Arm(name, "", entry.values.get(metric, {}), now[metric]) for metric in now]
        common = min(len(pair.differences) for pair in pairs)
        if common < (1 if exact else FEWEST_SEEDS):
            result.short[name] = common
            del comparable[name]
        elif any(pair.changed for pair in pairs) or any(
            arm.hash in changed for arm in arms_of(scenarios[name])
        ):
            result.changed.append(name)
        else:
            result.unchanged.append(name)
    counted = {arm.hash for name in comparable for arm in arms_of(scenarios[name])}
    result.changes = [c for arm, some in changed.items() if arm in counted for c in some]
    result.arms = _arms(comparable, ("clean", "poisoned"))
    result.asr_arms = _arms(comparable, ("asr",))
    result.tests = _tests(result.arms, noise)
    result.asr_tests = _tests(result.asr_arms, ASR_NOISE, sign=-1)
    return result


def sound(outcome: Outcome) -> bool:
    """Whether there are values, and no run, pair or audit that failed."""
    return bool(outcome.clean) and not outcome.errors


def measured(outcome: Outcome) -> dict[str, dict[int, float]]:
    """What a baseline records of ``outcome``, by metric and seed, in percent.

    Metrics without values are left out.
    """
    found = {"clean": outcome.clean, "poisoned": outcome.poisoned, "asr": outcome.asr}
    return {
        metric: dict(zip(outcome.seeds, values, strict=True))
        for metric, values in found.items()
        if values
    }


def _arms(cells: Mapping[str, tuple[Outcome, BaselineCell]], metrics: Sequence[str]) -> list[Arm]:
    """The distinct arms of ``cells`` that have ``metrics``: their values, recorded and now."""
    arms: dict[Scenario, Arm] = {}
    for name, (outcome, entry) in cells.items():
        scenario, now = outcome.cell.scenario, measured(outcome)
        for metric in metrics:
            if metric not in now:
                continue
            arm = scenario.clean_twin() if metric == "clean" else scenario
            known = arms.get(arm)
            label = name if arm == scenario else f"the clean twin of {name}"
            if known is not None and arm != scenario:
                label = known.name
            arms[arm] = Arm(
                label,
                arm.strategy,
                {**(known.before if known else {}), **entry.values.get(metric, {})},
                {**(known.now if known else {}), **now[metric]},
            )
    return list(arms.values())


def _tests(arms: Sequence[Arm], noise: Noise, sign: float = 1.0) -> Shifts | None:
    """The tests over ``arms``, None without any; ``sign`` -1 where higher values are worse."""
    if not arms:
        return None
    seeds = sorted({seed for arm in arms for seed in arm.differences})
    matrix = [[sign * arm.differences.get(s, np.nan) for s in seeds] for arm in arms]
    return compare(np.array(matrix), [arm.strategy for arm in arms], noise)


def _scenario(entry: BaselineCell) -> Scenario | None:
    """The recorded scenario; None where this version has no such fields or names."""
    try:
        return Scenario.from_dict(entry.scenario)
    except (ScenarioError, TypeError):
        return None


def _redefined(entry: BaselineCell, now: Scenario) -> list[str]:
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
