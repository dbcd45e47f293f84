from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedcore import Scenario, run
from fedcore.harness.claims.horizons import level, rising
from fedcore.records.record import Record

SHORT = Scenario(
    dataset="synthetic:400",
    model="mlp",
    num_clients=4,
    rounds=7,
    optimizer="sgd",
    lr=0.1,
    local_epochs=(1, 3),
    partition="dirichlet",
    alpha=0.5,
    attack="labelflip",
    malicious_fraction=0.5,
    poison_ratio=0.5,
)


@pytest.fixture(scope="module")
def record() -> Record:
    return run(SHORT, seed=3, device="cpu")


def test_the_first_rounds_of_a_longer_run_are_the_shorter_run(record: Record) -> None:
    """Bit for bit: what is measured at a horizon needs no run of its own."""
    longer = run(SHORT.but(rounds=12), seed=3, device="cpu")
    for name in ("rounds", "accuracy", "loss", "recall"):
        assert getattr(longer, name)[:7] == getattr(record, name), name
    assert longer.audit.cohorts[:7] == record.audit.cohorts
    assert longer.audit.malicious == record.audit.malicious
    assert level(longer, 7) == level(record, 7) == 100 * record.tail_accuracy
    assert level(longer, 12) == 100 * longer.tail_accuracy
    assert level(record, 12) == level(record, 7)  # it has no more


def curve(record: Record, accuracy: list[float]) -> Record:
    rounds = tuple(range(1, len(accuracy) + 1))
    return dataclasses.replace(record, rounds=rounds, accuracy=tuple(accuracy))


def test_levels_by_hand(record: Record) -> None:
    made = curve(record, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert level(made, 10) == pytest.approx(90)  # of 0.8, 0.9 and 1.0
    assert level(made, 4) == pytest.approx(35)
    sparse = dataclasses.replace(made, rounds=tuple(range(2, 21, 2)))
    assert level(sparse, 8) == pytest.approx(35)
    with pytest.raises(ValueError, match="a horizon of 1 rounds needs evaluated rounds"):
        level(sparse, 1)


def test_an_arm_rises_until_it_does_not(record: Record) -> None:
    """It gains a point a round for 20 rounds and then stays."""
    made = [
        curve(record, [min(0.7 + 0.01 * n, 0.9) + 0.001 * ((n + s) % 2) for n in range(40)])
        for s in range(3)
    ]
    assert (rising(made, 20) or "").startswith("rises by +1")
    assert rising(made, 40) is None
    assert rising(made, 5) == "fewer than 6 rounds show no slope"
    assert rising(made, 10) is not None  # of six rounds, where the tail has three


def test_what_noise_hides_has_not_converged(record: Record) -> None:
    generator = np.random.default_rng(0)
    noisy = [curve(record, list(generator.normal(0.5, 0.1, 20))) for _ in range(3)]
    assert (rising(noisy, 20) or "").startswith("may rise by")
