"""How often the limits of the shipped suite cry wolf: simulated on its cells, levels and spreads.

The truth of every cell is what the shipped baseline recorded, and new seeds deviate from it as its
seeds deviate from each other, pooled over the cells of a partition. Each cell then takes its looks
as in a session: where it is inconclusive, further seeds up to its most, the error spent over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import stdtrit

from benchmark.test_robustness import cells
from fedcore.harness.baseline_file import Baseline
from fedcore.harness.gates import Verdict, confidence, estimate, judge
from fedcore.harness.options import Options
from fedcore.harness.thresholds import Threshold, Thresholds

FOLDER = Path(__file__).resolve().parents[2] / "benchmark"
THRESHOLDS = Thresholds.read(FOLDER / "thresholds.toml")
SUITES = 2000


class Gate(NamedTuple):
    """A limit, the truth it is put on, and the seed counts of the looks that its cell may take."""

    cell: str
    partition: str
    truth: float
    limit: Threshold
    looks: tuple[int, ...]
    residuals: tuple[float, ...]


def gates() -> Iterator[Gate]:
    """Of every cell of profile quick with a recorded value: its clean accuracy, or its drop."""
    # of several machine classes the first by name: any of them is a truth to deviate from
    files = sorted((FOLDER / "baselines" / "mnist5k-quick-cpu").glob("*.json"))
    if not files:
        pytest.skip("no baseline of mnist5k quick is recorded: pytest benchmark --update-baseline")
    recorded = Baseline.read(files[0]).entries
    for cell in cells(Options(profile="quick", device="cpu")):
        if cell.id not in recorded:
            continue
        values = recorded[cell.id].values
        found = np.array([values["clean"][seed] for seed in values["clean"]])
        metric = "clean"
        if "poisoned" in values:
            found = found - np.array([values["poisoned"][seed] for seed in values["clean"]])
            metric = "drop"
        limit = THRESHOLDS.of(metric, cell.scenario)
        if limit is not None:
            mean = float(found.mean())
            residuals = tuple((found - mean) * (len(found) / (len(found) - 1)) ** 0.5)
            yield Gate(cell.id, cell.scenario.partition, mean, limit, cell.looks(), residuals)


def failing(gate: Gate, truth: float, sd: float, rng: np.random.Generator) -> np.ndarray:
    """In which of `SUITES` sessions ``gate`` fails, [suites], where seeds deviate by ``sd``."""
    draws = truth + sd * rng.standard_normal((SUITES, max(gate.looks)))
    failed, open_ = np.zeros(SUITES, bool), np.ones(SUITES, bool)
    prior = THRESHOLDS.noise
    low, high = (-np.inf if gate.limit.min is None else gate.limit.min), gate.limit.max
    high = np.inf if high is None else high
    level = confidence(len(gate.looks))
    for n in gate.looks:
        taken = draws[:, :n]
        df = prior.df + n - 1
        variance = (prior.df * prior.sd**2 + (n - 1) * taken.var(axis=1, ddof=1)) / df
        reach = stdtrit(df, (1 + level) / 2) * np.sqrt(variance / n)
        beyond = (taken.mean(axis=1) + reach < low) | (taken.mean(axis=1) - reach > high)
        inside = (taken.mean(axis=1) - reach >= low) & (taken.mean(axis=1) + reach <= high)
        failed |= open_ & beyond
        open_ &= ~(beyond | inside)
    return failed


def spreads(found: list[Gate]) -> dict[str, float]:
    """The deviation between seeds by partition, pooled over its cells."""
    return {
        partition: float(
            np.sqrt(
                np.mean(
                    np.square([r for g in found if g.partition == partition for r in g.residuals])
                )
            )
        )
        for partition in {gate.partition for gate in found}
    }


def test_the_simulation_decides_as_the_gates_do() -> None:
    """What is computed for all sessions at once is `estimate` and `judge` at each look."""
    seen = set()
    for gate in list(gates())[::7]:
        low, high = gate.limit.min, gate.limit.max
        for truth in (gate.truth, low, high):
            if truth is None:
                continue
            rng = np.random.default_rng(20240304)
            draws = truth + 4.0 * rng.standard_normal((SUITES, max(gate.looks)))
            found = failing(gate, truth, 4.0, np.random.default_rng(20240304))
            level = confidence(len(gate.looks))
            for suite in range(40):
                verdict = Verdict.INCONCLUSIVE
                for n in gate.looks:
                    if verdict is Verdict.INCONCLUSIVE:
                        taken = estimate(draws[suite, :n].tolist(), THRESHOLDS.noise, level)
                        verdict = judge(taken, low, high)
                assert found[suite] == (verdict is Verdict.FAIL)
                seen.add(verdict)
    assert seen == {Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE}


def test_a_suite_cries_wolf_less_than_once_in_a_hundred_sessions() -> None:
    found, rng = list(gates()), np.random.default_rng(20240301)
    assert len(found) >= 40
    sd = spreads(found)
    alarms = np.array([failing(gate, gate.truth, sd[gate.partition], rng) for gate in found])
    rate = float(alarms.any(axis=0).mean())
    spread = ", ".join(f"{name} {value:.1f} pp" for name, value in sorted(sd.items()))
    print(f"false alarms of the limits: {100 * rate:.2f} % of suites of {len(found)} ({spread})")
    assert rate <= 0.01


def test_a_truth_at_the_limit_fails_as_often_as_the_looks_may_spend() -> None:
    """The least favourable null: what the error spending promises, 5 % over all looks together."""
    rng = np.random.default_rng(20240302)
    for gate in list(gates())[:8]:
        for limit in (gate.limit.min, gate.limit.max):
            if limit is not None:
                rate = float(failing(gate, limit, THRESHOLDS.noise.sd, rng).mean())
                assert rate <= 0.05 + 3 * (0.05 * 0.95 / SUITES) ** 0.5, gate.cell


def test_an_attack_that_is_off_is_found() -> None:
    """Label flips that flip nothing cost nothing: the strongest cells' limits go red."""
    found, rng = list(gates()), np.random.default_rng(20240303)
    sd = spreads(found)
    strong = [
        g for g in found if "labelflip-mal50pct-poison100pct" in g.cell and (g.limit.min or 0) > 0
    ]
    assert len(strong) >= 4
    off = np.array([failing(gate, 0.0, sd[gate.partition], rng) for gate in strong])
    rate = float(off.any(axis=0).mean())
    print(f"an attack that is off: {100 * rate:.1f} % of suites fail ({len(strong)} cells)")
    assert rate >= 0.8
