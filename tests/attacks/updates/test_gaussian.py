"""Gaussian noise: size, length and independence."""

from __future__ import annotations

import pytest
import torch

from fedcore.attacks.updates.gaussian import Gaussian
from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario
from tests.attacks.updates.shown import sent

WIDE = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(1)).double()


def test_the_standard_deviation_is_the_papers() -> None:
    rows = sent(Gaussian(), None, WIDE)
    assert rows.std(dim=1).tolist() == pytest.approx([200.0] * 3, rel=0.03)
    assert sent(Gaussian(sd=0.5), None, WIDE).std().item() == pytest.approx(0.5, rel=0.03)
    assert rows.mean().item() == pytest.approx(0, abs=5)


def test_each_client_and_round_draws_its_own() -> None:
    rows = sent(Gaussian(), None, WIDE)
    cosines = torch.corrcoef(torch.cat((rows, WIDE)))
    assert float(cosines.fill_diagonal_(0).abs().max()) < 0.05
    assert torch.equal(sent(Gaussian(), None, WIDE), rows)
    assert not torch.equal(sent(Gaussian(), None, WIDE, seed=1), rows)


def test_the_relative_length_is_that_of_the_mean_one_seen() -> None:
    own, benign = [[3.0, 4.0], [0.0, 1.0]], [[6.0, 8.0], [0.0, 0.0]]  # 5 and 1, 10 and 0
    for attack, length in (
        (Gaussian(relative_length=2.0), 6.0),
        (Gaussian(relative_length=2.0, knows="benign"), 10.0),
    ):
        rows = sent(attack, benign if attack.knows == "benign" else None, own)
        assert rows.norm(dim=1).tolist() == pytest.approx([length] * 2)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("gaussian(sd=3, relative_length=2)", "sd=3 is not read"),
        ("gaussian(knows='benign')", "knows='benign' is not read"),
    ],
)
def test_parameters_that_are_not_read_are_errors(attack: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Scenario(attack=attack, malicious_fraction=0.3)
