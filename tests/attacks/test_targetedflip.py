"""Targeted flip: source to target, nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from fedcore.attacks.targetedflip import TargetedFlip
from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario

FLIP = Scenario(
    attack="targetedflip",
    malicious_fraction=0.3,
    poison_ratio=0.5,
    source_class=1,
    target_class=3,
)


def test_source_becomes_target() -> None:
    labels = np.array([0, 1, 2, 1])
    assert TargetedFlip.eligible(labels, FLIP).tolist() == [False, True, False, True]
    new = TargetedFlip.relabel(labels[[1, 3]], 4, FLIP, np.random.default_rng(0))
    assert new.tolist() == [3, 3]
    assert new.dtype == np.int64
    assert TargetedFlip.success_classes(FLIP) == (1, 3)


def test_same_class_twice_is_refused() -> None:
    with pytest.raises(ScenarioError, match="source_class != target_class, got 3 for both"):
        FLIP.but(source_class=3)


def test_both_classes_are_required() -> None:
    with pytest.raises(ScenarioError) as error:
        Scenario(attack="targetedflip", malicious_fraction=0.3, poison_ratio=0.5)
    assert len(error.value.problems) == 2


def test_classes_outside_the_data_set() -> None:
    assert TargetedFlip.data_problems(FLIP, 4) == []
    (one,) = TargetedFlip.data_problems(FLIP, 3)
    assert one == (
        "targetedflip needs target_class < classes, got target_class=3 and 3 classes: "
        "choose one of 0 to 2"
    )
    assert len(TargetedFlip.data_problems(FLIP, 1)) == 2
