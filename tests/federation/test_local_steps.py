"""Local work as a number of steps: what is trained on, by whom, and what FedNova makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fedcore import Scenario, run
from fedcore.attacks.attack import Work
from fedcore.attacks.data.labelflip import LabelFlip
from fedcore.attacks.work.pgd import Pgd
from fedcore.attacks.work.trainlonger import TrainLonger
from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import ScenarioError
from fedcore.federation.batches import begun_epochs, images_in
from fedcore.federation.federation import Federation
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems
from tests.attacks.examples import Overtrain

SMALL = Scenario(
    dataset="synthetic:160", model="mlp", num_clients=5, fraction_train=0.8, rounds=3,
    partition="dirichlet", alpha=0.5, min_partition_size=2, batch_size=8, optimizer="momentum",
    local_steps=(1, 9),
)  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "steps", "epochs", "images"),
    [
        (10, 1, 1, 4), (10, 2, 1, 8), (10, 3, 1, 10), (10, 4, 2, 14), (10, 7, 3, 24),
        (9, 2, 1, 9),  # the last sample joins the batch before
        (9, 3, 2, 13), (3, 5, 5, 15), (0, 5, 1, 0),
    ],
)  # fmt: skip
def test_epochs_and_images_by_hand(samples: int, steps: int, epochs: int, images: int) -> None:
    assert begun_epochs(samples, steps, 4) == epochs
    assert images_in(samples, steps, 4) == images


def prepared(scenario: Scenario, seed: int = 0) -> Federation:
    return Federation.prepare(scenario, seed, None, torch.device("cpu"))


def test_steps_are_drawn_by_client_and_fixed_for_the_run() -> None:
    drawn = prepared(SMALL).steps
    assert drawn.tolist() == prepared(SMALL).steps.tolist()
    assert len(set(drawn.tolist())) > 1
    assert 1 <= drawn.min() <= drawn.max() <= 9
    assert prepared(SMALL.but(local_steps=4)).steps.tolist() == [4] * 5
    whole = prepared(SMALL.but(local_steps=None, local_epochs=2))
    bounds = [
        images_in(len(part), count, 8) for part, count in zip(whole.parts, whole.steps, strict=True)
    ]
    assert bounds == [2 * len(part) for part in whole.parts]


def test_a_whole_number_of_epochs_in_steps_is_that_number_of_epochs() -> None:
    """160 samples over 5 clients are 4 batches of 8 each: 8 steps are 2 epochs, bit for bit."""
    even = SMALL.but(partition="iid", local_steps=8)
    one, other = run(even, 0), run(even.but(local_steps=None, local_epochs=2), 0)
    assert one.model_digest == other.model_digest
    assert one.audit.training == other.audit.training
    assert one.examples == other.examples
    assert run(even.but(local_steps=7), 0).model_digest != one.model_digest


def test_an_epoch_that_is_cut_short_trains_on_its_first_batches() -> None:
    even = prepared(SMALL.but(partition="iid", local_steps=6))
    engine = SequentialEngine(even, torch.device("cpu"))
    cohort = engine.train(engine.initial_state(), 1, (0, 3))
    assert cohort.steps == (6, 6)
    record = run(SMALL.but(partition="iid", local_steps=6), 0)
    assert training_problems(record) == []
    assert record.examples == 3 * 4 * 6 * 8


@pytest.mark.parametrize("changes", [
    {}, {"strategy": "fednova"}, {"strategy": "scaffold"}, {"strategy": "feddyn"},
    {"attack": LabelFlip(poison_ratio=0.5), "malicious_fraction": 0.4},
    {"attack": LabelFlip(poison_ratio=0.5, redraw=True), "malicious_fraction": 0.4},
    {"attack": TrainLonger(epoch_factor=2.5), "malicious_fraction": 0.4},
    {"attack": Overtrain(), "malicious_fraction": 0.4},
    {"attack": Pgd(radius=0.05, project_every=4), "malicious_fraction": 0.4},
    {"batch_size": 1, "local_steps": 3},
], ids=str)  # fmt: skip
def test_the_proofs_know_the_work(changes: dict[str, Any]) -> None:
    record = run(SMALL.but(**changes), 1)
    assert training_problems(record) == audit_problems(record) == []
    assert run(SMALL.but(**changes), 1, processes=2).model_digest == record.model_digest


def test_the_stacked_engine_and_flower_make_the_same_run() -> None:
    how = {"precision": "float64", "device": "cpu"}
    first = run(SMALL.but(strategy="fednova"), 1, engine="sequential", **how)
    stacked = run(SMALL.but(strategy="fednova"), 1, engine="stacked", **how)
    assert stacked.accuracy == first.accuracy
    assert stacked.loss == pytest.approx(first.loss, rel=1e-9)
    assert training_problems(stacked) == []
    pytest.importorskip("flwr")
    grid = run(SMALL.but(strategy="fednova"), 1, engine="flower-grid", **how)
    assert grid.model_digest == first.model_digest


def test_fednova_normalizes_by_the_steps() -> None:
    """Momentum 0.9: a_i = 1 after one step, 1.9 + 1 after two, and so on."""
    federation = prepared(SMALL.but(strategy="fednova"))
    engine = SequentialEngine(federation, torch.device("cpu"))
    clients = federation.cohort(1)
    cohort = engine.train(engine.initial_state(), 1, clients)
    sums = [sum((1 - 0.9**k) / 0.1 for k in range(1, s + 1)) for s in cohort.steps]
    assert cohort.steps == tuple(federation.steps[list(clients)])
    np.testing.assert_allclose(cohort.normalizers, sums)


def test_malicious_clients_train_longer_in_steps() -> None:
    assert TrainLonger(epoch_factor=2.5).changed(Work(1, steps=3)) == Work(1, steps=8)
    record = run(SMALL.but(attack=TrainLonger(epoch_factor=3.0), malicious_fraction=0.4), 0)
    honest = prepared(SMALL).steps
    taken = dict(zip(record.audit.training.clients, record.audit.training.steps, strict=True))
    for client, total in taken.items():
        rounds = sum(client in cohort for cohort in record.audit.cohorts)
        factor = 3 if client in record.audit.malicious else 1
        assert total == rounds * factor * honest[client]


def test_a_step_too_few_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Federation, "steps_of", lambda self, client, round: 2)
    record = run(SMALL.but(local_steps=3), 0)
    assert any("did other local work" in text for text in training_problems(record))


def test_one_of_both_is_given() -> None:
    with pytest.raises(ScenarioError, match="stands in the place of local_epochs=2"):
        SMALL.but(local_epochs=2)
    with pytest.raises(ScenarioError, match="local_steps must be >= 1"):
        SMALL.but(local_steps=0)


def test_ids_and_hashes_of_epochs_stay() -> None:
    plain = Scenario()
    assert "local_steps" not in plain.to_dict()
    assert plain.but(local_steps=(1, 9)).id.endswith("steps1to9")
    assert Scenario.from_dict(SMALL.to_dict()) == SMALL
