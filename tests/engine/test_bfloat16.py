"""Passes in bfloat16, weights in float32."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fedcore.engine import bfloat16
from fedcore.engine.bfloat16 import Bfloat16Engine, native_bfloat16
from fedcore.engine.execution import Execution
from fedcore.errors import FedcoreError
from fedcore.federation.federation import Federation
from fedcore.privacy.release import trained_slice
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

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
@pytest.mark.parametrize("compiler", [os.environ.get("CC", ""), "no-such-compiler"])
def test_the_same_bits_in_another_process_and_without_a_compiler(compiler: str) -> None:
    code = (
        "from tests.engine.test_bfloat16 import TINY, bfloat16, result\n"
        "bfloat16.native_bfloat16 = lambda: True\n"
        "print(result(TINY)[2])"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CC": compiler},
        capture_output=True,
        text=True,
        check=True,
    )
    assert fresh.stdout.strip() == result(TINY)[2]


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(("steps", "lr"), [(1, 1e-3), (4, 0.5)])
def test_steps_by_hand(steps, lr) -> None:
    """Each gradient is that of a bfloat16 copy of the weights so far, which stay float32."""
    scenario = TINY.but(optimizer="sgd", lr=lr, local_epochs=steps, batch_size=200)
    federation = Federation.prepare(scenario, 0, Path(), CPU)
    engine = Bfloat16Engine(federation, CPU)
    state = engine.initial_state()
    update = engine.train(state, 1, (0,)).updates[0].clone()
    assert state.vector.dtype == update.dtype == torch.float32
    # one batch an epoch, so that the order of the samples changes sums in their last digits only
    images = federation.transform(federation.train_images[federation.parts[0]]).bfloat16()
    labels = torch.from_numpy(federation.poisoning.labels_of(0, 1))
    model, weights = engine._half_model, state.vector.clone()
    for _ in range(steps):
        model.load_state_dict(engine.layout.state_dict(weights, state.counters))
        loss = F.cross_entropy(model(images).float(), labels)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        named = dict(zip(dict(model.named_parameters()), gradients, strict=True))
        weights -= lr * engine.layout.flatten(named)[0].float()
    expected = weights - state.vector
    assert (update - expected).norm() <= 0.02 * expected.norm()
    if steps == 1:  # so small a step would round to nothing in bfloat16, whose weights have 8 bits
        rounded = (state.vector + update).bfloat16() != state.vector.bfloat16()
        assert ((state.vector + update) != state.vector).float().mean() > 0.7
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


@pytest.mark.usefixtures("native")
def test_clients_that_train_the_head_alone() -> None:
    """All other parameters take no gradient, and stay bit for bit where they are."""
    scenario = Scenario(
        dataset="synthetic:200", num_clients=4, rounds=2, privacy="clip", released="head"
    )
    federation = Federation.prepare(scenario, 0, Path(), CPU)
    engine = Bfloat16Engine(federation, CPU)
    state = engine.initial_state()
    updates = engine.train(state, 1, federation.cohort(1)).updates
    head = trained_slice("head", engine.layout)
    assert bool((updates[:, head] != 0).any())
    assert not bool((updates[:, : head.start] != 0).any())
