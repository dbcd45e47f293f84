from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmark.suite import cells
from fedcore import Scenario, run
from fedcore.data.loading import load
from fedcore.harness.proofs import draws
from fedcore.harness.reports.metrics import beyond, metrics_row
from fedcore.harness.reports.metrics_table import beyond_text
from fedcore.harness.reports.rows import row
from fedcore.harness.statistics.estimates import Noise, estimate
from fedcore.harness.statistics.ratio import ratio_estimate
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.course import assumption_of, expected_above
from fedcore.harness.suite.metrics import metrics_of
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.outcome import Outcome, judge_cell
from fedcore.harness.suite.skill import tail_balanced, tail_recalls, tail_worst
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.records.store import Run

BASE = Scenario(
    dataset="synthetic:300", model="mlp", num_clients=10, fraction_train=0.6, rounds=3,
    partition="dirichlet", alpha=0.3, min_partition_size=2, strategy="trimmedmean",
    attack="labelflip", malicious_fraction=0.3, poison_ratio=1.0,
)  # fmt: skip
SEEDS = tuple(range(6))
LIMITS = Thresholds((), Noise(2.2, 4))


@cache
def results(arm: Scenario, seeds: tuple[int, ...] = SEEDS) -> dict[Run, Any]:
    return {Run(s, seed): run(s, seed) for s in (arm, arm.clean_twin()) for seed in seeds}


def judged(arm: Scenario, seeds: tuple[int, ...] = SEEDS) -> Outcome:
    cell = Cell(arm.id, arm, len(seeds))
    return judge_cell(cell, seeds, results(arm, seeds), LIMITS)


def test_recalls_of_the_tail_by_hand() -> None:
    rows = ((0.0, None, 0.0), (0.2, None, 0.9), (0.4, None, 0.5), (0.8, None, 0.1))
    record = SimpleNamespace(recall=rows)  # of 4 rounds the last two
    assert tail_recalls(record) == (pytest.approx(0.6), pytest.approx(0.3))
    assert tail_balanced(record) == pytest.approx(0.45)
    assert tail_worst(record) == pytest.approx(0.3), "not the mean of 0.4 and 0.1"
    assert tail_worst(SimpleNamespace(recall=((None, None),))) is None


def test_the_metrics_of_real_runs() -> None:
    outcome = judged(BASE)
    metrics, records = outcome.metrics, results(BASE)
    own = [records[Run(BASE, seed)] for seed in SEEDS]
    assert metrics.balanced == tuple(100 * tail_balanced(record) for record in own)
    assert metrics.worst_recall == tuple(100 * tail_worst(record) for record in own)
    assert all(w <= b for w, b in zip(metrics.worst_recall, metrics.balanced, strict=True))
    assert metrics.exposure.nominal == 30
    counts = [n for record in own for n in record.audit.malicious_per_round]
    assert metrics.assumption.declared == 1  # floor(0.2 * 6)
    assert metrics.assumption.above == sum(n > 1 for n in counts) > 0
    assert metrics.assumption.rounds == 18
    assert metrics.adjusted.targets == {
        "twin": pytest.approx(np.mean(outcome.clean)),
        "exposure": 30,
    }
    # by the textbook: the value of the fitted plane at the targets
    design = np.column_stack([np.ones(6), outcome.clean, metrics.exposure.poisoned])
    weights = np.linalg.lstsq(design, np.array(outcome.poisoned), rcond=None)[0]
    assert metrics.adjusted.mean == pytest.approx(weights @ [1, np.mean(outcome.clean), 30])
    assert metrics.adjusted.confidence == outcome.confidence


def test_a_clean_cell_has_no_exposure_and_nothing_to_adjust() -> None:
    metrics = judged(BASE.clean_twin(), SEEDS[:2]).metrics
    assert len(metrics.balanced) == 2
    assert metrics.exposure is metrics.assumption is metrics.adjusted is metrics.unadjusted is None
    assert metrics.asr_net == ()


def test_with_few_seeds_the_second_estimate_is_absent_with_its_reason() -> None:
    cell = row(judged(BASE, SEEDS[:3]))
    assert cell["adjusted"] is None
    assert cell["unadjusted"] == (
        "2 covariates and 3 seeds: at least 5 seeds are needed to fit a weight for each"
    )


def test_a_success_rate_is_net_of_the_twins() -> None:
    arm = BASE.clean_twin().but(
        attack="backdoor(target=0, poison_ratio=0.5)", malicious_fraction=0.3
    )
    outcome = judged(arm, SEEDS[:2])
    assert outcome.metrics.asr_net == tuple(
        a - b for a, b in zip(outcome.asr, outcome.asr_twin, strict=True)
    )
    assert any(outcome.asr_twin)


def test_each_metric_has_its_interval_in_a_row() -> None:
    outcome = judged(BASE)
    found = row(outcome)
    for name in ("clean", "poisoned", "drop", "retention", "balanced", "worst_recall", "exposure"):
        estimated = found["estimates"][name]
        assert estimated["low"] <= estimated["mean"] <= estimated["high"], name
        assert estimated["low"] < estimated["high"], name
        assert len(found["values"][name]) == 6, name
    kept = ratio_estimate(outcome.poisoned, outcome.clean, LIMITS.noise)
    assert found["estimates"]["retention"]["high"] == kept.high
    assert found["estimates"]["retention"]["mean"] == found["retention"]
    balanced = estimate(outcome.metrics.balanced, LIMITS.noise)
    assert found["estimates"]["balanced"]["low"] == balanced.low
    assert found["assumption"]["share"] == found["assumption"]["above"] / 18
    assert found["adjusted"]["low"] < found["adjusted"]["mean"] < found["adjusted"]["high"]


def test_a_single_seed_has_means_alone() -> None:
    found = metrics_row(judged(BASE, SEEDS[:1]))["estimates"]["worst_recall"]
    assert found["mean"] is not None
    assert found["low"] is found["high"] is found["confidence"] is None


def quick(*strategies: str) -> list[Scenario]:
    options = Options(profile="quick")
    return [c.scenario for c in cells(options) if c.scenario.strategy in strategies]


def test_rounds_beyond_what_the_rule_withstands_in_the_quick_profile() -> None:
    """69 % of the rounds of the trimmed mean and 31 % of Krum's, and on its three seeds 80 and 23.

    Cohorts and malicious sets are drawn as the proofs draw them, without training.
    """
    labels = load("mnist5k", None, None).train.labels.numpy()
    shares: dict[str, set[tuple[int, int]]] = {}
    for arm in quick("trimmedmean", "krum"):
        if arm.attack is None:
            continue
        records = []
        for seed in range(3):
            cohorts, _ = draws.cohorts(arm, seed, draws.parts(arm, seed, labels))
            bad = set(draws.malicious(arm, seed))
            present = tuple(len(bad.intersection(cohort)) for cohort in cohorts)
            audit = SimpleNamespace(malicious_per_round=present, cohorts=cohorts)
            records.append(SimpleNamespace(audit=audit))
        found = assumption_of(arm, records)
        expected = 100 * expected_above(arm, found.declared)
        shares.setdefault(arm.strategy, set()).add(
            (round(100 * found.above / found.rounds), round(expected))
        )
    assert shares == {"trimmedmean": {(80, 69)}, "krum": {(23, 31)}}


def test_the_table_marks_such_cells_and_says_what_the_mark_is() -> None:
    cell = row(judged(BASE))
    assert beyond(cell)
    text = beyond_text([cell])
    share = 100 * cell["assumption"]["share"]
    assert f"trimmedmean at 30 % {share:.0f} % (1; " in text
    calm = row(judged(BASE.but(strategy="fedavg"), SEEDS[:2]))
    assert not beyond(calm)
    assert calm["assumption"] is None
    assert beyond_text([calm]) is None


def test_an_absent_client_lowers_what_is_withstood() -> None:
    # 10 of 10 drawn, of whom 5 are absent: the median of 5 withstands 2, of 10 it withstands 4
    arm = BASE.but(strategy="median", fraction_train=1.0, absent_fraction=0.5, min_present=3)
    cohorts = (tuple(range(10)), (0, 1, 2, 3, 4), (0, 1, 2))
    audit = SimpleNamespace(malicious_per_round=(3, 3, 1), cohorts=cohorts)
    found = assumption_of(arm, [SimpleNamespace(audit=audit)])
    assert (found.declared, found.above, found.rounds) == (4, 1, 3)
    assert expected_above(arm, 4) is None


def test_metrics_are_of_the_level_that_is_asked_for() -> None:
    cell = Cell(BASE.id, BASE, 6)
    wide = metrics_of(cell, SEEDS, results(BASE), 0.99).adjusted
    assert wide.high - wide.low > 1.5 * (
        judged(BASE).metrics.adjusted.high - judged(BASE).metrics.adjusted.low
    )
