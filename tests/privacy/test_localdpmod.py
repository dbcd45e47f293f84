"""localdpmod keeps the faults of Flower's LocalDpMod and names its true epsilon."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedcore.errors import PrivacyError
from fedcore.exchange.layout import Layout
from tests.privacy.conftest import Silence, cohort_of, zero_state


def destroyed(mechanism_for, **fields):
    layout = Layout.of(nn.Sequential(nn.Linear(2, 2), *(nn.BatchNorm1d(2) for _ in range(52))))
    assert layout.num_counters == 52
    updates = torch.zeros(1, layout.size)
    updates[0, 0] = 0.32
    counters = torch.full((1, 52), 8)
    mechanism = mechanism_for(layout, norm="batch", epsilon=1.0, noise=Silence(), **fields)
    sent = mechanism.privatise(zero_state(layout), cohort_of(updates, counters), 1)
    return float(sent.updates.norm()), sent.counters


def test_batch_norm_counters_destroy_the_update(mechanism_for) -> None:
    """52 counters advanced by 8: the norm 0.32 becomes 0.0055 under clip norm 1."""
    norm, counters = destroyed(mechanism_for, privacy="localdpmod")
    assert norm == pytest.approx(0.32 / (52 * 64 + 0.32**2) ** 0.5, rel=1e-6)
    assert norm == pytest.approx(0.0056, abs=1e-4)
    assert int(counters.min()) == 8, "they escape scale and noise"
    norm, _ = destroyed(mechanism_for, privacy="localdp")
    assert norm == pytest.approx(0.32)


@pytest.mark.parametrize(("nominal", "true"), [(1.0, 1.61), (8.0, 18.9)])
def test_true_epsilon_where_sensitivity_is_the_clip_norm(
    linear, mechanism_for, nominal, true
) -> None:
    told = mechanism_for(linear, privacy="localdpmod", epsilon=nominal).statement()
    assert told.epsilon_nominal == nominal
    assert told.epsilon_round == pytest.approx(true, rel=2e-3)
    assert f"(nominally {nominal:g})" in " ".join(told.lines())


def test_its_sigma_knows_nothing_of_the_clip_norm(linear, mechanism_for) -> None:
    one, ten = (
        mechanism_for(linear, privacy="localdpmod", epsilon=1.0, clip_norm=c) for c in (1.0, 10.0)
    )
    assert one.sigma == ten.sigma == pytest.approx(4.8448, abs=1e-4)
    assert ten.statement().epsilon_round > 20


def test_a_zero_update_is_refused_as_it_divides_by_zero(linear, mechanism_for) -> None:
    mechanism = mechanism_for(linear, privacy="localdpmod", epsilon=1.0)
    with pytest.raises(PrivacyError, match="divides by zero on the zero update of client 0"):
        mechanism.privatise(zero_state(linear), cohort_of(torch.zeros(1, linear.size)), 1)
