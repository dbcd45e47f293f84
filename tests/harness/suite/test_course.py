from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fedcore import Scenario, run
from fedcore.harness.statistics.convergence import Convergence
from fedcore.harness.suite.course import Exposure, course_of, exposure_of
from fedcore.records.store import Run

BASE = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=8, fraction_train=0.5, rounds=20,
    attack="signflip", malicious_fraction=0.25,
)  # fmt: skip


def counted(*counts: int) -> Any:
    return SimpleNamespace(audit=SimpleNamespace(malicious_per_round=counts))


def test_the_true_numbers_beside_the_declared_one_by_hand() -> None:
    found = exposure_of([counted(0, 1, 3), counted(2, 1, 2)], declared=1)
    assert found == Exposure(declared=1, least=0, mean=1.5, most=3, rounds=6, above=3)
    assert exposure_of([counted()], declared=1) is None


def test_the_course_is_that_of_the_runs() -> None:
    records = {
        Run(scenario, seed): run(scenario, seed)
        for scenario in (BASE, BASE.clean_twin())
        for seed in (0, 1)
    }
    course = course_of(BASE, 1, (0, 1), records)
    counts = [n for seed in (0, 1) for n in records[Run(BASE, seed)].audit.malicious_per_round]
    assert course.exposure.above == sum(n > 1 for n in counts) > 0
    assert course.exposure.rounds == 40
    assert course.clean.rise.seeds == course.attacked.rise.seeds == 2
    assert course.clean.state in Convergence
    clean = course_of(BASE.clean_twin(), 1, (0, 1), records)
    assert clean.clean == course.clean
    assert clean.attacked is clean.exposure is None


def test_the_slope_is_of_the_rounds_of_the_tail_accuracy() -> None:
    # of 20 rounds the last 6: a rise before them does not count, one within them does
    early = SimpleNamespace(rounds=range(1, 21), accuracy=[i / 20 for i in range(14)] + [0.9] * 6)
    late = SimpleNamespace(rounds=range(1, 21), accuracy=[0.1] * 14 + [i / 20 for i in range(6)])
    quiet = BASE.clean_twin()
    states = [
        course_of(quiet, 1, (0,), {Run(quiet, 0): record}).clean.state for record in (early, late)
    ]
    assert states == [Convergence.FLAT, Convergence.RISING]


def test_a_short_run_has_no_trend() -> None:
    quiet = BASE.clean_twin()
    short = SimpleNamespace(rounds=range(1, 16), accuracy=[0.5] * 15)  # a tail of 5 rounds
    assert course_of(quiet, 1, (0,), {Run(quiet, 0): short}).clean is None
