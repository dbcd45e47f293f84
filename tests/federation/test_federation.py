from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fedcore.errors import ModelError, PartitionError
from fedcore.federation import federation as module
from fedcore.federation.federation import Federation
from fedcore.models.weights import weights_digest
from fedcore.records.provenance import CHANGED
from fedcore.scenario import Scenario

CPU = torch.device("cpu")
BASE = Scenario(dataset="synthetic:300", model="mlp", num_clients=10, fraction_train=0.4)
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}


def prepare(scenario: Scenario = BASE, seed: int = 0) -> Federation:
    return Federation.prepare(scenario, seed, Path(), CPU)


def test_cohorts_are_drawn_without_replacement_and_sorted() -> None:
    federation = prepare()
    for r in range(1, 50):
        cohort = federation.cohort(r)
        assert len(set(cohort)) == len(cohort) == BASE.cohort_size == 4
        assert list(cohort) == sorted(cohort)
        assert set(cohort) <= set(range(10))
    assert federation.cohort(7) == prepare().cohort(7), "a round does not depend on those before"
    assert len({federation.cohort(r) for r in range(1, 50)}) > 30


def test_weights_are_known_by_what_was_loaded(tmp_path, monkeypatch) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    scenario = BASE.but(model="resnet18", norm="batch", weights=str(file))
    built: list[bytes] = []

    def build(*_: object, replace: bytes | None = None, **__: object) -> torch.nn.Module:
        built.append(file.read_bytes())
        if replace is not None:
            file.write_bytes(replace)
        return torch.nn.Identity()

    monkeypatch.setattr(module, "build_model", build)
    federation = prepare(scenario)
    assert federation.weights == CHANGED  # nothing was loaded: no digest stands for that
    federation.initial_model()
    one = weights_digest(file)
    file.write_bytes(b"two")  # after they were loaded
    assert federation.weights == one
    federation.initial_model()
    assert federation.weights == CHANGED  # both were
    monkeypatch.setattr(module, "build_model", partial(build, replace=b"three"))
    with pytest.raises(ModelError, match=r"weights.pth changed while they were read: run again"):
        prepare(scenario).initial_model()
    assert prepare(BASE).weights is None


def test_every_client_is_drawn_equally_often() -> None:
    federation = prepare()
    counts = np.bincount([c for r in range(1, 1001) for c in federation.cohort(r)], minlength=10)
    assert counts.sum() == 4000
    # binomial: 400 with standard deviation 15.5
    assert (abs(counts - 400) < 65).all()


def test_seeds_differ_in_everything() -> None:
    one, two = prepare(seed=0), prepare(seed=1)
    assert [one.cohort(r) for r in range(1, 6)] != [two.cohort(r) for r in range(1, 6)]
    assert one.parts[0].tolist() != two.parts[0].tolist()


def test_epochs_are_fixed_per_client_and_span_the_range() -> None:
    scenario = BASE.but(num_clients=100, local_epochs=(2, 4))
    epochs = prepare(scenario).epochs
    assert set(epochs.tolist()) == {2, 3, 4}
    assert epochs.tolist() == prepare(scenario).epochs.tolist()
    assert epochs.tolist() != prepare(scenario, 1).epochs.tolist()
    assert prepare(BASE.but(local_epochs=3)).epochs.tolist() == [3] * 10


def test_twins_share_all_but_labels() -> None:
    clean, poisoned = prepare(), prepare(BASE.but(**ATTACK))
    assert all(np.array_equal(a, b) for a, b in zip(clean.parts, poisoned.parts, strict=True))
    assert [clean.cohort(r) for r in range(1, 20)] == [poisoned.cohort(r) for r in range(1, 20)]
    assert torch.equal(clean.train_images, poisoned.train_images)
    malicious = set(poisoned.threat.malicious.tolist())
    assert len(malicious) == 3
    for client in range(10):
        same = np.array_equal(
            clean.threat.labels_of(client, 1), poisoned.threat.labels_of(client, 1)
        )
        assert same is (client not in malicious)


def test_who_is_malicious_says_nothing_about_who_is_drawn() -> None:
    """Hypergeometric: 4 of 10 drawn, 3 malicious: mean 1.2, variance 0.56 a seed."""
    scenario = BASE.but(**ATTACK)
    present = [
        len(set(federation.cohort(1)) & set(federation.threat.malicious.tolist()))
        for federation in (prepare(scenario, seed) for seed in range(200))
    ]
    assert abs(np.mean(present) - 1.2) < 4 * (0.56 / 200) ** 0.5


def test_loaded_data_stay_as_they_were() -> None:
    before = prepare().dataset.train.labels.clone()
    prepare(BASE.but(**ATTACK))
    assert torch.equal(prepare().dataset.train.labels, before)


def test_clients_without_samples_are_never_drawn() -> None:
    scenario = BASE.but(
        dataset="synthetic:40",
        partition="dirichlet",
        alpha=0.1,
        min_partition_size=0,
        allow_incomplete=True,
        fraction_train=0.3,
    )
    federation = prepare(scenario)
    able = [c for c, part in enumerate(federation.parts) if len(part)]
    assert 3 < len(able) < 10
    drawn = {client for round in range(1, 40) for client in federation.cohort(round)}
    assert drawn == set(able)


def test_a_cohort_that_not_enough_clients_can_fill_is_refused() -> None:
    scenario = BASE.but(
        dataset="synthetic:10",
        partition="dirichlet",
        alpha=0.1,
        min_partition_size=0,
        allow_incomplete=True,
        fraction_train=1.0,
    )
    with pytest.raises(PartitionError, match="clients have samples, a cohort takes 10: lower"):
        prepare(scenario)


def test_batch_norm_refuses_a_client_with_one_sample() -> None:
    scenario = BASE.but(dataset="synthetic:10", norm="batch")
    with pytest.raises(PartitionError, match="single training sample cannot train BatchNorm"):
        prepare(scenario)
    single = scenario.but(dataset="synthetic:40", partition="quantity(sigma=3,smallest=1)")
    with pytest.raises(PartitionError, match="smallest of quantity"):
        prepare(single)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        (ATTACK, None),
        ({**ATTACK, "attack": "targetedflip", "source_class": 2, "target_class": 5}, (2, 5)),
    ],
)
def test_success_classes(changes, expected) -> None:
    assert prepare(BASE.but(**changes)).success_classes == expected
