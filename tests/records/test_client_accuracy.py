from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario, run
from fedcore.harness.proofs.judge import training_problems
from fedcore.records.client_accuracy import Spread, client_accuracy, honest_spread, spread

LABELS = np.array([0, 0, 1, 1, 2, 2, 2, 0])


def test_by_hand() -> None:
    recall = (1.0, 0.5, 0.25)
    parts = [np.array([0, 1]), np.array([0, 2, 3, 4]), np.array([4, 5, 6]), np.array([], int)]
    # (1 + 1)/2; (1 + 2 * 0.5 + 0.25)/4; 0.25
    assert client_accuracy(recall, LABELS, parts) == (1.0, 0.5625, 0.25, None)


def test_samples_of_classes_without_test_images_do_not_count() -> None:
    parts = [np.array([0, 2, 4]), np.array([4, 5])]
    assert client_accuracy((1.0, 0.5, None), LABELS, parts) == (0.75, None)


@given(st.integers(0, 2**31))
def test_it_is_the_accuracy_on_a_test_set_in_the_shares_of_the_client(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = [rng.random(6) < 0.5 for _ in range(3)]  # six test images of each class
    recall = [float(hits.mean()) for hits in right]
    labels = rng.integers(0, 3, 12)
    counts = np.bincount(labels, minlength=3)
    # each test image of class y stands for as many samples as the client has of it
    scored = np.concatenate([np.tile(hits, counts[y]) for y, hits in enumerate(right)])
    (found,) = client_accuracy(recall, labels, [np.arange(12)])
    assert found == pytest.approx(scored.mean(), rel=1e-5)


def test_the_worst_tenth_is_the_mean_of_the_lowest_rounded_up() -> None:
    values = [0.9, 0.1, 0.5, 0.3, *[0.8] * 7]  # 11 clients: the worst two
    assert spread(values) == Spread(11, pytest.approx(7.4 / 11), pytest.approx(0.2))
    assert spread([*values[:10]]) == Spread(10, pytest.approx(0.66), 0.1)
    assert spread(values, left_out=(1, 2)) == Spread(9, pytest.approx(6.8 / 9), 0.3)
    assert spread([None, 0.4]) == Spread(1, 0.4, 0.4)
    assert spread([None]) is None


SMALL = Scenario(
    dataset="synthetic:400",
    model="mlp",
    num_clients=10,
    rounds=3,
    eval_every=2,
    lr=0.1,
    partition="pathological(classes_per_client=2, class_assignment='deterministic')",
    attack="labelflip",
    malicious_fraction=0.2,
    poison_ratio=1.0,
)


def test_a_run_has_that_of_its_final_model_with_the_labels_of_the_data_set() -> None:
    record = run(SMALL, 0, device="cpu")
    values, recall = record.audit.client_accuracy, record.recall[-1]
    # client i holds as many samples of class i as of class i + 1
    due = [(recall[c] + recall[(c + 1) % 10]) / 2 for c in range(10)]
    assert values == pytest.approx(due, rel=1e-5)
    assert training_problems(record) == []
    found = honest_spread(record)
    assert found is not None
    assert found.clients == 8
    honest = [v for c, v in enumerate(due) if c not in record.audit.malicious]
    assert (found.mean, found.worst) == pytest.approx((np.mean(honest), min(honest)), rel=1e-5)


def test_values_that_data_and_recalls_do_not_give_are_found() -> None:
    record = run(SMALL, 0, device="cpu")
    values = record.audit.client_accuracy
    swapped = (values[1], values[0], *values[2:])
    audit = dataclasses.replace(record.audit, client_accuracy=swapped)
    (problem,) = training_problems(dataclasses.replace(record, audit=audit))
    assert "gives client 0 an accuracy of" in problem
