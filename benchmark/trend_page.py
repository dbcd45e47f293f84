"""What `trends` come to: differences of paired arms with their intervals, and the page of them.

    python -m benchmark.trend_page > docs/results/trends.md

takes stored runs where there are any, as `test_trends` does. A difference is taken within each
seed, whose arms share weights, partition and cohorts, and has Student's t interval at 95 %, which
knows of no deviation beforehand. Its lower end has to be above the trend's limit.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fedcore import Scenario
from fedcore.cores import cores
from fedcore.harness.exact.machine_class import machine_class
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.runs.job import Failure
from fedcore.harness.statistics.estimates import Estimate, Noise, estimate
from fedcore.harness.suite.lab import Lab
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.pairs import strange
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.records.record import Record
from fedcore.records.store import Run

from .trends import REPORTED, SEEDS, TRENDS, Trend

CONFIDENCE = 0.95
#: Student's t from the sample alone: no degrees of freedom are known beforehand.
NO_PRIOR = Noise(1.0, 0.0)
#: What a written backdoor says of its defaults.
_TRIGGER = re.compile(r", target=0, trigger=square\([^)]*\)")


class TrendError(Exception):
    """A run of a trend failed, or is not what it was to be, so that nothing can be compared."""


@dataclass(frozen=True)
class Measured:
    """What both arms of ``trend`` reached, in percent by seed, and the difference in points."""

    trend: Trend
    more: tuple[float, ...]
    less: tuple[float, ...]
    difference: Estimate
    records: tuple[Record, ...]

    @property
    def shown(self) -> bool:
        """Whether the interval's lower end is above the limit of the trend."""
        return self.trend.least is None or self.difference.low > self.trend.least

    @property
    def interval(self) -> str:
        """As printed: ``+21.3 [14.0, 28.6]``."""
        found = self.difference
        return f"{found.mean:+.1f} [{found.low:.1f}, {found.high:.1f}]"

    def explained(self) -> str:
        """The difference, its interval, the limit and the values of both arms."""
        trend = self.trend
        limit = "" if trend.least is None else f", to lie above {trend.least:g}"
        return (
            f"{trend.name}: {trend.says}: {trend.metric} differs by {self.interval} points "
            f"({CONFIDENCE:.0%} interval, {self.difference.seeds} seeds{limit})\n"
            f"  {setting(trend.more)}: {_listed(self.more)}\n"
            f"  {setting(trend.less)}: {_listed(self.less)}"
        )


def measure(trend: Trend, lab: Lab, seeds: int = SEEDS) -> Measured:
    """Run or find both arms of ``trend`` on ``seeds`` paired seeds, and compare them.

    TrendError where a run failed, its attack is not the one of its scenario, or two are no pair.
    """
    if seeds < 2:
        raise TrendError(f"a trend needs 2 seeds for an interval, got {seeds}: raise --seeds")
    records = {run: _record(run, lab) for run in trend.runs(seeds)}
    more, less = ([records[Run(arm, s)] for s in range(seeds)] for arm in (trend.more, trend.less))
    for one, other in zip(more, less, strict=True):
        _require_pair(one, other)
    high, low = (tuple(_value(r, trend.metric) for r in arm) for arm in (more, less))
    gaps = [a - b for a, b in zip(high, low, strict=True)]
    found = estimate(gaps, NO_PRIOR, CONFIDENCE)
    return Measured(trend, high, low, found, (*more, *less))


def _record(run: Run, lab: Lab) -> Record:
    record = lab.result(run)
    if isinstance(record, Failure):
        raise TrendError(f"{run.id} failed: {record.message}")
    if problems := [*strange(run, record), *audit_problems(record)]:
        raise TrendError("; ".join(problems))
    return record


def _require_pair(one: Record, other: Record) -> None:
    """Same partition, same cohorts and, where both are attacked, same malicious clients."""
    same = [one.audit.samples == other.audit.samples, one.audit.cohorts == other.audit.cohorts]
    if one.audit.malicious and other.audit.malicious:
        same.append(one.audit.malicious == other.audit.malicious)
    if not all(same):
        names = f"{one.scenario.id} and {other.scenario.id}"
        raise TrendError(f"{names} share no clients on seed {one.seed}: they are no pair")


def _value(record: Record, metric: str) -> float:
    value = record.tail_asr if metric == "asr" else record.tail_accuracy
    if value is None:
        raise TrendError(f"{record.scenario.id} has no {metric}: its attack has no success")
    return 100 * value


def setting(scenario: Scenario) -> str:
    """What an arm is, in short: partition, local work, rule with its chain, attack."""
    parts = [scenario.partition + ("" if scenario.alpha is None else f" {scenario.alpha:g}")]
    steps = scenario.local_steps
    parts.append(_count(scenario.local_epochs, "epoch") if steps is None else _count(steps, "step"))
    parts.append(_count(scenario.rounds, "round"))
    chain = "" if scenario.preaggregation is None else f"{scenario.preaggregation} + "
    parts.append(f"{chain}{scenario.parts.strategy}")
    parts.append(_TRIGGER.sub("", str(scenario.parts.attack or "no attack")))
    return ", ".join(parts)


def _count(number: Any, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)


def row(found: Measured) -> dict[str, str]:
    """A line of the page."""
    trend = found.trend
    arms = ((trend.more, found.more), (trend.less, found.less))
    more, less = (f"{setting(arm)}: {math.fsum(v) / len(v):.1f}" for arm, v in arms)
    return {
        "trend": f"{trend.says} ({trend.source})",
        "metric": trend.metric,
        "one arm: mean": more,
        "other arm: mean": less,
        "difference": found.interval,
        "limit": "" if trend.least is None else f"> {trend.least:g}",
        "seeds": str(found.difference.seeds),
    }


def page(asserted: Sequence[Measured], reported: Sequence[Measured], machine: str) -> str:
    """The page of results; TrendError where it would hold a trend that is not shown."""
    if missed := [found.explained() for found in asserted if not found.shown]:
        raise TrendError("not shown: " + "; ".join(missed))
    commits = {
        f"{(r.provenance.commit or 'unknown')[:9]}{' with changes' * bool(r.provenance.dirty)}"
        for found in (*asserted, *reported)
        for r in found.records
    }
    notes = [f"- {f.trend.name}: {f.trend.note}" for f in asserted if f.trend.note]
    return "\n".join(
        [
            "# Known kills and saves",
            "",
            "Made by `python -m benchmark.trend_page > docs/results/trends.md`: change the trends",
            "in `benchmark/trends.py`, not this page.",
            "",
            "mnist5k, MLP, 25 clients that all take part. Accuracy and ASR in percent, means over",
            "the last 30 % of the evaluated rounds; differences in points, paired by seed, with",
            f"Student's t interval at {CONFIDENCE:.0%}. The lower end has to be above the limit.",
            "",
            tabulate([row(f) for f in asserted], headers="keys", tablefmt="github"),
            "",
            *notes,
            "",
            "## Measured, not asserted: what does not show as published",
            "",
            tabulate([row(f) for f in reported], headers="keys", tablefmt="github"),
            "",
            "Why, from traced runs, is said at the top of `benchmark/trends.py`.",
            "",
            f"Machine class: {machine}. Commit: {', '.join(sorted(commits))}.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page to standard output."""
    parser = argparse.ArgumentParser(description="the page of known kills and saves")
    parser.add_argument("--results", type=Path, default=Path(".fedcore"), help="stored runs")
    parser.add_argument("--jobs", type=int, default=cores(), help="worker processes")
    given = parser.parse_args(arguments)
    lab = Lab(Options(jobs=given.jobs, results=given.results), Thresholds.none())
    try:
        lab.begin(run for trend in (*TRENDS, *REPORTED) for run in trend.runs(SEEDS))
        asserted, reported = ([measure(t, lab) for t in some] for some in (TRENDS, REPORTED))
        print(page(asserted, reported, machine_class(lab.fingerprint)))
    finally:
        lab.close()


if __name__ == "__main__":
    main()
