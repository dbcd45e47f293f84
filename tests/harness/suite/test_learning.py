"""The curves of a cell are those of its records, in their rounds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from fedcore import Scenario
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.learning import curves_of
from fedcore.records.store import Run

ARM = Scenario(dataset="synthetic:400", rounds=4, attack="signflip", malicious_fraction=0.25)
TWIN = ARM.clean_twin()
RECORDS = {
    Run(arm, seed): SimpleNamespace(rounds=(1, 2, 3, 4), accuracy=accuracy)
    for arm, seed, accuracy in (
        (TWIN, 0, (0.2, 0.6, 0.7, 0.9)),
        (TWIN, 1, (0.4, 0.8, 0.9, 0.9)),
        (ARM, 0, (0.1, 0.5, 0.6, 0.6)),
        (ARM, 1, (0.3, 0.7, 0.8, 0.9)),
    )
}


def test_both_arms_by_hand() -> None:
    found = curves_of(ARM, (0, 1), RECORDS, Noise(2.0, 4))
    assert found.clean.curve.rounds == (1, 2, 3, 4)
    assert found.clean.curve.mean == pytest.approx((30, 70, 80, 90))
    assert found.attacked.curve.mean == pytest.approx((20, 60, 70, 75))
    assert found.clean.area == pytest.approx((60, 75))
    assert found.attacked.area == pytest.approx((45, 67.5))
    # of four rounds the tail is the last two: 80 and 90 %, of which 90 % are 72 and 81
    assert found.level == pytest.approx((72, 81))
    assert found.clean.reached.values == pytest.approx((3.1, 2.1))
    assert found.attacked.reached.values == (None, pytest.approx(3.1))
    assert (found.attacked.reached.censored, found.attacked.reached.median) == (1, None)
    assert found.attacked.reached.horizon == 4


def test_a_clean_cell_has_one_curve() -> None:
    found = curves_of(TWIN, (0, 1), RECORDS, Noise(2.0, 4))
    assert found.attacked is None
    assert found.clean.reached.median == pytest.approx(2.6)
    assert math.isfinite(found.clean.curve.low[0])
