"""The bounds that `benchmark.gates` prints in full, in a small size: the product's own gates."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from benchmark import gates, noise
from benchmark.gate_simulation import (
    DIVERGING,
    Arms,
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
)
from fedcore.harness.statistics.prior import ALONE
from fedcore.harness.statistics.scales import FILE
from fedcore.harness.suite.strata import read_strata
from fedcore.harness.suite.thresholds import ThresholdError, Thresholds

ARMS = Arms.recorded()
SESSIONS = 400
#: 99.9 % of samples of so many sessions stay below, where 0.5 % of all have a false alarm.
MOST_ALARMS = 8 / SESSIONS
REAL = [(name, resampled(name)) for name in platforms()]
DRAWS = [*REAL, ("normal", normal), ("heavy-tailed", cauchy)]
ACCURACIES = ARMS.those(lambda *name: name[3] == "accuracy")
FEDNOVA = ARMS.those(lambda *name: name[3] == "accuracy" and name[1] == gates.STRATEGY)


@pytest.mark.parametrize("seeds", gates.SEEDS)
@pytest.mark.parametrize("draw", [d for _, d in DRAWS], ids=[n for n, _ in DRAWS])
def test_false_alarms_are_rarer_than_one_session_in_two_hundred(draw, seeds: int) -> None:  # type: ignore[no-untyped-def]
    assert rate(session(draw, ARMS, SESSIONS, seeds)) <= MOST_ALARMS


@pytest.mark.parametrize("seeds", gates.SEEDS)
def test_runs_that_diverge_now_and_then_are_no_alarm(seeds: int) -> None:
    share = (DIVERGING, DIVERGING)
    assert rate(session(REAL[0][1], ARMS, SESSIONS, seeds, diverging=share)) <= MOST_ALARMS


def test_runs_that_diverge_on_one_side_are_found() -> None:
    found = session(REAL[0][1], ARMS, 50, 3, diverging=(0.0, 3 * DIVERGING))
    assert rate(found) >= 0.8


@pytest.mark.parametrize("seeds", gates.SEEDS)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("draw", [d for _, d in REAL], ids=[n for n, _ in REAL])
def test_the_stated_shifts_are_found_either_way(draw, sign: int, seeds: int) -> None:  # type: ignore[no-untyped-def]
    assert power(draw, ARMS, 100, seeds, sign * gates.ALL_ARMS[seeds] * ACCURACIES) >= 0.8
    assert power(draw, ARMS, 100, seeds, sign * gates.ONE_STRATEGY[seeds] * FEDNOVA) >= 0.8


def test_what_is_needed_grows_as_fewer_arms_shift() -> None:
    one = np.eye(len(ARMS.names))[0]
    sizes = [needed(normal, ARMS, 60, 3, of) for of in (ACCURACIES, FEDNOVA, one)]
    assert sizes == sorted(sizes)
    assert sizes[0] < gates.ALL_ARMS[3]


@pytest.mark.parametrize("sd", gates.DEVIATIONS)
@pytest.mark.parametrize("seeds", [5, 10])
def test_intervals_cover_from_0_4_to_17_points(sd: float, seeds: int) -> None:
    priors = Thresholds.read(gates.FOLDER / "thresholds.toml").priors
    prior = priors.of("iid", "drop", 5.0)
    assert seeds >= ALONE
    assert coverage(prior, [sd] * 2000, seeds, "normal") == pytest.approx(0.9, abs=0.02)


def test_three_seeds_cover_in_the_mean_over_each_stratum() -> None:
    priors = Thresholds.read(gates.FOLDER / "thresholds.toml").priors
    assert len(priors.strata) >= 6
    for stratum, trend in priors.strata.items():
        mean = (trend.low + trend.high) / 2
        found = coverage(trend.at(mean), deviations(trend, mean, 1500), 3, "normal")
        assert found == pytest.approx(0.91, abs=0.03), stratum


def test_both_files_are_what_the_rules_make_of_the_recorded_values(tmp_path: Path) -> None:
    made = tmp_path / "noise.toml"
    made.write_text(noise.noise_text(noise.priors(noise.recorded(noise.sources())), []))
    assert read_strata(made, ThresholdError) == read_strata(noise.NOISE, ThresholdError)
    text = noise.platforms_text(noise.scales(noise.replicates(noise.difference_files())), [])
    made, kept = tomllib.loads(text), tomllib.loads(FILE.read_text(encoding="utf-8"))
    assert made["scale"] == kept["scale"]
    assert made["measured"] == kept["measured"]
    assert kept["made"]["commit"]


def test_few_replicates_widen_a_scale() -> None:
    assert noise.margin(1000) == noise.MARGIN
    assert noise.margin(8) == pytest.approx(np.exp(1.2816 / 2))


def test_tables_have_a_row_for_every_noise() -> None:
    rows = list(gates.false_alarms(ARMS, 100))
    assert {row["noise"] for row in rows} == set(gates.noises())
    assert {row["seeds"] for row in rows} == {"3", "5"}
    assert gates.percent(0.0, 100) == "0.00 +- 1.00 %"
