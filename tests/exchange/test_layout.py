"""The layout of flat vectors: round trips, views, and messages about other models."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedcore.errors import ModelError
from fedcore.exchange.layout import Kind, Layout, digest

LAYERS = st.lists(
    st.sampled_from(["linear", "batch", "group", "conv", "relu"]), min_size=1, max_size=6
)


def network(kinds: list[str]) -> nn.Module:
    make = {
        "linear": lambda: nn.Linear(4, 4),
        "batch": lambda: nn.BatchNorm1d(4),
        "group": lambda: nn.GroupNorm(2, 4),
        "conv": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
        "relu": lambda: nn.ReLU(),
    }
    return nn.Sequential(nn.Linear(3, 4), *(make[kind]() for kind in kinds))


@given(LAYERS, st.sampled_from([torch.float32, torch.float64]))
def test_round_trip(kinds, dtype) -> None:
    model = network(kinds).to(dtype)
    layout = Layout.of(model)
    state = model.state_dict()
    vector, counters = layout.flatten(state)
    assert vector.dtype == dtype
    assert counters.dtype == torch.int64
    assert layout.num_parameters == sum(p.numel() for p in model.parameters())
    assert (layout.size, layout.num_counters) == (len(vector), len(counters))
    back = layout.state_dict(vector, counters)
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)
    # what is parameter, buffer and counter, each coordinate once
    spans = sorted(
        (e.offset, e.offset + e.size) for e in layout.entries if e.kind is not Kind.COUNTER
    )
    assert spans[0][0] == 0
    assert spans[-1][1] == layout.size
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))


@given(LAYERS)
def test_batch_norm_coordinates(kinds) -> None:
    layout = Layout.of(network(kinds))
    own = layout.batch_norm_indices()
    assert len(own) == 16 * kinds.count("batch") + 8 * kinds.count("conv")
    assert len(own.unique()) == len(own)


def test_flatten_copies_and_state_dict_views() -> None:
    model = network(["batch"])
    layout = Layout.of(model)
    vector, counters = layout.flatten(model.state_dict())
    before = model[0].weight.clone()
    vector.zero_()
    assert torch.equal(model[0].weight, before)
    layout.state_dict(vector, counters)["0.weight"].fill_(3.0)
    assert vector.sum() == 3.0 * 12


def test_views_of_many_clients() -> None:
    layout = Layout.of(nn.Linear(3, 2))
    rows = torch.arange(16.0).view(2, 8)
    weight = layout.entries[0].view(rows)
    assert weight.shape == (2, 2, 3)
    assert weight[1, 0].tolist() == [8.0, 9.0, 10.0]


def test_bind_makes_the_model_live_in_the_vectors() -> None:
    torch_model = network(["batch", "linear"])
    layout = Layout.of(torch_model)
    vector, counters = layout.flatten(torch_model.state_dict())
    gradient = torch.zeros(layout.num_parameters)
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.autograd.grad(
        F.cross_entropy(torch_model(inputs), torch.zeros(5, dtype=torch.int64)),
        list(torch_model.parameters()),
    )
    layout.bind(torch_model, vector, counters, gradient)
    assert torch_model[0].weight.data_ptr() == vector.data_ptr()
    for _ in range(2):  # gradients add up, in place
        F.cross_entropy(torch_model(inputs), torch.zeros(5, dtype=torch.int64)).backward()
    torch.testing.assert_close(gradient, 2 * torch.cat([g.flatten() for g in expected]))
    assert counters.tolist() == [2], "num_batches_tracked counts in the bound memory"
    assert vector[layout.num_parameters :].abs().sum() != 4.0, "running statistics moved"
    vector.zero_()
    assert all(not t.any() for t in torch_model.parameters())
    assert torch_model(inputs).shape == (5, 4)


def test_other_state_dicts_are_refused_by_name() -> None:
    model = nn.Linear(3, 2)
    layout = Layout.of(model)
    state = model.state_dict()
    with pytest.raises(ModelError, match="missing from or unknown to the model: bias"):
        layout.flatten({"weight": state["weight"]})
    with pytest.raises(ModelError, match="unknown to the model: extra"):
        layout.flatten({**state, "extra": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"weight must have shape \(2, 3\), got \(3, 2\)"):
        layout.flatten({**state, "weight": state["weight"].T})


def test_mixed_float_types_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(ModelError, match="must share one type"):
        Layout.of(model)


def test_digest_sees_every_bit() -> None:
    vector, counters = torch.zeros(3), torch.zeros(1, dtype=torch.int64)
    one = digest(vector, counters)
    assert len(one) == 16
    assert one == digest(vector.clone(), counters.clone())
    assert one != digest(torch.tensor([0.0, 0.0, 1e-45]), counters)
    assert one != digest(vector, counters + 1)
