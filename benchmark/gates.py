"""False alarms, power and coverage, as tables: ``python -m benchmark.gates``.

    python -m benchmark.gates [--sessions N] > docs/results/gates.md

simulates N sessions for each figure (default 4000, some minutes) from recorded values, see
`benchmark.gate_simulation`, and prints the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tabulate import tabulate

from fedcore.engine.execution import Execution
from fedcore.harness.exact.machine_class import machine_class
from fedcore.harness.statistics.portable import ALL, ALPHA, ARM, DIVERGED, GROUP
from fedcore.harness.statistics.prior import Priors
from fedcore.harness.statistics.scales import platform_scales
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.records.provenance import fingerprint, git_state

from .gate_simulation import (
    DIVERGING,
    Arms,
    Draw,
    Values,
    cauchy,
    coverage,
    deviations,
    needed,
    normal,
    platforms,
    power,
    rate,
    resampled,
    session,
    strategies,
)
from .noise import FOLDER, recorded, sources

SEEDS = (3, 5)
#: Shifts in points that 80 % of sessions are to find, by seeds.
ALL_ARMS = {3: 1.5, 5: 1.0}
ONE_STRATEGY = {3: 2.7, 5: 1.7}
STRATEGY = "fednova"
#: True deviations between seeds whose coverage is simulated, in points.
DEVIATIONS = (0.4, 1.0, 2.0, 4.0, 8.0, 17.0)
COVERAGE_SEEDS = (3, 5, 10)
KINDS = ("normal", "heavy-tailed", "diverging")

Row = dict[str, str]


def noises() -> dict[str, tuple[Draw, float]]:
    """The noise of simulated sessions by name: how differences are drawn, and what diverges."""
    real = {f"recorded, {name}": (resampled(name), 0.0) for name in platforms()}
    drawn: dict[str, tuple[Draw, float]] = {"normal": (normal, 0.0), "heavy-tailed": (cauchy, 0.0)}
    diverging = {
        f"{name}, {DIVERGING:.0%} diverging": (draw, DIVERGING) for name, (draw, _) in real.items()
    }
    return {**real, **drawn, **diverging}


def false_alarms(arms: Arms, sessions: int) -> Iterator[Row]:
    """How often a session without any change has a finding, in all and by family."""
    for name, (draw, share) in noises().items():
        for seeds in SEEDS:
            found = session(draw, arms, sessions, seeds, diverging=(share, share))
            families = {f: rate(found, f, arms.families) for f in (ALL, GROUP, ARM, DIVERGED)}
            yield {
                "noise": name,
                "seeds": str(seeds),
                "false alarms": percent(rate(found), sessions),
                **{family: f"{100 * value:.2f} %" for family, value in families.items()},
            }


def powers(arms: Arms, sessions: int) -> Iterator[Row]:
    """How often the stated shifts are found, downwards and upwards."""
    everywhere = arms.those(lambda *name: name[3] == "accuracy")
    one = arms.those(lambda *name: name[3] == "accuracy" and name[1] == STRATEGY)
    for what, of, sizes in (
        ("all arms", everywhere, ALL_ARMS),
        (f"{STRATEGY}'s {int(one.sum())} arms", one, ONE_STRATEGY),
    ):
        for name, (draw, share) in noises().items():
            for seeds in SEEDS:
                down, up = (
                    power(draw, arms, sessions, seeds, sign * sizes[seeds] * of, share)
                    for sign in (-1, 1)
                )
                yield {
                    "shifted": what,
                    "noise": name,
                    "seeds": str(seeds),
                    "points": f"{sizes[seeds]:g}",
                    "worse is found": percent(down, sessions),
                    "better is found": percent(up, sessions),
                }


def shifts_needed(arms: Arms, sessions: int) -> Iterator[Row]:
    """The shift that 80 % of sessions find: of all arms, each strategy, one arm; by seeds."""
    subjects: dict[str, Values] = {"all arms": arms.those(lambda *name: name[3] == "accuracy")}
    for strategy, count in strategies(arms).items():
        own = arms.those(lambda *name, s=strategy: name[3] == "accuracy" and name[1] == s)  # type: ignore[misc]
        subjects[f"{strategy} ({count} arms)"] = own
    for stratum in ("iid", "dirichlet"):
        place = next(i for i, name in enumerate(arms.names) if name[2] == stratum)
        one = np.zeros(len(arms.names))
        one[place] = 1.0
        subjects[f"one arm, {stratum}"] = one
    for name, of in subjects.items():
        yield {"shifted": name} | {
            f"{seeds} seeds, {noise}": f"{needed(draw, arms, sessions, seeds, of):.2f}"
            for noise, (draw, share) in noises().items()
            if noise.startswith("recorded") and share == 0.0
            for seeds in SEEDS
        }


def within_strata(priors: Priors, cells: int) -> Iterator[Row]:
    """Coverage over cells whose deviations lie as the stratum says, at its recorded means."""
    for (partition, metric), values in sorted(recorded(sources()).items()):
        trend = priors.strata.get((partition, metric))
        if trend is None:
            continue
        means = [sum(some) / len(some) for some in values]
        share = -(-cells // len(means))
        row = {
            "stratum": f"{partition}, {metric}",
            "s0": f"{trend.at(float(np.median(means))).sd:.1f}",
            "d0": f"{trend.df:.1f}",
        }
        for kind in KINDS:
            for seeds in COVERAGE_SEEDS:
                each = [
                    coverage(trend.at(m), deviations(trend, m, share, i), seeds, kind, i)
                    for i, m in enumerate(means)
                ]
                row[f"{kind}, {seeds} seeds"] = f"{100 * float(np.mean(each)):.1f}"
        yield row


def by_deviation(priors: Priors, cells: int) -> Iterator[Row]:
    """Coverage at one true deviation, whatever the stratum says."""
    for (partition, metric), trend in priors.strata.items():
        prior = trend.at((trend.low + trend.high) / 2)
        for seeds in COVERAGE_SEEDS:
            yield {
                "stratum": f"{partition}, {metric}",
                "s0": f"{prior.sd:.1f}",
                "seeds": str(seeds),
            } | {
                f"{sd:g} points": f"{100 * coverage(prior, [sd] * cells, seeds, 'normal'):.1f}"
                for sd in DEVIATIONS
            }


def percent(share: float, of: int) -> str:
    """In percent, with the Monte Carlo error."""
    error = (max(share, 1 / of) * (1 - share) / of) ** 0.5
    return f"{100 * share:.2f} +- {100 * error:.2f} %"


def page(sessions: int) -> str:
    """All tables."""
    arms = Arms.recorded()
    priors = Thresholds.read(FOLDER / "thresholds.toml").priors
    commit, dirty = git_state()
    scales: Mapping[str, float] = platform_scales()
    used = ", ".join(f"{name} {scale:.3g}" for name, scale in scales.items())
    device = Execution().torch_device

    def table(rows: Iterator[Row]) -> str:
        return str(tabulate(list(rows), headers="keys", tablefmt="github", disable_numparse=True))

    return f"""# What the gates find and what the intervals cover

Made by `python -m benchmark.gates > docs/results/gates.md`; {sessions} simulated sessions or cells
for each figure. Change the rules in `fedcore/harness/statistics/`, not this page.

## The gate for other machine classes: false alarms

Sessions of the {len(arms.names)} recorded arms of mnist5k (profile quick, attack success rates
among them) in which nothing has changed but the machine. The gate spends {100 * ALPHA:g} %, scales
in points: {used}. "Recorded" draws from the differences between real platforms in
`benchmark/results/`; "normal" and "heavy-tailed" (Cauchy) have the gate's scales as median sizes;
of "diverging" ones {DIVERGING:.0%} of the runs diverge before and now, and count at chance.

{table(false_alarms(arms, sessions))}

## Power

{table(powers(arms, sessions))}

The shift in points that 80 % of sessions find ({max(sessions // 8, 100)} sessions for each step of
the search):

{table(shifts_needed(arms, max(sessions // 8, 100)))}

## Coverage of the 90 % intervals

Priors of `benchmark/noise.toml`; from 5 seeds on the sample counts alone. Over cells whose
deviations are spread as their stratum says, in percent ("heavy-tailed": t with 3 degrees of
freedom; "diverging": {DIVERGING:.0%} of the runs fall by 50 points, which no interval of 3 normal
values can know of):

{table(within_strata(priors, sessions))}

At one true deviation, normal, in percent. With 3 seeds a cell whose deviation is far below s0 is
covered more often than stated, and one far above it more seldom: the price of intervals that 3
seeds could not have alone.

{table(by_deviation(priors, sessions))}

Machine class: {machine_class(fingerprint(device))}.
Commit: {(commit or "unknown")[:9]}{" with changes" * bool(dirty)}."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description="false alarms, power and coverage")
    parser.add_argument("--sessions", type=int, default=4000, help="simulated for each figure")
    given = parser.parse_args(arguments)
    if given.sessions < 100:
        parser.error(f"--sessions must be >= 100, got {given.sessions}")
    print(page(given.sessions))


if __name__ == "__main__":
    main()
