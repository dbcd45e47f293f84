"""What every strategy shares: buffers, counters, and indifference to the order of clients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import ServerState
from fedcore.scenario import Scenario
from fedcore.strategies.strategy import STRATEGIES, combine, combine_some, with_server_momentum

EXTRA = {
    "fedbn": {"norm": "batch"},
    "multikrum": {"num_byzantine": 2, "num_selected": 3},
    "normclipping": {"norm_bound": 50.0},  # a bound that nothing here reaches
    "centeredclipping": {"norm_bound": 50.0},
    "weakdp": {"norm_bound": 50.0, "noise_std": 0.0},
    "flame": {"noise_factor": 0.0},
    "medianofmeans": {"num_clients": 7, "fraction_train": 1.0, "num_groups": 7},  # by order else
}
NAMES = [name for name in STRATEGIES if name != "flower"]  # that one aggregates replies
LINEAR = [name for name in NAMES if name not in ("fedadam", "fedyogi")]


def build(name, **changes):
    return Scenario(strategy=name, **{**EXTRA.get(name, {}), **changes}).parts.strategy


@pytest.mark.parametrize("name", NAMES)
def test_buffers_and_counters_by_the_strategys_buffer_rule(name, cohort) -> None:
    generator = torch.Generator().manual_seed(1)
    updates = torch.randn(7, 5, dtype=torch.float64, generator=generator)
    samples = (1, 2, 3, 4, 5, 6, 9)
    sent = cohort(
        updates,
        samples=samples,
        normalizers=(1.0, 50.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        counters=[[4, 1], [2, 1], [9, 1], [1, 1], [1, 1], [1, 1], [1, 3]],
    )
    start = torch.full((5,), 2.0, dtype=torch.float64)
    state = ServerState(start.clone(), torch.tensor([0, 0]))
    after = build(name).aggregate(state, sent, num_parameters=3)
    # rows 3 and 4 are buffers: sum_i n_i u_i / 30
    due, counted = (updates[:, 3:] * torch.tensor(samples)[:, None]).sum(0) / 30, [9, 3]
    if STRATEGIES[name].buffer_rule == "median":
        due, counted = updates[:, 3:].sort(dim=0).values[3], [1, 1]
    torch.testing.assert_close(after.vector[3:], start[3:] + due)
    assert after.counters.tolist() == counted
    assert torch.equal(state.vector, start), "the state before is left as it was"


# clients alike are sybils to FoolsGold; FedDyn's first step is twice as long where all take part
@pytest.mark.parametrize("name", sorted({*LINEAR} - {"foolsgold", "feddyn"}))
def test_no_counters_and_no_buffers(name, cohort) -> None:
    state = ServerState(torch.zeros(2, dtype=torch.float64), torch.empty(0, dtype=torch.int64))
    rows = [[1.0, 0.0]] * 7
    after = build(name).aggregate(state, cohort(rows, normalizers=[3.0] * 7), 2)
    torch.testing.assert_close(after.vector, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert after.counters.shape == (0,)


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, 2**31), st.permutations(range(7)))
def test_the_order_of_clients_changes_nothing(name, cohort, seed, order) -> None:
    generator = np.random.default_rng(seed)
    updates = torch.from_numpy(generator.standard_normal((7, 4)))
    samples = generator.integers(1, 50, 7).tolist()
    work = generator.uniform(1, 90, 7).tolist()
    memory: list[dict[str, torch.Tensor]] = [{}, {}]
    sent = cohort(updates, samples=samples, normalizers=work)
    shuffled = cohort(
        updates[list(order)],
        samples=[samples[i] for i in order],
        normalizers=[work[i] for i in order],
    )
    one = build(name).step(sent.updates, sent, memory[0])
    other = build(name).step(shuffled.updates, shuffled, memory[1])
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", LINEAR)
def test_a_step_is_equivariant_to_the_scale_of_updates(name, cohort) -> None:
    updates = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    work = [float(a) for a in range(3, 10)]
    one, two = cohort(updates, normalizers=work), cohort(2 * updates, normalizers=work)
    step = build(name).step(one.updates, one, {})
    torch.testing.assert_close(build(name).step(two.updates, two, {}), 2 * step)


def test_weights_are_shares_of_the_cohort(cohort) -> None:
    sent = cohort([[0.0]] * 3, samples=(1, 2, 5))
    assert sent.weights.tolist() == [0.125, 0.25, 0.625]


def test_combine_keeps_the_type_of_the_rows() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    mixed = combine(rows, torch.tensor([0.5, 2.0], dtype=torch.float64))
    assert mixed.dtype == torch.float32
    assert mixed.tolist() == [6.5, 9.0]


def test_heavy_ball_by_hand() -> None:
    memory: dict[str, torch.Tensor] = {}
    one = torch.tensor([1.0])
    made = [with_server_momentum(one, memory, 0.5).item() for _ in range(4)]
    assert made == [1.0, 1.5, 1.75, 1.875]
    assert one.item() == 1.0, "the step itself is not written to"
    assert with_server_momentum(one, {}, 0.0) is one


@given(
    st.integers(0, 2**31),
    st.integers(0, 40),
    st.integers(1, 50),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_some_rows_are_combined_and_the_others_not_read(seed, width, chunk, dtype) -> None:
    generator = np.random.default_rng(seed)
    size = int(generator.integers(1, 9))
    rows = torch.from_numpy(generator.standard_normal((size, width + 3))).to(dtype)[:, :width]
    chosen = sorted(generator.permutation(size)[: generator.integers(0, size + 1)].tolist())
    shares = torch.from_numpy(generator.random(len(chosen)))
    expected = shares @ rows[chosen].double()
    rows[[row for row in range(size) if row not in chosen]] = torch.nan
    made = combine_some(rows, chosen, shares, chunk=chunk)
    assert made.dtype == dtype
    torch.testing.assert_close(made, expected.to(dtype))
    assert torch.equal(made, combine_some(rows, chosen, shares)), "whatever the chunk"


@pytest.mark.parametrize(
    ("made", "got"),
    [
        (None, "None"),
        (torch.tensor(0.5), r"shape \(\)"),
        (torch.ones(1), r"shape \(1,\)"),
        (torch.ones(7, 3), r"shape \(7, 3\)"),
    ],
    ids=["nothing", "a number", "one number", "a row for each client"],
)
def test_a_step_of_another_shape_is_refused(made, got, cohort, monkeypatch) -> None:
    """One of a single number would be added to every parameter."""
    strategy = build("median")
    monkeypatch.setattr(type(strategy), "step", lambda *_: made)
    state = ServerState(torch.zeros(3), torch.zeros(0, dtype=torch.int64))
    message = rf"strategy 'median' must return .* of shape \(3,\), got {got}: correct its step"
    with pytest.raises(FedcoreError, match=message):
        strategy.aggregate(state, cohort(torch.ones(7, 3)), 3)
