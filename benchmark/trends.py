"""Known kills and saves of the literature, as pairs of arms whose difference has a known side.

    python -m benchmark.trends > docs/results/trends.md

writes what `test_trends` asserts as a page, from stored runs where there are any. The federation is
that of Karimireddy et al. 2022: 25 clients that all take part, 5 of them malicious, their labels
skewed; the data are mnist5k and the network is the MLP, so that a run takes seconds. The directions
are to be reproduced, not the digits.

A difference is taken within each seed, whose arms share weights, partition and cohorts, and has
Student's t interval at 95 %, which knows of no deviation beforehand. Its lower end has to be above
the trend's limit. Where an attack or a repair does not work as published, the trend says where it
does, and what does not stands in `REPORTED`, measured and not asserted. Two were traced:

- ALIE. After an epoch of local work on Dirichlet 0.1 the median's own step is at cosine 0.4 of the
  benign mean, as most coordinates of most clients do not speak of a class at all. A row at mu -
  0.25 sigma, the paper's strength for 5 of 25, is nearer to the mean than the median is, and draws
  the step to cosine 0.5: the attack helps. With z = 1.5 the cosine falls to 0.2 and the length
  stays that of the mean, and the median still gains. After one step of 32 images sigma is 3 to 6
  times the mean; z = 1.5 then turns the first rounds' step from cosine 0.4 to 0.3 at 2.4 times the
  mean's length, which is what the network does not recover from.
- Bucketing. Five attackers reach 5 of 13 buckets of two, so that the median behind it stands in
  front of 38 % of rows that are spoilt: under ALIE that undoes what likeness brings.
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

SEEDS = 5
CONFIDENCE = 0.95
#: Student's t from the sample alone: no degrees of freedom are known beforehand.
NO_PRIOR = Noise(1.0, 0.0)
#: Percentage points that the lower end of an interval has to be above: of a repair 0, as only its
#: direction is known. Kills take more, so that they are none by a hair.
LEAST = 0.0
KILL = 10.0

#: All clients take part. Labels are skewed as far as Dirichlet 0.1 goes.
SKEWED = Scenario(
    dataset="mnist5k",
    model="mlp",
    num_clients=25,
    fraction_train=1.0,
    rounds=30,
    local_epochs=1,
    optimizer="sgd",
    lr=0.1,
    partition="dirichlet",
    alpha=0.1,
    min_partition_size=2,
)
FIVE: dict[str, Any] = {"malicious_fraction": 0.2}
NNM: dict[str, Any] = {"preaggregation": "nnm"}
BUCKETS: dict[str, Any] = {"preaggregation": "bucketing(size=2)"}

#: Median, in front of which the update attacks stand.
MEDIAN = SKEWED.but(strategy="median")
IPM: dict[str, Any] = {"attack": "ipm(eps=1.5)", **FIVE}
#: One step of 32 images a round, as in the settings of the two papers: see `TRENDS`.
STEP = MEDIAN.but(rounds=100, eval_every=4, local_steps=1)
ALIE: dict[str, Any] = {"attack": "alie(z=1.5)", **FIVE}
PAPER_ALIE: dict[str, Any] = {"attack": "alie", **FIVE}

#: IID, where all clients count alike. The replacement comes in round 1, from random weights: 20
#: epochs make a model that knows the task, which the paper's attacker has from earlier rounds.
EVEN = SKEWED.but(partition="iid", alpha=None, min_partition_size=None)
DOOR = "backdoor(poison_ratio=0.5)"
ONE: dict[str, Any] = {"malicious_fraction": 0.04}
LEARNED = EVEN.but(local_epochs=20, rounds=1)
REPLACED = LEARNED.but(attack=f"scaled(of={DOOR})", **ONE)
DBA = EVEN.but(local_epochs=5, attack="dba(poison_ratio=0.5)", **FIVE)


#: What a written backdoor says of its defaults.
_TRIGGER = re.compile(r", target=0, trigger=square\([^)]*\)")


@dataclass(frozen=True)
class Trend:
    """``more`` has at least ``least`` points more of ``metric`` than ``less``, in the mean.

    ``metric`` is "accuracy" or "asr", of the tail. ``says`` is what was published, ``source`` where
    and in which setting, ``note`` what is different here.
    """

    name: str
    says: str
    source: str
    more: Scenario
    less: Scenario
    metric: str = "accuracy"
    least: float | None = LEAST
    note: str = ""

    def runs(self, seeds: int) -> list[Run]:
        """Both arms, on seeds 0 to ``seeds`` - 1."""
        return [Run(arm, seed) for seed in range(seeds) for arm in (self.more, self.less)]


KARIMIREDDY = "Karimireddy et al. 2022"
KRUM = SKEWED.but(strategy="krum")
LASTING = REPLACED.but(rounds=6)
CLIPPED: dict[str, Any] = {"strategy": "normclipping(norm_bound=0.5)"}

#: Asserted. Why the settings are what they are is in ``note``.
TRENDS = (
    Trend(
        "krum-without-attacker",
        "Krum fails on skewed data with no attacker",
        f"{KARIMIREDDY}, table 1",
        SKEWED,
        KRUM,
        least=KILL,
    ),
    Trend(
        "krum-repaired-by-nnm",
        "NNM repairs Krum on skewed data",
        "Allouah et al. 2023",
        KRUM.but(**NNM),
        KRUM,
    ),
    Trend(
        "krum-repaired-by-bucketing",
        "bucketing repairs Krum on skewed data",
        KARIMIREDDY,
        KRUM.but(**BUCKETS, rounds=60),
        KRUM.but(rounds=60),
        note="60 rounds: a bucket of two clients has few classes still, and learns slowly.",
    ),
    Trend(
        "ipm-kills-median",
        "IPM breaks the median",
        "Xie et al. 2020: eps >= 1",
        MEDIAN,
        MEDIAN.but(**IPM),
        least=KILL,
    ),
    Trend(
        "ipm-repaired-by-nnm",
        "NNM repairs the median under IPM",
        "Allouah et al. 2023",
        MEDIAN.but(**IPM, **NNM),
        MEDIAN.but(**IPM),
    ),
    Trend(
        "ipm-repaired-by-bucketing",
        "bucketing repairs the median under IPM",
        KARIMIREDDY,
        MEDIAN.but(**IPM, **BUCKETS),
        MEDIAN.but(**IPM),
    ),
    Trend(
        "alie-kills-median",
        "ALIE breaks the median",
        "Baruch et al. 2019; z = 1.5 of their script",
        STEP,
        STEP.but(**ALIE),
        least=KILL,
        note="One step a round, and z = 1.5: the paper's formula gives z = 0.25 for 5 of 25.",
    ),
    Trend(
        "alie-repaired-by-nnm",
        "NNM repairs the median under ALIE",
        "Allouah et al. 2023",
        STEP.but(**ALIE, **NNM),
        STEP.but(**ALIE),
    ),
    Trend(
        "replacement-in-one-round",
        "one scaled update puts its backdoor into the plain average",
        "Bagdasaryan et al. 2020: gamma = the cohort",
        REPLACED,
        REPLACED.but(attack=DOOR),
        "asr",
        least=KILL,
        note="Against the same backdoor, not scaled. From random weights, so 20 epochs a round.",
    ),
    Trend(
        "replacement-stopped-by-clipping",
        "norm clipping stops model replacement",
        "Sun et al. 2019",
        LASTING,
        LASTING.but(**CLIPPED),
        "asr",
        least=KILL,
        note="Replacement in each of 6 rounds: in one, clipping has learned nothing either.",
    ),
    Trend(
        "dba-reaches-its-asr",
        "DBA has an ASR where plain averaging without it has none",
        "Xie et al. 2020 (DBA)",
        DBA,
        DBA.clean_twin(),
        "asr",
        least=KILL,
        note="Against the clean twin, whose images carry the whole trigger, too.",
    ),
    Trend(
        "fltrust-is-not-fedavg",
        "FLTrust keeps out what plain averaging takes",
        "Cao et al. 2021",
        LASTING,
        LASTING.but(strategy="fltrust"),
        "asr",
        least=KILL,
    ),
    Trend(
        "flame-is-not-fedavg",
        "FLAME keeps out what plain averaging takes",
        "Nguyen et al. 2022",
        LASTING,
        LASTING.but(strategy="flame"),
        "asr",
        least=KILL,
    ),
)

#: Measured for the page and not asserted: where what was published does not show.
REPORTED = (
    Trend(
        "alie-at-the-papers-z",
        "ALIE at the paper's z = 0.25 breaks the median",
        "Baruch et al. 2019",
        STEP,
        STEP.but(**PAPER_ALIE),
        least=None,
    ),
    Trend(
        "alie-after-an-epoch",
        "ALIE at z = 1.5 breaks the median, whose clients train for an epoch a round",
        "Baruch et al. 2019",
        MEDIAN,
        MEDIAN.but(**ALIE),
        least=None,
    ),
    Trend(
        "alie-repaired-by-bucketing",
        "bucketing repairs the median under ALIE",
        KARIMIREDDY,
        STEP.but(**ALIE, **BUCKETS),
        STEP.but(**ALIE),
        least=None,
    ),
    Trend(
        "krum-repaired-by-bucketing-sooner",
        "bucketing repairs Krum on skewed data within 30 rounds",
        KARIMIREDDY,
        KRUM.but(**BUCKETS),
        KRUM,
        least=None,
    ),
)


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
            "Made by `python -m benchmark.trends > docs/results/trends.md`: change the trends in",
            "`benchmark/trends.py`, not this page.",
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
