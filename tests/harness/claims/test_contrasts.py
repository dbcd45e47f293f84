from __future__ import annotations

from typing import Any

import pytest

from fedcore import Scenario
from fedcore.harness.claims.contrasts import (
    Role,
    average,
    combined,
    costs,
    costs_more,
    drop,
    rise,
    slope,
)
from fedcore.harness.suite.comparability import ConfoundError
from fedcore.records.store import Run

CLEAN = Scenario(optimizer="sgd", lr=0.1)
POISONED = CLEAN.but(attack="labelflip", malicious_fraction=0.3, poison_ratio=0.5)
STRONG = POISONED.but(poison_ratio=1.0)
SKEWED = POISONED.but(partition="dirichlet", alpha=0.1)
ACCURACY = {CLEAN: 0.9, POISONED: 0.85, STRONG: 0.7, SKEWED.clean_twin(): 0.8, SKEWED: 0.6}


def records(seed: int = 0) -> Any:
    return {Run(s, seed): 100 * a for s, a in ACCURACY.items()}


def test_a_drop_is_clean_minus_poisoned_in_points() -> None:
    assert drop(POISONED).of(records(3), 3) == pytest.approx(5)
    with pytest.raises(ValueError, match="has no attack"):
        drop(CLEAN)
    with pytest.raises(KeyError):
        drop(POISONED).of(records(3), 4)


def test_effects_add_and_a_shared_arm_cancels() -> None:
    difference = drop(STRONG) - drop(POISONED)
    assert dict(difference.terms) == {POISONED: 1.0, STRONG: -1.0}
    assert difference.of(records(), 0) == pytest.approx(15)
    assert (drop(SKEWED) - drop(POISONED)).of(records(), 0) == pytest.approx(15)
    assert (0.5 * drop(SKEWED)).of(records(), 0) == pytest.approx(10)
    assert (drop(POISONED) - drop(POISONED)).terms == ()


def test_the_average_and_the_slope_by_hand() -> None:
    effects = [drop(POISONED), drop(SKEWED), drop(STRONG)]  # 5, 20, 20
    assert average(effects).of(records(), 0) == pytest.approx(15)
    assert slope(effects).of(records(), 0) == pytest.approx((20 - 5) / 2)
    four = [drop(POISONED), drop(POISONED), drop(SKEWED), drop(STRONG)]
    by_hand = (-1.5 * 5 - 0.5 * 5 + 0.5 * 20 + 1.5 * 20) / 5
    assert slope(four).of(records(), 0) == pytest.approx(by_hand)
    assert rise(four).of(records(), 0) == pytest.approx(3 * by_hand)  # over three steps
    with pytest.raises(ValueError, match="at least two levels"):
        slope(effects[:1])
    with pytest.raises(ValueError, match="at least one effect"):
        average([])


def test_estimands_are_the_drop_and_where_the_poisoned_arms_end() -> None:
    skewed = costs_more("skewed - even", SKEWED, POISONED, {"partition"})
    found = {name: effect.of(records(), 0) for name, effect in skewed.estimands.items()}
    assert found == pytest.approx({"drop": 20 - 5, "accuracy": 85 - 60})
    shares = costs_more("strong - mild", STRONG, POISONED, {"poison_ratio"})
    assert list(shares.estimands) == ["both"]  # of one clean arm
    assert list(costs("attack", POISONED).estimands) == ["both"]  # with its own twin
    trend = combined("trend", rise([drop(POISONED), drop(SKEWED)]), [skewed])
    assert trend.estimands["accuracy"].of(records(), 0) == pytest.approx(25)


def test_contrasts_know_their_pairs_and_factors() -> None:
    more = costs_more("harsher", STRONG, POISONED, {"poison_ratio"})
    more.check()
    assert (more.role, more.confounds) == (Role.DECIDES, ())
    alone = costs("attack", POISONED, Role.CONTROL)
    alone.check()
    assert alone.effect == drop(POISONED)
    both = combined("both", average([more.effect]), [more, alone], Role.REPORTED)
    assert both.compared == (*more.compared, *alone.compared)
    assert both.factor == more.factor | alone.factor


def test_a_confounded_contrast_says_so_and_is_refused() -> None:
    other = STRONG.but(lr=0.2)
    more = costs_more("harsher", other, POISONED, {"poison_ratio"})
    assert more.confounds == ("lr: 0.2 vs 0.1",)
    with pytest.raises(ConfoundError, match=r"(?s)'harsher'.*lr: 0\.2 vs 0\.1"):
        more.check()
