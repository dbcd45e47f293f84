"""What foreign components give wrong is refused, and data that all runs share stay whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedcore import Scenario
from fedcore.attacks.attack import Attack, UpdateAttack
from fedcore.console import summary
from fedcore.data.loading import load
from fedcore.errors import AttackError, ModelError, PartitionError, ScenarioError
from fedcore.federation.clients import partition
from fedcore.models.architecture import Architecture
from fedcore.partition.partitioner import Partitioner
from fedcore.simulation.runner import run

BASE = Scenario(dataset="synthetic:200", model="mlp", num_clients=4, fraction_train=1.0, rounds=1)
LABELS = np.zeros(12, np.int64)


class Writes(Partitioner):
    def split(self, labels, num_clients, generator):
        labels[:] = 0
        return [np.arange(len(labels))[client::num_clients] for client in range(num_clients)]


class WritesProbe(UpdateAttack):
    def craft(self, seen):
        return -seen.own

    def probe(self, test):
        test.labels[:] = 0
        return test


class Gives(Partitioner):
    given = None

    def split(self, labels, num_clients, generator):
        return type(self).given


class Nothing(UpdateAttack):
    def craft(self, seen):
        return None


class Strength(Attack):
    def craft(self, seen):
        return -seen.own


class Outputs(Architecture):
    made = None

    def build(self, *, num_classes, channels, size, norm, weights):
        return type(self).made


@pytest.mark.parametrize(
    "change",
    [{"partition": Writes()}, {"attack": WritesProbe(), "malicious_fraction": 0.5}],
    ids=["partition", "probe"],
)
def test_what_writes_into_shared_data_ends_and_changes_nothing(change) -> None:
    before = run(BASE, seed=0, device="cpu").model_digest
    digest = load(BASE.dataset).train.labels.clone(), load(BASE.dataset).test.labels.clone()
    with pytest.raises(ValueError, match="read-only"):
        run(BASE.but(**change), seed=0, device="cpu")
    assert torch.equal(load(BASE.dataset).train.labels, digest[0])
    assert torch.equal(load(BASE.dataset).test.labels, digest[1])
    assert run(BASE, seed=0, device="cpu").model_digest == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([np.arange(6), np.arange(6, 12)], "must give 4 clients, got 2"),
        ([np.arange(3)] * 3 + [np.array([1.5])], r"client 3 has float64 of shape \(1,\)"),
        ([np.arange(3)] * 3 + [np.array([[1]])], r"client 3 has int64 of shape \(1, 1\)"),
        ([np.arange(3)] * 3 + [np.array([12])], r"places in \[0, 12\), client 3 has 12 to 12"),
        ([np.arange(3)] * 3 + [np.array([-1])], r"places in \[0, 12\), client 3 has -1 to -1"),
    ],
)
def test_what_a_partitioner_gives_wrong(monkeypatch, given, message) -> None:
    monkeypatch.setattr(Gives, "given", given)
    with pytest.raises(PartitionError, match=message):
        partition(BASE.but(partition=Gives()), LABELS, 2, seed=0)


def test_lists_of_places_are_taken(monkeypatch) -> None:
    lists = [np.arange(12)[client::4].tolist() for client in range(4)]
    monkeypatch.setattr(Gives, "given", lists)
    parts = partition(BASE.but(partition=Gives()), LABELS, 1, seed=0)
    assert [part.tolist() for part in parts] == lists
    assert {part.dtype for part in parts} == {np.dtype(np.int64)}


def test_an_attack_that_sends_nothing() -> None:
    with pytest.raises(AttackError, match="must send a tensor, got NoneType"):
        run(BASE.but(attack=Nothing(), malicious_fraction=0.5), seed=0, device="cpu")


@pytest.mark.parametrize("attack", [Attack(), Strength()], ids=["base", "without a place"])
def test_an_attack_that_acts_nowhere_is_refused(attack) -> None:
    with pytest.raises(ScenarioError, match="acts nowhere, as it has no data, work or update"):
        BASE.but(attack=attack, malicious_fraction=0.5)


class Guesses(UpdateAttack):
    knows = "begnin"

    def craft(self, seen):
        return -seen.own


def test_what_an_attack_knows_is_one_of_two() -> None:
    with pytest.raises(ScenarioError, match="knows 'own' or 'benign' updates, got 'begnin'"):
        BASE.but(attack=Guesses(), malicious_fraction=0.5)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, r"must build a torch\.nn\.Module, got NoneType"),
        (
            nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
            r"must give logits of shape \(\d+, \d+\) for \d+ images, got \(\d+, 3\)",
        ),
    ],
)
def test_what_a_model_gives_wrong(monkeypatch, made, message) -> None:
    if made is not None:
        made(torch.zeros(2, *load(BASE.dataset).train.images[0].permute(2, 0, 1).shape))
    monkeypatch.setattr(Outputs, "made", made)
    with pytest.raises(ModelError, match=message):
        run(BASE.but(model=Outputs()), seed=0, device="cpu")


class SendsItsOwn(UpdateAttack):
    def craft(self, seen):
        return seen.own


def test_an_attack_that_changes_no_update_is_refused() -> None:
    with pytest.raises(AttackError, match="sent every update of its 2 malicious clients as it was"):
        run(BASE.but(attack=SendsItsOwn(), malicious_fraction=0.5), seed=0, device="cpu")


class SendsOneOwn(UpdateAttack):
    def craft(self, seen):
        return torch.cat((seen.own[:1], -seen.own[1:]))


def test_updates_that_were_not_changed_are_not_counted() -> None:
    for attack, changed in ((SendsOneOwn(), 1), ("signflip", 2)):
        record = run(BASE.but(attack=attack, malicious_fraction=0.5), seed=0, device="cpu")
        assert f"{changed} updates changed" in summary(record)
