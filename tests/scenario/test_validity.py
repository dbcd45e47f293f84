"""Validity of whole runs: paired arms, a test set that nothing trains on, attacks that happened."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from fedcore.data.dataset import Dataset, Split
from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import AttackError
from fedcore.federation import federation as federation_module
from fedcore.federation.federation import Federation
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

CPU = torch.device("cpu")
TINY = Scenario(
    dataset="synthetic:300",
    model="cnn",
    norm="batch",
    num_clients=6,
    rounds=3,
    strategy="fednova",
    local_epochs=(1, 3),
    optimizer="sgd",
)
FAST = TINY.but(model="mlp", norm="none")
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}


# pairing


def first_round(scenario: Scenario, seed: int = 0):
    federation = Federation.prepare(scenario.but(fraction_train=1.0), seed, Path(), CPU)
    engine = SequentialEngine(federation, CPU)
    state = engine.initial_state()
    return federation, state.vector, engine.train(state, 1, tuple(range(6)))


def test_clean_twin_and_poisoned_run_share_everything_but_the_poison() -> None:
    """Benign clients' updates are equal bit for bit: same samples, model, batches and epochs."""
    poisoned = TINY.but(**ATTACK)
    (fed_a, start_a, a), (fed_b, start_b, b) = (
        first_round(poisoned),
        first_round(poisoned.clean_twin()),
    )
    assert torch.equal(start_a, start_b)
    assert all(np.array_equal(x, y) for x, y in zip(fed_a.parts, fed_b.parts, strict=True))
    malicious = set(fed_a.threat.malicious.tolist())
    assert len(malicious) == 2
    for client in range(6):
        same = torch.equal(a.updates[client], b.updates[client])
        assert same is (client not in malicious)
    one, other = run(poisoned), run(poisoned.clean_twin())
    assert one.audit.cohorts == other.audit.cohorts
    assert one.audit.samples == other.audit.samples
    assert one.audit.epochs == other.audit.epochs
    assert other.audit.malicious == ()


@pytest.mark.parametrize(
    "change",
    [{"strategy": "fedavg"}, {"lr": 0.02}, {"optimizer": "adam", "strategy": "median"}],
    ids=lambda change: "-".join(change),
)
def test_arms_of_one_seed_share_clients_and_start(change) -> None:
    (_, start_a, _), (_, start_b, _) = first_round(TINY), first_round(TINY.but(**change))
    one, other = run(TINY), run(TINY.but(**change))
    assert torch.equal(start_a, start_b)
    assert one.audit.cohorts == other.audit.cohorts
    assert one.audit.epochs == other.audit.epochs
    assert one.model_digest != other.model_digest


# the test set


def with_data(monkeypatch, change) -> Record:
    """A run of FAST on data that ``change`` (of a Dataset) altered."""
    load = federation_module.load
    with monkeypatch.context() as patch:
        patch.setattr(federation_module, "load", lambda *place: change(load(*place)))
        return run(FAST)


def garbage(images: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=generator)


def test_no_gradient_sees_test_data(monkeypatch) -> None:
    plain = run(FAST)

    def other_images(data: Dataset) -> Dataset:
        return dataclasses.replace(data, test=Split(garbage(data.test.images), data.test.labels))

    def other_labels(data: Dataset) -> Dataset:
        return dataclasses.replace(data, test=Split(data.test.images, 9 - data.test.labels))

    def fewer(data: Dataset) -> Dataset:
        return dataclasses.replace(data, test=Split(data.test.images[:7], data.test.labels[:7]))

    for change in (other_images, other_labels, fewer):
        record = with_data(monkeypatch, change)
        assert record.model_digest == plain.model_digest, change.__name__
        assert record.accuracy != plain.accuracy, change.__name__


def test_training_data_do_matter(monkeypatch) -> None:
    def one_pixel(data: Dataset) -> Dataset:
        images = data.train.images.clone()
        images[:, 0, 0] ^= 255
        return dataclasses.replace(data, train=Split(images, data.train.labels))

    assert with_data(monkeypatch, one_pixel).model_digest != run(FAST).model_digest


# attacks


def test_an_attack_leaves_its_proof() -> None:
    record = run(FAST.but(**ATTACK, rounds=4))
    audit = record.audit
    assert len(audit.malicious) == 2
    assert [p.client for p in audit.poison] == list(audit.malicious)
    assert all((p.samples, p.poisoned, p.changed) == (50, 25, 25) for p in audit.poison)
    assert audit.malicious_per_round == tuple(
        len(set(cohort) & set(audit.malicious)) for cohort in audit.cohorts
    )
    assert record.model_digest != run(FAST.but(rounds=4)).model_digest
    assert record.asr is None


def test_a_targeted_attack_has_a_success_rate() -> None:
    attack = {"attack": "targetedflip", "source_class": 0, "target_class": 1}
    record = run(FAST.but(**{**ATTACK, **attack, "malicious_fraction": 1.0, "poison_ratio": 1.0}))
    assert record.asr is not None
    assert len(record.asr) == 3
    assert all(0 <= share <= 1 for share in record.asr)
    assert record.tail_asr == record.asr[-1]
    assert record.recall[-1][0] <= 1 - record.asr[-1]


def test_an_attack_that_changes_nothing_is_an_error() -> None:
    with pytest.raises(AttackError, match=r"poison_ratio=0\.001 rounds to 0 samples"):
        run(FAST.but(**{**ATTACK, "poison_ratio": 0.001}))


def test_malicious_clients_that_never_take_part_are_an_error() -> None:
    scenario = FAST.but(
        **{**ATTACK, "malicious_fraction": 0.17}, fraction_train=0.17, rounds=1, strategy="fedavg"
    )
    assert scenario.num_malicious == scenario.cohort_size == 1
    seeds = {True: [], False: []}
    for seed in range(40):
        federation = Federation.prepare(scenario, seed, None, CPU)
        seeds[federation.threat.malicious[0] in federation.cohort(1)].append(seed)
    assert seeds[True]
    assert seeds[False]
    with pytest.raises(AttackError, match="none of the 1 clients with changed labels takes part"):
        run(scenario, seed=seeds[False][0])
    assert run(scenario, seed=seeds[True][0]).audit.malicious_per_round == (1,)
