"""Inner product manipulation, by hand."""

from __future__ import annotations

import torch

from fedcore.attacks.updates.ipm import Ipm
from tests.attacks.updates.shown import sent

BENIGN = [[1.0, 4.0], [3.0, -2.0]]
OWN = [[10.0, 0.0], [0.0, 20.0]]


def test_both_knowledges_by_hand() -> None:
    assert sent(Ipm(eps=0.5), BENIGN, OWN).tolist() == [[-1.0, -0.5], [-1.0, -0.5]]
    assert sent(Ipm(eps=0.5, knows="own"), None, OWN).tolist() == [[-2.5, -5.0]] * 2


def test_without_benign_clients_it_falls_back_to_the_malicious_ones() -> None:
    expected = sent(Ipm(knows="own"), None, OWN)
    assert torch.equal(sent(Ipm(), torch.empty(0, 2), OWN), expected)


def test_the_average_turns_round_at_the_ratio_of_benign_to_malicious() -> None:
    for eps, sign in ((1.4, 1), (1.6, -1)):  # 3 benign clients to 2 malicious ones
        rows = torch.tensor([[1.0], [2.0], [3.0]]).double()
        step = torch.cat((rows, sent(Ipm(eps=eps), rows, malicious=2))).mean()
        assert torch.sign(step) == sign
