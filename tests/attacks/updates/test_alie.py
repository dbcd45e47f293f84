"""ALIE by hand, and the conventions that its implementations differ in."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.attacks.updates.alie import Alie, paper_z
from fedcore.errors import ScenarioError
from fedcore.exchange.cohort import Memory
from fedcore.scenario import Scenario
from tests.attacks.updates.shown import Rows, sent, tables

BENIGN = [[0.0, 0.0], [2.0, 8.0]]  # mean (1, 4), deviation (1, 4), with n - 1 (1, 4) * sqrt 2


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        (Alie(z=1.5), [-0.5, -2.0]),
        (Alie(z=1.5, sign="plus"), [2.5, 10.0]),
        (Alie(z=1.0, divisor="n-1"), [1 - math.sqrt(2), 4 - 4 * math.sqrt(2)]),
    ],
    ids=str,
)
def test_by_hand(attack: Alie, expected: list[float]) -> None:
    rows = sent(attack, BENIGN, malicious=2)
    assert rows.tolist() == [pytest.approx(expected)] * 2


def test_own_updates_only() -> None:
    rows = sent(Alie(z=1.5, knows="own"), None, [[0.0], [2.0], [4.0]])
    assert rows.flatten().tolist() == pytest.approx([2 - 1.5 * math.sqrt(8 / 3)] * 3)


@pytest.mark.parametrize(
    ("clients", "malicious", "z"),
    [
        (50, 24, 1.4260769),  # Phi^-1(24 / 26), the paper's example
        (50, 10, 0.2533471),  # Phi^-1(24 / 40)
        (10, 3, 0.1800124),  # Phi^-1(4 / 7)
        (5, 1, 0.0),
        (10, 1, -0.1397103),  # Phi^-1(4 / 9)
        (5, 2, 0.4307273),  # Phi^-1(2 / 3)
        (10, 5, 0.8416212),  # Phi^-1(4 / 5)
        (10, 7, 0.8416212),  # a majority, for which there is no formula
        (2, 1, 0.0),  # a quantile of 0
        (1, 1, 0.0),
    ],
)
def test_the_papers_z(clients: int, malicious: int, z: float) -> None:
    assert paper_z(clients, malicious) == pytest.approx(z, abs=1e-6)


def test_conventions_that_are_not_the_papers_give_other_rows() -> None:
    """A table that suites copied has 0.72575 at n = 50, m = 10; ByzFL and the authors have 1.5."""
    row = sent(Alie(), [[float(i)] for i in range(40)], malicious=10)
    for z in (0.72575, 1.5):
        other = sent(Alie(z=z), [[float(i)] for i in range(40)], malicious=10)
        assert not torch.allclose(row, other)
    assert torch.allclose(row, sent(Alie(z=0.2533471), [[float(i)] for i in range(40)]))


@settings(max_examples=30)
@given(tables(), st.integers(-8, 8), st.sampled_from([-2.0, 0.5, 3.0]))
def test_it_moves_and_stretches_with_the_rows(benign: Rows, moved: int, factor: float) -> None:
    rows, attack = torch.tensor(benign).double(), Alie(z=1.5)
    row = sent(attack, rows)
    assert torch.allclose(sent(attack, rows + moved), row + moved)
    assert torch.allclose(sent(attack, rows.flip(0)), row)
    other = Alie(z=1.5, sign="minus" if factor > 0 else "plus")
    assert torch.allclose(sent(other, factor * rows), factor * row)


def test_a_large_common_part_costs_no_digits() -> None:
    rows = torch.tensor([[1e4], [1e4 + 1e-2]], dtype=torch.float32)
    expected = float(rows.double().mean() - 1.5 * rows.double().std(correction=0))
    row = Alie(z=1.5).craft(_float(rows))
    assert float(row) == pytest.approx(expected, rel=1e-7)
    squares = rows.square().mean() - rows.mean().square()  # the textbook's one pass
    assert not math.isclose(float(squares), float(rows.double().var(correction=0)), rel_tol=0.5)


def _float(rows: torch.Tensor) -> Any:
    import dataclasses

    from tests.attacks.updates.shown import shown

    return dataclasses.replace(shown(rows), own=torch.zeros(1, 1), benign=rows)


WHOLE = {"num_clients": 5, "fraction_train": 1.0, "attack": "alie", "malicious_fraction": 0.2}


def test_a_z_that_is_never_above_zero_is_refused_with_the_formula() -> None:
    with pytest.raises(ScenarioError, match=r"Phi\^-1\(\(n - m - s\).* is 0 at a cohort of n = 5"):
        Scenario(**WHOLE)
    Scenario(**{**WHOLE, "attack": "alie(z=1.5)"})
    Scenario(**{**WHOLE, "malicious_fraction": 0.4})
    sampled = {**WHOLE, "num_clients": 20, "fraction_train": 0.25}
    Scenario(**sampled)  # up to 4 of 5
    with pytest.raises(ScenarioError, match="with up to m = 1"):
        Scenario(**{**sampled, "malicious_fraction": 0.05})


def test_one_client_that_sees_itself_only_is_refused() -> None:
    with pytest.raises(ScenarioError, match="would send the only one as it is"):
        Scenario(**{**WHOLE, "attack": "alie(z=1.5, knows='own')"})
    assert Alie(knows="own").sends_own(5, 1)
    assert not Alie(knows="own").sends_own(5, 2)
    assert not Alie().sends_own(5, 1)


def test_rounds_without_a_shift_are_noted() -> None:
    memory = Memory()
    for malicious in (1, 1, 2):
        sent(Alie(), [[1.0], [2.0], [5.0]] + [[1.0]] * (2 - malicious), malicious=malicious,
             memory=memory)  # fmt: skip
    (text,) = Alie().remarks(memory)
    assert "z was 0 to 0.431; in 2 of 3 attacked rounds it was not above 0" in text
    assert Alie(z=1.5).remarks(memory) == ()
