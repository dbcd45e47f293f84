from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.architecture import MODELS
from fedcore.models.build import build_model
from fedcore.models.dropout import StreamDropout
from fedcore.scenario import Scenario


def build(model: str = "cnn", seed: int = 0, **changes: Any) -> nn.Module:
    scenario_fields = {k: changes.pop(k) for k in ("norm", "weights") if k in changes}
    shape = {"num_classes": 8, "channels": 3, "size": (28, 28), "data_dir": Path(), **changes}
    return build_model(Scenario(model=model, **scenario_fields), seed=seed, **shape)


def vector(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("model", list(MODELS))
def test_seed_alone_decides_the_weights(model: str) -> None:
    state = torch.random.get_rng_state()
    first = vector(build(model))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(vector(build(model)), first)
    assert not torch.equal(vector(build(model, seed=1)), first)


def test_device_generators_are_not_reseeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seed: int) -> None:
        raise AssertionError("a device was reseeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    monkeypatch.setattr(torch, "manual_seed", refuse)
    build()


def test_model_is_on_the_cpu_whatever_the_default_device() -> None:
    expected = vector(build())
    with torch.device("meta"):
        network = build()
    assert torch.equal(vector(network), expected)


@pytest.mark.parametrize("model", ["mobilenet_v2", "mobilenet_v3_small"])
def test_dropout_draws_from_streams(model: str) -> None:
    network = build(model)
    assert not any(isinstance(module, nn.Dropout) for module in network.modules())
    assert [m.p for m in network.modules() if isinstance(m, StreamDropout)] == [0.2]
    assert all(module.training for module in network.modules())


def test_norm_of_the_scenario_reaches_the_network() -> None:
    assert any(isinstance(module, nn.GroupNorm) for module in build(norm="group").modules())


def test_small_images_are_refused() -> None:
    with pytest.raises(ModelError, match=r"'cnn' takes images of 4 pixels.*3x3x28: raise image_s"):
        build(size=(3, 28))


def test_grey_images_are_refused_where_colours_are_needed() -> None:
    with pytest.raises(ModelError, match=r"'resnet18' takes images of 3 channels, got 1x28x28"):
        build("resnet18", channels=1)


def test_weights_are_in_the_built_model(shared_data: Path) -> None:
    file = shared_data / "mobilenet_v2-b0353104.pth"
    network = build("mobilenet_v2", weights="imagenet", data_dir=shared_data)
    body = torch.load(file, weights_only=True)
    for name, value in network.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(value, body[name]), name
    fresh = build("mobilenet_v2").state_dict()
    assert torch.equal(network.state_dict()["classifier.1.weight"], fresh["classifier.1.weight"])
    assert network.training


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="are no file"):
        build("resnet18", weights=str(tmp_path / "none.pth"))
