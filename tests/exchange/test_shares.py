from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.exchange.cohort import Noted
from fedcore.exchange.shares import ShareLog, relative_shares


def test_by_hand() -> None:
    # one of four chosen: all of the weight, where 1/4 is its plain share
    assert relative_shares(Noted((0.0, 1.0, 0.0, 0.0)), (5, 5, 5, 5)) == (0, 4, 0, 0)
    # Bulyan marks whom it took by 1; two of four have half of the weight each
    assert relative_shares(Noted((1.0, 0.0, 1.0, 0.0)), (1, 2, 3, 4)) == (2, 0, 2, 0)
    # norm clipping of shares 1/10, 4/10, 5/10, of which the last is cut to a fifth: the sum is 0.6
    clipped = Noted((0.1, 0.4, 0.1), by_samples=True)
    assert relative_shares(clipped, (10, 40, 50)) == pytest.approx(
        (1 / 0.6, 1 / 0.6, 0.2 / 0.6), rel=1e-5
    )


def test_trust_counts_where_coefficients_bring_updates_to_one_length() -> None:
    # one update is ten times as long as the other, and trusted alike
    assert relative_shares(Noted((0.05, 0.5), trust=(0.9, 0.9)), (1, 1)) == (1, 1)
    assert relative_shares(Noted((0.0, 0.5), trust=(0.0, 0.9)), (1, 1)) == (0, 2)


def test_a_rule_by_samples_is_not_measured_against_equal_shares() -> None:
    untouched = 0.05, 0.95
    assert relative_shares(Noted(untouched, by_samples=True), (5, 95)) == (1, 1)
    assert relative_shares(Noted(untouched), (5, 95)) == (0.1, 1.9)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_shortening_all_alike_weighs_nobody_down(samples: list[int], factor: float) -> None:
    plain = tuple(factor * n / sum(samples) for n in samples)
    assert relative_shares(Noted(plain, by_samples=True), samples) == (1.0,) * len(samples)


def test_where_all_are_left_out_all_shares_are_0() -> None:
    assert relative_shares(Noted((0.0, 0.0)), (1, 1)) == (0, 0)


@pytest.mark.parametrize(
    "noted", [None, Noted(), Noted((1.0,)), Noted((1.0, float("nan"))), Noted((1.0, float("inf")))]
)
def test_what_is_not_known_of_each_client_is_none(noted: Noted | None) -> None:
    assert relative_shares(noted, (1, 1)) is None


def test_a_log_has_one_entry_a_round_or_none_at_all() -> None:
    log = ShareLog()
    log.stepped(1, (1, 1), None)
    assert log.shares(2) == ()
    log.stepped(2, (1, 1), Noted((0.0, 1.0)))
    assert log.shares(3) == (None, (0, 2), None)


def test_behind_mixed_rows_nothing_is_kept() -> None:
    log = ShareLog(single=False)
    log.stepped(1, (1, 1), Noted((0.0, 1.0)))
    assert log.shares(1) == ()
