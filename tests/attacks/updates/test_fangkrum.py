"""Fang's attack on Krum: it is taken, and by how much."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings

from fedcore.attacks.updates.fangkrum import FangKrum
from fedcore.strategies.robust.krum import Krum
from fedcore.testing.parts import cohort_of
from tests.attacks.updates.shown import Rows, sent, tables

BENIGN = [[1.0, 1.0], [2.0, 1.0], [1.0, 3.0], [2.0, 2.0], [3.0, 2.0]]


def taken(sent_rows: torch.Tensor, rows: torch.Tensor, f: int) -> bool:
    """Whether Krum takes a malicious row."""
    whole = torch.cat((sent_rows, rows))
    step = Krum(num_byzantine=f).step(whole, cohort_of(len(whole)), {})
    return bool((step == sent_rows).all(dim=1).any())


def test_by_hand() -> None:
    """7 clients, 2 malicious: each score sums 3 distances.

    Of the benign ones the least sum of 3 is that of (2, 2): 1 + 1 + 2 = 4, so that lambda begins at
    sqrt(4 / (2 * max(1, 7 - 4 - 1))) + sqrt(13) / sqrt(2) = 1 + 2.5495. A malicious row's score is
    0 + its two nearest benign ones, which are (1, 1) and (2, 1): at lambda = 3.5495 41.4 + 51.5, at
    1.7748 15.4 + 20, at 0.8874 7.1 + 11.9, at 0.4437 4.2 + 8, at 0.2218 3 + 6.4, ... and so on to
    2 + 5 = 7 > 4: Krum never takes one, and lambda falls below the threshold.
    """
    rows = torch.tensor(BENIGN).double()
    attack = FangKrum(epsilon=0.0)
    row = sent(attack, rows, [[1.5, 1.5]] * 2)[0]
    size = float(-row[0])
    assert row.tolist() == [-size, -size]
    start = 1 + math.sqrt(13 / 2)
    assert math.log2(start / size) == pytest.approx(round(math.log2(start / size)))
    assert size < 1e-5 <= 2 * size


def test_a_close_crowd_is_taken_where_it_can_be() -> None:
    """3 of 7, f = 3: 2 neighbours, which the copies are to each other: the bound itself is sent."""
    rows = torch.tensor(BENIGN[:4]).double()
    row = sent(FangKrum(epsilon=0.0), rows, [[1.5, 1.5]] * 3)
    # (2, 2): 1 to (2, 1), 2 to (1, 1) and (1, 3); (2, 1): 1 to (1, 1), 1 to (2, 2): 2 neighbours
    bound = math.sqrt(2 / (2 * 1)) + math.sqrt(10) / math.sqrt(2)
    assert row.tolist() == [[pytest.approx(-bound)] * 2] * 3
    assert taken(row, rows, 3)


def test_the_others_lie_epsilon_away() -> None:
    rows = torch.tensor(BENIGN[:4]).double()
    row = sent(FangKrum(epsilon=0.25), rows, [[1.5, 1.5]] * 3)
    assert (row[1:] - row[0]).norm(dim=1).tolist() == pytest.approx([0.25, 0.25])


@settings(max_examples=40)
@given(tables(rows=(4, 6)))
def test_krum_takes_it_or_nothing_of_that_direction(benign: Rows) -> None:
    rows = torch.tensor(benign).double()
    own = rows[:3] + 0.125
    row = sent(FangKrum(epsilon=0.0), rows, own)
    size = float(row.abs().max())
    if size >= 1e-5:
        assert taken(row, rows, 3)
    elif size:
        assert not taken(1.9 * row, rows, 3)


def test_the_trend_is_that_of_krums_own_choice() -> None:
    """Not of the mean: one far update turns that."""
    rows = torch.tensor([[1.0], [1.1], [1.2], [-50.0]]).double()
    row = sent(FangKrum(epsilon=0.0), rows, [[1.05]] * 3)
    assert float(row.max()) < 0


def test_partial_knowledge() -> None:
    own = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]]).double()
    row = sent(FangKrum(epsilon=0.0, knows="own"), None, own)
    size = float(-row[0, 0])
    assert row.tolist() == [[-size, -size]] * 3
    # 3 own rows, 1 and 1 from (1, 1): 1 neighbour each; 2 copies are each other's at the bound
    bound = math.sqrt(1 / (2 * 1)) + math.sqrt(5 / 2)
    assert size == pytest.approx(bound)


def test_what_the_server_is_expected_to_tolerate_is_a_parameter() -> None:
    rows = torch.tensor(BENIGN).double()
    sizes = {f: float(sent(FangKrum(epsilon=0.0, num_byzantine=f), rows,
                           [[1.5, 1.5]] * 2)[0].abs().max()) for f in (2, 4)}  # fmt: skip
    assert sizes[4] > 1 > sizes[2]  # one neighbour: the other copy


def test_updates_that_are_not_finite_do_not_hang_it() -> None:
    rows = torch.tensor([[math.nan, 1.0], [1.0, 2.0], [1.0, 1.0]]).double()
    assert sent(FangKrum(), rows, [[1.0, 1.0]] * 2).shape == (2, 2)
    assert sent(FangKrum(knows="own"), None, rows).shape == (3, 2)
