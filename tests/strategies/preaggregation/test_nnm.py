"""Nearest-neighbour mixing: means of the K - f nearest updates."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import IdentityError, ScenarioError
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.strategies.distances import nearest
from fedcore.strategies.preaggregation.bucketing import Bucketing
from fedcore.strategies.preaggregation.nnm import NearestNeighbourMixing

NNM = NearestNeighbourMixing
NAN, INF = float("nan"), float("inf")
SEEDS = st.integers(0, 2**31)
SMALL = Scenario(
    dataset="synthetic:240", model="mlp", num_clients=9, fraction_train=1.0, rounds=2,
    strategy="median", local_epochs=(1, 2),
)  # fmt: skip


def mixed(sent, f: int | None = None):
    return NNM(num_byzantine=f).mix(sent.updates, sent, torch.Generator())


def normal(seed: int, *shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def by_brute_force(rows: torch.Tensor, count: int) -> np.ndarray:
    values = rows.numpy().astype(np.float64)
    gaps = ((values[:, None] - values[None]) ** 2).sum(axis=2)
    gaps[np.arange(len(rows)), np.arange(len(rows))] = -1.0
    order = np.argsort(gaps, axis=1, kind="stable")[:, :count]
    chosen = np.zeros(gaps.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


def test_by_hand(cohort) -> None:
    # f = 1: each row with its two nearest others
    sent = cohort([[0.0], [1.0], [3.0], [100.0]], samples=(1, 10, 100, 1000))
    rows, facts = mixed(sent, 1)
    assert rows.flatten().tolist() == pytest.approx([4 / 3, 4 / 3, 4 / 3, 104 / 3])
    assert facts.samples == (111, 111, 111, 1110)
    assert facts.steps == (3, 3, 3, 3)
    assert facts.normalizers == (None,) * 4
    assert facts.mixing is not None
    np.testing.assert_allclose(facts.mixing @ sent.updates.numpy(), rows)


def test_a_row_is_among_its_own_neighbours(cohort) -> None:
    # left out, as in a Krum score, the rows of K - f = 2 would be 2.5, 2 and 0.5
    rows, _ = mixed(cohort([[0.0], [1.0], [4.0]]), 1)
    assert rows.flatten().tolist() == [0.5, 0.5, 2.5]


def test_f_left_open_is_the_largest_minority() -> None:
    assert [NNM().neighbours(rows) for rows in (1, 2, 5, 6, 9)] == [1, 2, 3, 4, 5]
    assert NNM(num_byzantine=2).neighbours(9) == 7


@given(SEEDS, st.integers(1, 9))
def test_without_attackers_every_row_is_the_mean(cohort, seed, size) -> None:
    rows = normal(seed, size, 4)
    made, _ = mixed(cohort(rows), 0)
    torch.testing.assert_close(made, rows.mean(dim=0).expand(size, 4))


@given(SEEDS, st.integers(2, 9), st.integers(0, 4), st.sampled_from([torch.float32, torch.float64]))
def test_neighbours_are_those_of_float64(seed, size, f, dtype) -> None:
    rows, count = normal(seed, size, 40, dtype=dtype) + 1000 * (seed % 2), max(1, size - f)
    np.testing.assert_array_equal(nearest(rows, count), by_brute_force(rows, count))


def test_rows_beside_a_large_common_part_are_told_apart() -> None:
    rows = 1e4 + 1e-1 * normal(3, 12, 5000, dtype=torch.float32)  # products in float32 see nothing
    np.testing.assert_array_equal(nearest(rows, 7), by_brute_force(rows, 7))


@given(SEEDS, st.floats(0.25, 4.0))
def test_permutation_translation_and_scale(cohort, seed, scale) -> None:
    rows = normal(seed, 7, 5)
    order = np.random.default_rng(seed).permutation(7)
    made, _ = mixed(cohort(rows), 2)
    torch.testing.assert_close(mixed(cohort(rows[order]), 2)[0], made[order])
    torch.testing.assert_close(mixed(cohort(rows + 3.0), 2)[0], made + 3.0)
    torch.testing.assert_close(mixed(cohort(scale * rows), 2)[0], scale * made)


@given(SEEDS, st.floats(-1e9, 1e9))
def test_f_far_rows_move_the_mean_of_honest_rows_by_their_spread_at_most(cohort, seed, far) -> None:
    rows = normal(seed, 9, 3)
    rows[:2] = far
    honest = rows[2:]
    made, _ = mixed(cohort(rows), 2)
    # each honest mix has 7 rows, none further from its row than the furthest honest one
    spread = torch.cdist(honest, honest).max()
    assert bool(((made[2:] - honest).norm(dim=1) <= spread * (1 + 1e-9)).all())


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_stays_in_its_row(cohort, bad, dtype) -> None:
    rows = normal(1, 6, 4, dtype=dtype)
    rows[2, 1] = bad
    made, facts = mixed(cohort(rows), 2)
    kept = [0, 1, 3, 4, 5]
    assert made[kept].isfinite().all()
    torch.testing.assert_close(made[2], rows[2], equal_nan=True)
    clean, _ = NNM(num_byzantine=1).mix(rows[kept], cohort(rows[kept]), torch.Generator())
    torch.testing.assert_close(made[kept], clean)  # four of five each
    assert facts.mixing is not None
    assert facts.mixing[2].tolist() == [0, 0, 1, 0, 0, 0]


def test_more_rows_that_are_not_finite_than_f(cohort) -> None:
    rows = torch.tensor([[1.0], [NAN], [3.0], [INF], [NAN]])
    made, _ = mixed(cohort(rows), 1)
    assert made[[0, 2]].flatten().tolist() == [2.0, 2.0]
    broken, _ = mixed(cohort(torch.full((3, 2), NAN)), 1)
    assert broken.isnan().all()


def test_too_large_for_float32_products_is_finite(cohort) -> None:
    rows = torch.tensor([[1e30], [2e30], [1.2e30], [0.0], [-1e30]])
    assert mixed(cohort(rows), 2)[0].isfinite().all()


def test_updates_are_left_as_they_are(cohort) -> None:
    rows = normal(2, 5, 4)
    rows[1] = NAN
    kept = rows.clone()
    mixed(cohort(rows), 1)
    torch.testing.assert_close(rows, kept, equal_nan=True, rtol=0, atol=0)


def test_what_no_minority_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"'nnm\(num_byzantine=5\)' needs rows > 2 f, got 9 <="):
        SMALL.but(preaggregation=NNM(num_byzantine=5))
    with pytest.raises(ScenarioError, match=r"rows > 2 f, got 5 of 9 clients <= 2 \* 3"):
        SMALL.but(preaggregation="bucketing(size=2), nnm(num_byzantine=3)")
    # in front of bucketing it is given all rows
    assert SMALL.but(preaggregation="nnm(num_byzantine=3), bucketing(size=2)").rows == 5
    assert SMALL.but(preaggregation=NNM()).rows == 9


def test_behind_bucketing_f_is_kept() -> None:
    # 2 of 9 clients spoil 2 of 5 buckets at most: f is not rescaled, and 2 of 5 are a minority
    chain = SMALL.but(preaggregation="bucketing(size=2), nnm(num_byzantine=2)")
    first, second = chain.parts.preaggregation
    assert first.rows(9) == chain.rows == 5
    assert second.neighbours(5) == 3
    with pytest.raises(ScenarioError, match=r"> 2 f \+ 2, got 5 rows of 9 clients <= 2 \* 2 \+ 2"):
        chain.but(strategy="krum", num_byzantine=2)


def test_krum_behind_bucketing_at_48_percent_is_refused() -> None:
    with pytest.raises(
        ScenarioError, match=r"> 2 f \+ 2, got 13 rows of 25 clients <= 2 \* 12 \+ 2"
    ):
        SMALL.but(
            num_clients=25, strategy="krum", num_byzantine=12, preaggregation="bucketing(size=2)"
        )


def test_fednova_behind_it_is_refused() -> None:
    with pytest.raises(ScenarioError, match="'nnm' are of several clients"):
        SMALL.but(strategy="fednova", preaggregation="nnm")


def test_bucketing_and_then_nnm_in_a_run() -> None:
    chain = SMALL.but(preaggregation="bucketing(size=2), nnm(num_byzantine=1)")
    record = run(chain, device="cpu")
    assert record.audit.identity.rounds_checked == 2
    assert record.audit.identity.rounds_differing == record.audit.identity.rounds_due == 2
    other = run(chain.but(preaggregation="nnm(num_byzantine=1), bucketing(size=2)"), device="cpu")
    assert other.model_digest != record.model_digest


def test_nnm_saves_the_mean_of_honest_rows_from_a_chain_of_both(cohort) -> None:
    rows = normal(5, 12, 6)
    rows[0] = 1e6
    buckets, facts = Bucketing(size=2).mix(rows, cohort(rows), torch.Generator().manual_seed(1))
    made, _ = NNM(num_byzantine=1).mix(buckets, facts, torch.Generator())
    assert int((made.abs().amax(dim=1) > 1e4).sum()) == 1  # the spoilt bucket's own row


REAL = NNM.mix


def without_itself(updates, cohort, generator):
    _, facts = REAL(NNM(num_byzantine=2), updates, cohort, generator)
    near = facts.mixing != 0
    np.fill_diagonal(near, False)
    weights = near / near.sum(axis=1, keepdims=True)
    made = torch.from_numpy(weights).to(updates) @ updates
    return made, dataclasses.replace(facts, mixing=weights)


def furthest(updates, cohort, generator):
    order = torch.cdist(updates, updates).argsort(dim=1, descending=True)[:, :6]
    near = torch.eye(len(updates)).scatter_(1, order, 1.0)
    near[torch.arange(9), order[:, -1]] = 0.0
    near[torch.arange(9), torch.arange(9)] = 1.0
    weights = near.double() / near.sum(dim=1, keepdim=True)
    _, facts = REAL(NNM(num_byzantine=2), updates, cohort, generator)
    return weights.to(updates) @ updates, dataclasses.replace(facts, mixing=weights.numpy())


def of_another_f(updates, cohort, generator):
    return REAL(NNM(num_byzantine=1), updates, cohort, generator)


def sums(updates, cohort, generator):
    rows, facts = REAL(NNM(num_byzantine=2), updates, cohort, generator)
    return 7 * rows, facts


def unmixed(updates, cohort, generator):
    _, facts = REAL(NNM(num_byzantine=2), updates, cohort, generator)
    return updates, facts


def silent(updates, cohort, generator):
    return REAL(NNM(num_byzantine=2), updates, cohort, generator)[0], cohort


def own_facts(updates, cohort, generator):
    rows, facts = REAL(NNM(num_byzantine=2), updates, cohort, generator)
    return rows, dataclasses.replace(facts, samples=cohort.samples)


@pytest.mark.parametrize(
    ("mix", "reason"),
    [
        (without_itself, "a row is not the mean of 7"),
        (furthest, "has nearer neighbours than|a row is not the mean of 7"),
        (of_another_f, "a row is not the mean of 7"),
        (sums, "off by more than rounding"),
        (unmixed, "rows that it was given, unmixed"),
        (silent, "it does not say whom it mixed"),
        (own_facts, "it gives its rows samples"),
    ],
)
def test_planted_mixes_are_named(monkeypatch, mix, reason) -> None:
    monkeypatch.setattr(NNM, "mix", lambda self, *given: mix(*given))
    with pytest.raises(IdentityError, match=f"the means of nearest neighbours: .*({reason})"):
        run(SMALL.but(preaggregation=NNM(num_byzantine=2)), device="cpu")
