"""Baselines: are the cells of a suite what they were when they were recorded?

The unit of comparison is an arm: a scenario over its seeds. A clean twin that several cells share
is one arm. On the machine class of the baseline an arm must repeat every bit; on another one it
must not have shifted significantly, in either direction (`statistics.portable`). What cannot be
compared is listed and decided by a rule: see `Comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedcore.errors import ScenarioError
from fedcore.harness.baselines.coverage import Coverage
from fedcore.harness.baselines.file import Baseline, BaselineCell
from fedcore.harness.exact.changes import Change, Traces, arms_of, changes
from fedcore.harness.statistics import portable
from fedcore.harness.statistics.portable import FEWEST_SEEDS, PairedArm, compare_sessions
from fedcore.harness.statistics.scales import platform_scales, stratum
from fedcore.scenario import Scenario

if TYPE_CHECKING:
    from fedcore.harness.suite.outcome import Outcome


@dataclass(frozen=True)
class Arm:
    """Tail accuracies of one scenario, in percent by seed: recorded and now.

    Or attack success rates, where ``metric`` is "asr". ``stratum`` is that of `portable`; on the
    seeds in ``diverged`` the run has left the finite numbers, recorded and now.
    """

    name: str
    strategy: str
    before: Mapping[int, float]
    now: Mapping[int, float]
    metric: str = "accuracy"
    stratum: str = ""
    diverged: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())

    @property
    def differences(self) -> dict[int, float]:
        """Now minus recorded, in percentage points, for the seeds in common."""
        return {s: self.now[s] - self.before[s] for s in sorted(self.now) if s in self.before}

    @property
    def changed(self) -> bool:
        """Whether any seed differs, in any bit."""
        return any(self.differences.values())

    @property
    def paired(self) -> PairedArm:
        """As the gate for other machine classes takes it."""
        label = self.name if self.metric == "accuracy" else f"ASR of {self.name}"
        return PairedArm(
            label, self.strategy, self.stratum, self.differences, *self.diverged, self.metric
        )


@dataclass
class Comparison:
    """What became of each cell, by id, and what the runs and the tests over ``arms`` say.

    ``exact``: this is the machine class that the baseline was ``recorded_on``. ``unchanged`` and
    ``changed`` are judged: where ``exact``, by all bits, and each of the ``changes`` fails; else by
    tail values, and only the shifts that ``tests`` find fail, for the worse or the better. They
    are over tail accuracy and over the attack success rate of targeted cells. ``new`` cells and
    those that were not ``selected`` are listed. ``short`` cells share too few seeds and are not
    judged;
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
    tests: portable.Comparison | None = None

    @property
    def shifted(self) -> bool:
        """Whether a test finds a shift, in either direction."""
        return self.tests is not None and bool(self.tests.findings)

    @property
    def failed(self) -> bool:
        """Whether the comparison as a whole fails."""
        moved = self.exact and bool(self.changes)
        return moved or self.shifted or bool(self.redefined) or (self.complete and bool(self.gone))

    @property
    def judged(self) -> bool:
        """Whether anything could be compared, or fails."""
        return bool(self.unchanged or self.changed) or self.failed


def against(
    baseline: Baseline,
    outcomes: Mapping[str, Outcome],
    traces: Traces,
    coverage: Coverage,
    here: str | None,
    scales: Mapping[str, float] | None = None,
) -> Comparison:
    """``outcomes`` of the selected cells, by id, and their ``traces``, against ``baseline``.

    ``here`` is the class of this machine; None where runs do not repeat their bits. ``scales`` are
    those of differences between machine classes, in percentage points by stratum; None takes the
    recorded ones.
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
    both = baseline.traces, traces
    accuracies = _arms(comparable, ("clean", "poisoned"), both)
    result.arms = [*accuracies, *_arms(comparable, ("asr",), both)]
    if result.arms:
        scales = platform_scales() if scales is None else scales
        result.tests = compare_sessions([arm.paired for arm in result.arms], scales)
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


def _arms(
    cells: Mapping[str, tuple[Outcome, BaselineCell]],
    metrics: Sequence[str],
    traces: tuple[Traces, Traces],
) -> list[Arm]:
    """The distinct arms of ``cells`` that have ``metrics``: their values, recorded and now.

    ``traces``, recorded and now, say which runs have diverged.
    """
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
            of = metric if metric == "asr" else "accuracy"
            arms[arm] = Arm(
                label,
                arm.strategy,
                {**(known.before if known else {}), **entry.values.get(metric, {})},
                {**(known.now if known else {}), **now[metric]},
                of,
                stratum(arm, of),
                (_diverged(traces[0], arm), _diverged(traces[1], arm)),
            )
    return list(arms.values())


def _diverged(traces: Traces, arm: Scenario) -> frozenset[int]:
    """The seeds on which ``arm`` has left the finite numbers."""
    found = traces.get(arm.hash, {})
    return frozenset(seed for seed, trace in found.items() if trace.diverged is not None)


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
