"""Labels drawn from scores, worked out a second time: what rounding may change, and what not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedcore.attacks.attack import ATTACKS, DataAttack, Draw, Samples
from fedcore.attacks.data.secondbest import SecondBest
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.simulation.score_check import ScoreCheck

CHECK: Any = ScoreCheck


@pytest.mark.parametrize(
    ("precision", "gap", "counts"),
    [
        ("float64", 1e-6, False), ("float64", 1e-11, True), ("sequential", 1e-5, True),
        ("sequential", 1e-2, False), ("bfloat16", 1e-2, True), ("bfloat16", 0.5, False),
    ],
)  # fmt: skip
def test_a_label_that_scores_the_same_within_rounding_counts(
    precision: str, gap: float, counts: bool
) -> None:
    check = CHECK(None, None, precision)
    scores = np.array([[5.0, 2.0 - gap, 2.0], [5.0, 2.0, 2.0 - gap]])
    own, drawn = np.array([0, 0]), np.array([1, 1])
    due = check._best(SecondBest(), drawn, own, scores, 0).tolist()
    assert due == [1 if counts else 2, 1]


def test_a_label_that_stayed_never_counts() -> None:
    check = CHECK(None, None, "float32")
    scores = np.array([[2.0, 2.0, 1.0]])
    assert check._best(SecondBest(), np.array([-1]), np.array([0]), scores, 0).tolist() == [1]


class Agrees(DataAttack):
    """Labels every sample as the model has it: an attack of others, without a second form."""

    needs_scores = True
    may_keep_labels = True
    redraw = True

    def poison(self, samples: Samples, draw: Draw) -> Samples:
        assert draw.scores is not None
        return Samples(draw.scores.argmax(axis=1))


def test_an_attack_of_others_is_asked_again() -> None:
    scenario = Scenario(
        dataset="synthetic:300", model="mlp", num_clients=6, fraction_train=1.0, rounds=2,
        attack=Agrees(poison_ratio=0.5), malicious_fraction=0.5,
    )  # fmt: skip
    assert "agrees" not in ATTACKS
    record = run(scenario, device="cpu")
    evidence = record.audit.training
    assert evidence is not None
    labels = dict(zip(evidence.clients, evidence.labels, strict=True))
    assert len(evidence.due) == 3
    assert dict(evidence.due).items() <= labels.items()
