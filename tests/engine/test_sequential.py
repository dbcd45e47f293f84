"""The reference engine against a plain training loop written with torch.optim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fedcore.engine import sequential
from fedcore.engine.sequential import SequentialEngine
from fedcore.federation.federation import Federation
from fedcore.models.build import build_model
from fedcore.scenario import Scenario
from fedcore.streams import Purpose, stream

CPU = torch.device("cpu")
TINY = Scenario(
    dataset="synthetic:130",
    model="cnn",
    norm="batch",
    num_clients=4,
    fraction_train=1.0,
    local_epochs=(1, 3),
    batch_size=8,
)


def engine_of(scenario: Scenario, seed: int = 0, dtype: torch.dtype = torch.float32):
    return SequentialEngine(Federation.prepare(scenario, seed, Path(), CPU), CPU, dtype)


def plain_client(federation: Federation, client: int, round: int):
    """(model, steps) after a client's work, by modules and optimizers of torch, in float64."""
    scenario = federation.scenario
    model = build_model(
        scenario,
        num_classes=10,
        channels=1,
        size=(8, 8),
        seed=federation.seed,
        data_dir=federation.data_dir,
    ).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=scenario.lr, momentum=0.9)
    order = stream(federation.seed, Purpose.BATCH_ORDER, round=round, client=client)
    part, steps = federation.parts[client], 0
    for _ in range(int(federation.epochs[client])):
        shuffled = part[order.permutation(len(part))]
        for batch in np.array_split(shuffled, len(part) // scenario.batch_size):
            images = federation.transform(federation.train_images[batch]).double()
            optimizer.zero_grad()
            F.cross_entropy(
                model(images), torch.from_numpy(federation.threat.labels[batch])
            ).backward()
            optimizer.step()
            steps += 1
    return model, steps


def test_equals_a_plain_loop() -> None:
    """Shards of 32 and 33 samples: batches of 8, the one sample left over joins the last."""
    scenario = TINY.but(dataset="synthetic:128")
    engine = engine_of(scenario, dtype=torch.float64)
    federation = engine.federation
    state = engine.initial_state()
    cohort = engine.train(state, 5, (1, 3))
    for row, client in enumerate((1, 3)):
        model, steps = plain_client(federation, client, round=5)
        vector, counters = engine.layout.flatten(model.state_dict())
        torch.testing.assert_close(state.vector + cohort.updates[row], vector)
        assert torch.equal(cohort.counters[row], counters)
        assert cohort.steps[row] == steps == 4 * federation.epochs[client]
    assert cohort.samples == (32, 32)
    assert cohort.clients == (1, 3)


def test_chunks_of_images_do_not_change_training(monkeypatch) -> None:
    engine = engine_of(TINY)
    whole = engine.train(engine.initial_state(), 1, (0, 1)).updates.clone()
    monkeypatch.setattr(sequential, "_CHUNK_PIXELS", 1)
    assert torch.equal(engine.train(engine.initial_state(), 1, (0, 1)).updates, whole)


def test_a_client_does_not_depend_on_who_trained_before() -> None:
    engine = engine_of(TINY)
    state = engine.initial_state()
    together = engine.train(state, 1, (0, 1, 2)).updates.clone()
    engine.evaluate(state)
    alone = engine.train(state, 1, (2,)).updates
    assert torch.equal(alone[0], together[2])
    assert torch.equal(state.vector, engine.initial_state().vector), "the state is only read"


def test_rounds_and_seeds_shuffle_differently() -> None:
    engine = engine_of(TINY)
    state = engine.initial_state()
    one = engine.train(state, 1, (0,)).updates.clone()
    assert not torch.equal(engine.train(state, 2, (0,)).updates, one)
    assert not torch.equal(engine_of(TINY, 1).initial_state().vector, state.vector)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_last_batch_of_one_sample_trains_with_batch_norm(model) -> None:
    scenario = TINY.but(model=model, norm="batch", dataset="synthetic:132", batch_size=32)
    engine = engine_of(scenario)
    cohort = engine.train(engine.initial_state(), 1, (0, 1, 2, 3))
    assert cohort.samples == (33, 33, 33, 33)
    assert cohort.steps == tuple(int(e) for e in engine.federation.epochs)
    assert cohort.updates.isfinite().all()


def test_facts_of_the_cohort() -> None:
    engine = engine_of(TINY.but(optimizer="sgd"))
    cohort = engine.train(engine.initial_state(), 1, (0, 1, 2, 3))
    epochs = engine.federation.epochs.tolist()
    assert len(set(epochs)) > 1
    assert cohort.steps == tuple(4 * e for e in epochs)  # shards of 33, 33, 32, 32
    assert cohort.normalizers == tuple(float(s) for s in cohort.steps)
    assert cohort.counters.tolist() == [[s, s] for s in cohort.steps]
