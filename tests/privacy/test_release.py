"""What leaves a client: whole or head, with or without buffers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedcore.errors import PrivacyError
from fedcore.exchange.layout import Layout
from fedcore.models.build import build_model
from fedcore.privacy.release import Release, head_slice
from fedcore.scenario import Scenario


def test_the_head_is_the_last_linear_layer_with_its_bias() -> None:
    layout = Layout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4)))
    assert head_slice(layout) == slice(8, 8 + 12)
    bare = Layout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4, bias=False)))
    assert head_slice(bare) == slice(8, 8 + 8)


@pytest.mark.parametrize(
    ("model", "size"),
    [("cnn", 65 * 10), ("mlp", 65 * 10), ("resnet18", 513 * 10), ("mobilenet_v2", 1281 * 10)],
)
def test_the_head_of_each_network(tmp_path, model, size) -> None:
    network = build_model(
        Scenario(model=model), num_classes=10, channels=3, size=(32, 32), seed=0, data_dir=tmp_path
    )
    layout = Layout.of(network)
    head = head_slice(layout)
    assert head.stop - head.start == size
    assert head.stop == layout.num_parameters


def test_a_model_without_a_linear_layer_has_no_head() -> None:
    layout = Layout.of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    with pytest.raises(PrivacyError, match="needs a model with a linear layer, this one has none"):
        Release.of(layout, "head", "frozen")


def test_put_and_take_are_inverse_and_all_else_is_zero(normed) -> None:
    updates = torch.arange(1.0, normed.size + 1)[None]
    release = Release.of(normed, "head", "frozen")
    rows = release.take(updates)
    assert rows.shape == (1, release.dimension) == (1, 3)
    back = release.put(rows, updates, torch.zeros(normed.size))
    assert torch.equal(release.take(back), rows)
    assert int((back != 0).sum()) == 3


def test_buffers_are_sent_only_when_released(normed) -> None:
    assert (normed.num_parameters, normed.size) == (13, 17)
    assert Release.of(normed, "whole", "frozen").dimension == 13
    assert Release.of(normed, "whole", "local").dimension == 13
    assert Release.of(normed, "whole", "released").dimension == 17
    assert "4 numbers of buffers frozen" in Release.of(normed, "whole", "frozen").description
    assert "counters in clear" in Release.of(normed, "whole", "released").description


def test_a_running_variance_never_falls_below_zero(normed) -> None:
    release = Release.of(normed, "whole", "released")
    state = torch.ones(normed.size)
    rows = torch.full((1, 17), -5.0)
    back = release.put(rows, rows, state)
    (variance,) = (e for e in normed.entries if e.name.endswith("running_var"))
    assert torch.equal(variance.view(state + back[0]), torch.zeros(2))
    (mean,) = (e for e in normed.entries if e.name.endswith("running_mean"))
    assert torch.equal(mean.view(back[0]), torch.full((2,), -5.0))
