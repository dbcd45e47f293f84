"""Fang's attack on the trimmed mean: the intervals, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedcore.attacks.updates.fangtrim import FangTrim
from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario
from tests.attacks.updates.shown import sent

# trend of all: +, -, -, +, none
BENIGN = [[1.0, -3.0, 2.0, -1.0, 0.0], [4.0, -1.0, -5.0, 6.0, 0.0]]
OWN = [[1.0, 0.0, 0.0, 0.0, 0.0]] * 400


def intervals(rows: torch.Tensor) -> list[list[float]]:
    return torch.stack((rows.amin(dim=0), rows.amax(dim=0)), dim=1).tolist()


@pytest.mark.parametrize(
    ("attack", "model", "expected"),
    [
        # below 1 (half of it), above -1 (half of it), above 2 (twice), below -1 (twice)
        (
            FangTrim(stretched="updates"),
            [0.0] * 5,
            [[0.5, 1], [-1, -0.5], [2, 4], [-2, -1], [0, 0]],
        ),
        (FangTrim(), [0.0] * 5, [[0.5, 1], [-1, -0.5], [2, 4], [-2, -1], [0, 0]]),
        # of models: 11 / 2 - 10, 2 * 9 - 10, 2 * 12 - 10, 9 / 2 - 10
        (FangTrim(), [10.0] * 5 + [99.0], [[-4.5, 1], [-1, 8], [2, 14], [-5.5, -1], [0, 0]]),
        (
            FangTrim(stretched="updates"),
            [10.0] * 5,
            [[0.5, 1], [-1, -0.5], [2, 4], [-2, -1], [0, 0]],
        ),
    ],
    ids=["updates", "models at 0", "models at 10 and a buffer", "updates at 10"],
)
def test_full_knowledge(attack: FangTrim, model: Any, expected: Any) -> None:
    own = [[1.0, -1.0, -1.0, 1.0, 0.0]] * 400
    rows = sent(attack, BENIGN, own, model=model)
    for shown, (low, high) in zip(intervals(rows), expected, strict=True):
        assert low <= shown[0] <= shown[1] <= high
        assert shown == pytest.approx([low, high], abs=0.02 * (high - low))
    assert rows.mean(dim=0).tolist() == pytest.approx([sum(pair) / 2 for pair in expected], abs=0.6)


def test_partial_knowledge() -> None:
    own = torch.tensor([[1.0, -1.0]] * 200 + [[3.0, -3.0]] * 200)  # mean 2, deviation 1
    rows = sent(FangTrim(knows="own"), None, own)
    assert intervals(rows) == [pytest.approx([-2, -1], abs=0.02), pytest.approx([1, 2], abs=0.02)]


def test_the_trend_is_that_of_all_honest_updates() -> None:
    rows = sent(FangTrim(stretched="updates"), [[1.0], [1.0]], [[-5.0]])
    assert 1 <= rows.item() <= 2  # the mean of all is below 0, though not that of the benign


def test_a_trimmed_mean_that_trims_enough_is_moved_to_an_edge_and_no_further() -> None:
    benign = torch.tensor([[1.0], [2.0], [3.0], [4.0]]).double()
    rows = torch.cat((benign, sent(FangTrim(stretched="updates"), benign, malicious=1)))
    trimmed = rows.sort(dim=0).values[1:-1].mean()
    assert benign[:3].mean() == trimmed < benign.mean()


def test_a_parameter_that_is_not_read_is_an_error() -> None:
    with pytest.raises(ScenarioError, match="stretched='updates' is not read"):
        Scenario(attack="fangtrim(knows='own', stretched='updates')", malicious_fraction=0.3)
