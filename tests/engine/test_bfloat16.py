"""Passes in bfloat16, weights in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fedcore.engine import bfloat16
from fedcore.engine.bfloat16 import Bfloat16Engine, native_bfloat16
from fedcore.errors import FedcoreError
from fedcore.execution import Execution
from fedcore.federation import Federation
from fedcore.scenario import Scenario
from fedcore.simulation import run

CPU = torch.device("cpu")
TINY = Scenario(
    dataset="synthetic:400", model="cnn", num_clients=4, rounds=2, local_epochs=(1, 3), batch_size=8
)


@pytest.fixture
def native(monkeypatch) -> None:
    """Any CPU computes the same passes, some slowly."""
    monkeypatch.setattr(bfloat16, "native_bfloat16", lambda: True)


def result(scenario: Scenario, **how):
    record = run(scenario, 0, device="cpu", precision="bfloat16", **how)
    return record.accuracy, record.loss, record.model_digest, record.engine


@pytest.mark.usefixtures("native")
def test_repeatable_to_the_bit_on_any_number_of_processes() -> None:
    first = result(TINY)
    assert first == result(TINY) == result(TINY, processes=2)
    assert first[3] == "sequential-bfloat16"
    exact = run(TINY, 0, device="cpu")
    assert first[2] != exact.model_digest
    assert first[1] == pytest.approx(exact.loss, rel=0.02)


@pytest.mark.usefixtures("native")
def test_a_step_by_hand() -> None:
    """The gradient is that of a bfloat16 copy; what the solver steps never leaves float32."""
    scenario = TINY.but(optimizer="sgd", lr=1e-3, local_epochs=1, batch_size=200)
    federation = Federation.prepare(scenario, 0, Path(), CPU)
    engine = Bfloat16Engine(federation, CPU)
    state = engine.initial_state()
    update = engine.train(state, 1, (0,)).updates[0].clone()
    assert state.vector.dtype == update.dtype == torch.float32
    # one batch, so that the order of the samples changes sums in their last digits only
    images = federation.transform(federation.train_images[federation.parts[0]])
    labels = torch.from_numpy(federation.poisoning.labels_of(0, 1))
    engine._half.copy_(state.vector)
    engine._half_gradient.zero_()
    logits = engine._half_model(images.bfloat16())
    F.cross_entropy(logits.float(), labels).backward()
    expected = -1e-3 * engine._half_gradient.float()
    assert (update - expected).norm() <= 0.02 * expected.norm()
    # steps as small as these would round to nothing in bfloat16, whose weights have 8 bits
    moved = (state.vector + update) != state.vector
    rounded = (state.vector + update).bfloat16() != state.vector.bfloat16()
    assert moved.float().mean() > 0.7  # the others have no gradient: dead units
    assert rounded.float().mean() < 0.1


@pytest.mark.usefixtures("native")
def test_scores_are_those_of_the_float32_weights() -> None:
    federation = Federation.prepare(TINY, 0, Path(), CPU)
    half = Bfloat16Engine(federation, CPU)
    state = half.initial_state()
    half.train(state, 1, (0, 1))
    exact = bfloat16.SequentialEngine(federation, CPU)
    assert half.evaluate(state) == exact.evaluate(state)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    "changes",
    [
        {"model": "mobilenet_v2", "grayscale": True},
        {"model": "cnn", "norm": "batch"},
        {"model": "mlp"},
    ],
)
def test_refuses_what_it_does_not_make_faster(changes) -> None:
    with pytest.raises(FedcoreError, match="is for cnn with norm='none', got"):
        result(TINY.but(**changes))


def test_refuses_a_cpu_that_only_emulates_it(monkeypatch) -> None:
    monkeypatch.setattr(bfloat16, "native_bfloat16", lambda: False)
    with pytest.raises(FedcoreError, match="AVX-512 BF16 or AMX"):
        result(TINY)
    assert isinstance(native_bfloat16(), bool)
    assert Execution(device="cpu", precision="bfloat16").dtype == torch.float32  # of the weights
