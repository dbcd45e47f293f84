"""Targeted flip: source to target, nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedcore.attacks.data.targetedflip import TargetedFlip
from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario

FLIP = TargetedFlip(poison_ratio=0.5, source_class=1, target_class=3)


def test_source_becomes_target() -> None:
    labels = np.array([0, 1, 2, 1])
    assert FLIP.eligible(labels).tolist() == [False, True, False, True]
    new = FLIP.relabel(labels[[1, 3]], 4, np.random.default_rng(0))
    assert new.tolist() == [3, 3]
    assert new.dtype == np.int64
    assert FLIP.success_classes == (1, 3)


def test_same_class_twice_is_refused() -> None:
    with pytest.raises(ScenarioError, match="source_class != target_class, got 3 for both"):
        Scenario(attack=replace(FLIP, source_class=3), malicious_fraction=0.3)


def test_both_classes_are_required() -> None:
    with pytest.raises(ScenarioError) as error:
        Scenario(attack="targetedflip", malicious_fraction=0.3, poison_ratio=0.5)
    assert len(error.value.problems) == 2


def test_classes_outside_the_data_set() -> None:
    assert FLIP.data_problems(4, (8, 8, 1)) == []
    (one,) = FLIP.data_problems(3, (8, 8, 1))
    assert one == (
        "targetedflip needs target_class < classes, got target_class=3 and 3 classes: "
        "choose one of 0 to 2"
    )
    assert len(FLIP.data_problems(1, (8, 8, 1))) == 2
