"""Networks of other packages that draw in their forward: the same bits wherever they run."""

# ruff: noqa: NPY002 (what networks of strangers call)

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fedcore import Record, Scenario, run
from fedcore.errors import ModelError
from fedcore.models.architecture import MODELS, Architecture
from fedcore.models.draws import drawing_from, seed_forward

Draw = Callable[[nn.Module, torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """Two layers with ``draw`` between them."""

    def __init__(self, pixels: int, classes: int, draw: Draw) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(pixels, 16), nn.Linear(16, classes)
        self.draw = draw
        self.own = torch.Generator().manual_seed(0)
        self.rng = np.random.default_rng(0)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.draw(self, F.relu(self.a(x.flatten(1)))))


def noisy(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Draws in evaluation as well."""
    return x + 0.1 * torch.randn(x.shape)


def legacy(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return x * float(np.random.rand()) + random.random()


def own_generator(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return x * torch.rand(x.shape[1], generator=net.own)


def own_numpy(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return x * float(net.rng.random())


def unseeded(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return x * float(np.random.default_rng().random())


def counter(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    net.calls += 1
    return x * net.calls


def clock(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return x * (time.perf_counter_ns() % 1000)


GLOBAL: dict[str, Draw] = {
    "dropout": lambda net, x: F.dropout(x, 0.5, training=net.training),
    "rrelu": lambda net, x: F.rrelu(x, training=net.training),
    "gumbel": lambda net, x: x * F.gumbel_softmax(x, dim=1),
    "bernoulli": lambda net, x: x * torch.bernoulli(torch.full_like(x, 0.5)),
    "noisy": noisy,
    "legacy": legacy,
}
FOREIGN: dict[str, Draw] = {
    "generator": own_generator,
    "numpy": own_numpy,
    "unseeded": unseeded,
    "counter": counter,
    "clock": clock,
}


@pytest.fixture
def register() -> Iterator[Callable[[Callable[[int, int], nn.Module]], None]]:
    """Makes the model 'strangers' of what it is given (pixels, classes) for one test."""

    def make(network: Callable[[int, int], nn.Module]) -> None:
        @MODELS.register("strangers", "of this test", norm="none")
        class Strangers(Architecture):
            @classmethod
            def build(
                cls,
                *,
                num_classes: int,
                channels: int,
                size: tuple[int, int],
                norm: str,
                weights: Path | None,
            ) -> nn.Module:
                return network(channels * size[0] * size[1], num_classes)

    yield make
    MODELS._entries.pop("strangers", None)


def made(seed: int = 0, **how: Any) -> Record:
    scenario = Scenario(dataset="synthetic:300", model="strangers", num_clients=4, rounds=2)
    return run(scenario, seed=seed, **how)


def results(record: Record) -> tuple[Any, ...]:
    return record.model_digest, record.accuracy, record.loss


@pytest.mark.parametrize("name", GLOBAL)
def test_the_same_bits_each_time_and_on_several_processes(name: str, register: Any) -> None:
    register(lambda pixels, classes: Net(pixels, classes, GLOBAL[name]))
    first = results(made())
    torch.rand(3), np.random.rand(3), random.random()  # what ran before does not matter
    assert results(made()) == first
    assert results(made(processes=2)) == first
    assert results(made(seed=1)) != first


@pytest.mark.parametrize("name", FOREIGN)
def test_what_cannot_be_seeded_is_refused(name: str, register: Any) -> None:
    register(lambda pixels, classes: Net(pixels, classes, FOREIGN[name]))
    with pytest.raises(ModelError, match="'strangers': equal images and weights must give equal"):
        made()


@pytest.mark.parametrize("draw", [GLOBAL["dropout"], noisy, legacy])
def test_the_stacked_engine_refuses(draw: Draw, register: Any) -> None:
    register(lambda pixels, classes: Net(pixels, classes, draw))
    with pytest.raises(ModelError, match="sequential"):
        made(engine="stacked")


@pytest.mark.parametrize("value", ["random.random()", "float(torch.rand(()))"])
def test_no_number_drawn_while_tracing_stands_for_all_steps(value: str, register: Any) -> None:
    # a plain number in the graph looks like a constant of the network
    def draw(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        number = eval(value)
        return x + number

    register(lambda pixels, classes: Net(pixels, classes, draw))
    with pytest.raises(ModelError, match=r"its forward draws random numbers.*sequential"):
        made(engine="stacked")


def test_a_sequence_of_layers_keeps_its_result(register: Any) -> None:
    def layers(pixels: int, classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.RReLU(), nn.Linear(8, classes))

    register(layers)
    assert results(made()) == results(made(processes=2))


def test_clients_and_passes_draw_different_numbers() -> None:
    network = Net(4, 3, GLOBAL["dropout"])
    part = seed_forward(network, 0)
    drawn = []
    network.draw = lambda net, x: drawn.append(torch.rand(5)) or x  # type: ignore[func-returns-value]
    for client in (1, 2, 1):
        part.seed(torch.Generator().manual_seed(client))
        for _ in range(2):
            network(torch.zeros(2, 4))
    first, second, third = drawn[:2], drawn[2:4], drawn[4:]
    assert all(torch.equal(a, b) for a, b in zip(first, third, strict=True))
    assert len({tuple(t.tolist()) for t in (*first, *second)}) == 4


def test_it_leaves_weights_and_names_alone() -> None:
    network = Net(4, 3, noisy)
    names = list(network.state_dict())
    seed_forward(network, 0)
    assert list(network.state_dict()) == names


def test_global_generators_are_left_as_they_were() -> None:
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())

    network = Net(4, 3, legacy)
    seed_forward(network, 0).seed(torch.Generator())
    before = states()
    network(torch.zeros(2, 4))
    with contextlib.suppress(RuntimeError), drawing_from(5):
        torch.rand(2), np.random.rand(2), random.random()
        raise RuntimeError
    network.draw = lambda net, x: torch.rand(2) @ x  # shapes do not fit
    with pytest.raises(RuntimeError):
        network(torch.zeros(3, 4))
    assert states() == before


def test_initial_weights_may_come_from_any_global_generator(register: Any) -> None:
    def network(pixels: int, classes: int) -> nn.Module:
        layer = nn.Linear(pixels, classes)
        with torch.no_grad():
            layer.weight.fill_(float(np.random.rand()) + random.random())
        return nn.Sequential(nn.Flatten(), layer)

    register(network)
    first = results(made())
    np.random.rand(), random.random()
    assert results(made()) == first
