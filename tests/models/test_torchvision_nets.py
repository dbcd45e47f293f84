"""What holds for every network taken from torchvision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fedcore.errors import ModelError, ScenarioError
from fedcore.models.architecture import MODELS
from fedcore.scenario import Scenario

NETS = ("mobilenet_v2", "mobilenet_v3_small", "resnet18")
each_net = pytest.mark.parametrize("model", NETS)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same weights and images at every run of a test."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def build(model: str, norm: str = "batch", channels: int = 3) -> nn.Module:
    return MODELS[model]().build(
        num_classes=8, channels=channels, size=(28, 28), norm=norm, weights=None
    )


@pytest.mark.parametrize("norm", ["batch", "group"])
@each_net
def test_training_step_of_two_small_images(model: str, norm: str) -> None:
    network = build(model, norm).train()
    before = [p.detach().clone() for p in network.parameters()]
    loss = cross_entropy(network(torch.randn(2, 3, 28, 28)), torch.tensor([0, 7]))
    loss.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter -= 0.01 * parameter.grad
    pairs = list(zip(before, network.parameters(), strict=True))
    assert all(new.isfinite().all() for _, new in pairs)
    assert not torch.equal(*pairs[0])  # the gradient reaches the first convolution


@pytest.mark.parametrize("size", [8, 28, 32, 64, 224])
@each_net
def test_logits_at_many_sizes(model: str, size: int) -> None:
    network = build(model)
    images = torch.randn(2, 3, size, size)
    for training in (True, False):
        with torch.no_grad():
            logits = network.train(training)(images)
        assert logits.shape == (2, 8)
        assert logits.isfinite().all()


@each_net
def test_group_norm_replaces_every_batch_norm(model: str) -> None:
    def count(norm: str, layer: type[nn.Module]) -> int:
        return sum(isinstance(module, layer) for module in build(model, norm).modules())

    assert count("group", nn.modules.batchnorm._BatchNorm) == 0
    assert count("group", nn.GroupNorm) == count("batch", nn.BatchNorm2d) > 0


@each_net
def test_no_norm_is_refused(model: str) -> None:
    with pytest.raises(ScenarioError, match=f"'{model}'.*norm='none': choose 'batch' or 'group'"):
        Scenario(model=model, norm="none")
    with pytest.raises(ModelError, match="got 3 and 'none'"):
        build(model, "none")


@each_net
def test_weights_of_batch_norm_are_refused_for_group_norm(model: str) -> None:
    with pytest.raises(ScenarioError, match="statistics do not carry over"):
        Scenario(model=model, norm="group", weights="imagenet")


@each_net
def test_defaults_and_allowed_combinations(model: str) -> None:
    assert Scenario(model=model).norm == "batch"
    assert Scenario(model=model, weights="imagenet").weights == "imagenet"
    assert Scenario(model=model, norm="group").weights is None


def test_grey_images_are_refused() -> None:
    with pytest.raises(ModelError, match="takes 3 channels"):
        build("resnet18", channels=1)
