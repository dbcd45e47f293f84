"""Min-Max and what it has in common with Min-Sum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.attacks.crafting import deviation, mean
from fedcore.attacks.updates.minmax import MinMax
from fedcore.attacks.updates.minsum import MinSum
from tests.attacks.updates.shown import Rows, sent, tables

DIRECTIONS = ("unit", "sign", "std")
BOTH = [kind(direction=direction) for kind in (MinMax, MinSum) for direction in DIRECTIONS]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_by_hand(direction: Any) -> None:
    # in one dimension all directions are one: from mu = 1 down to 3 - D = 0
    rows = sent(MinMax(direction=direction), [[0.0], [0.0], [3.0]], malicious=2)
    assert rows.flatten().tolist() == pytest.approx([0.0, 0.0])


def test_in_two_dimensions() -> None:
    # mu = (2, 0), D = 4; from there along (-1, 0): the distance from (4, 0) is 4 at the origin,
    # along (-1, 0) by the sign as well; sigma = (2, 0)
    benign = [[0.0, 0.0], [4.0, 0.0], [2.0, 0.0]]
    for direction in ("unit", "sign", "std"):
        assert sent(MinMax(direction=direction), benign)[0].tolist() == pytest.approx([0, 0])


def admitted(attack: Any, row: torch.Tensor, rows: torch.Tensor) -> tuple[float, float]:
    """What the bound holds down, and the bound, by loops."""
    apart = [[float((a - b) @ (a - b)) for b in rows] for a in rows]
    reach = [float((row - b) @ (row - b)) for b in rows]
    if isinstance(attack, MinMax):
        return max(reach), max(map(max, apart))
    return sum(reach), max(map(sum, apart))


@pytest.mark.parametrize("attack", BOTH, ids=str)
@settings(max_examples=30)
@given(tables(width=4))
def test_gamma_is_admissible_and_no_greater_one_is(attack: Any, benign: Rows) -> None:
    rows = torch.tensor(benign).double()
    row, centre = sent(attack, rows)[0], mean(rows)
    value, bound = admitted(attack, row, rows)
    assert value <= bound * (1 + 1e-9)
    if attack.direction != "std" and float(centre.norm()) < 1e-9:
        assert torch.allclose(row, centre)  # which shows no direction
        return
    further = row + 1e-3 * (row - centre)
    if float((row - centre).norm()) > 1e-3:
        value, _ = admitted(attack, further, rows)
        assert value > bound


@settings(max_examples=30)
@given(tables(), st.integers(-8, 8), st.sampled_from([0.5, 3.0]))
@pytest.mark.parametrize("kind", [MinMax, MinSum])
def test_it_moves_and_stretches_with_the_rows(
    kind: Any, benign: Rows, moved: int, factor: float
) -> None:
    rows, attack = torch.tensor(benign).double(), kind()
    row = sent(attack, rows)
    assert torch.allclose(sent(attack, rows + moved), row + moved, atol=1e-6)
    assert torch.allclose(sent(attack, factor * rows), factor * row, atol=1e-6)
    assert torch.allclose(sent(attack, rows.flip(0)), row, atol=1e-6)


def test_the_official_search_stops_at_twice_its_start() -> None:
    """It halves steps from gamma = 10, so that it never comes beyond 20 (Shejwalkar's code)."""
    benign = torch.tensor([[0.0], [100.0]]).double()
    row = sent(MinMax(direction="unit"), benign)
    assert row.item() == pytest.approx(0.0)  # gamma = 50
    gamma, step = 10.0, 10.0
    for _ in range(40):
        reach = float((50 - gamma - benign).square().max())
        gamma, step = gamma + step / 2 if reach <= 1e4 else gamma - step / 2, step / 2
    assert gamma == pytest.approx(20.0)
    assert 50 - gamma != pytest.approx(row.item(), abs=1)


def test_the_last_step_of_a_search_may_be_inadmissible() -> None:
    """Blades returns it: a gap to this attack is by definition."""
    benign = torch.tensor([[0.0], [0.0], [3.0]]).double()
    gamma, step, reached = 10.0, 10.0, []
    for _ in range(12):
        inside = float((1 - gamma - benign).square().max()) <= 9
        reached.append((gamma, inside))
        gamma, step = gamma + step / 2 if inside else gamma - step / 2, step / 2
    outside = [gamma for gamma, inside in reached if not inside]
    assert min(outside) > 1.0  # the greatest admissible one
    assert 1 - sent(MinMax(direction="unit"), benign).item() <= 1.0 + 1e-12


def test_one_visible_update_leaves_no_room() -> None:
    assert sent(MinMax(), [[1.0, 2.0]], malicious=2).tolist() == [[1.0, 2.0]] * 2
    assert MinMax(knows="own").sends_own(5, 1)


def test_what_they_are_made_of() -> None:
    rows = torch.tensor([[1.0, 0.0], [3.0, 0.0]]).double()
    assert mean(rows).tolist() == [2.0, 0.0]
    assert deviation(rows).tolist() == [1.0, 0.0]
    assert deviation(rows, less=1).tolist() == pytest.approx([2**0.5, 0.0])
    assert deviation(rows[:1], less=1).tolist() == [0.0, 0.0]
    assert rows.tolist() == [[1.0, 0.0], [3.0, 0.0]]  # in float64 they are not written into
