"""Min-Sum by hand; what it shares with Min-Max is tested there."""

from __future__ import annotations

import pytest
import torch

from fedcore.attacks.updates.minmax import MinMax
from fedcore.attacks.updates.minsum import MinSum
from tests.attacks.updates.shown import sent


@pytest.mark.parametrize("direction", ["unit", "sign", "std"])
def test_by_hand(direction: str) -> None:
    # S = 9 + 9 = 18 at u = 3; 2 x^2 + (x - 3)^2 <= 18 down to x = -1
    rows = sent(MinSum(direction=direction), [[0.0], [0.0], [3.0]], malicious=2)
    assert rows.flatten().tolist() == pytest.approx([-1.0, -1.0])


def test_the_bounds_of_both_differ() -> None:
    benign = torch.tensor([[0.0, 1.0], [4.0, 0.0], [2.0, 2.0], [9.0, 1.0]])
    assert not torch.allclose(sent(MinSum(), benign), sent(MinMax(), benign))
