"""Backdoor: a square in a corner, the target as label, and the probe set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.attack import Draw, Samples
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.triggers.square import CORNERS, Square
from fedcore.errors import AttackError, ScenarioError
from fedcore.federation.threat import Threat
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

IMAGES = np.random.default_rng(0).integers(0, 200, (6, 5, 7, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 1, 0, 2])


def test_a_square_by_hand() -> None:
    image = np.zeros((1, 3, 4, 1), np.uint8)
    stamped = Square(size=2, at="top-right", level=9).stamp(image)
    assert stamped[0, :, :, 0].tolist() == [[0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 0, 0]]
    assert image.sum() == 0
    assert Square(size=1).stamp(image)[0, 2, 3, 0] == 255


@given(st.sampled_from(CORNERS), st.integers(1, 5), st.integers(0, 255))
def test_a_square_changes_its_corner_and_nothing_else(at: str, size: int, level: int) -> None:
    stamped = Square(at=at, size=size, level=level).stamp(IMAGES)
    inside = (stamped == level).all(axis=(0, 3))
    assert inside.sum() == size * size
    rows, columns = np.nonzero(inside)
    assert (rows.min() == 0) == (at.startswith("top") or size == 5)
    assert (columns.min() == 0) == at.endswith("left")
    assert np.array_equal(stamped[:, ~inside], IMAGES[:, ~inside])


def test_poison_and_probe() -> None:
    attack = Backdoor(target=1, trigger=Square(size=2), poison_ratio=0.5)
    assert attack.eligible(LABELS).tolist() == [True, False, True, False, True, True]
    made = attack.poison(Samples(LABELS, IMAGES), Draw(3, 0, np.random.default_rng(0)))
    assert made.images is not None
    assert made.labels.tolist() == [1] * 6
    assert made.labels.dtype == np.int64
    assert (made.images[:, -2:, -2:] == 255).all()
    probe = attack.probe(Samples(LABELS, IMAGES))
    assert probe.labels.tolist() == [1] * 4  # those of the target class are no success
    assert np.array_equal(probe.images, Square(size=2).stamp(IMAGES[[0, 2, 4, 5]]))


def test_what_the_data_must_have() -> None:
    attack = Backdoor(target=3, trigger=Square(size=6))
    trigger, target = attack.data_problems(3, (5, 7, 3))
    assert trigger == "trigger square needs size <= the images' 5x7, got size=6"
    assert target == (
        "backdoor needs target < classes, got target=3 and 3 classes: choose one of 0 to 2"
    )
    with pytest.raises(AttackError, match="size <= the images' 8x8, got size=9"):
        run(scenario(trigger=Square(size=9)), device="cpu")


def scenario(**changes: Any) -> Scenario:
    attack = Backdoor(**{"target": 1, "poison_ratio": 0.5, **changes})
    return Scenario(
        dataset="synthetic:300", model="mlp", num_clients=6, fraction_train=1.0, rounds=3,
        attack=attack, malicious_fraction=0.5,
    )  # fmt: skip


def threat(ratio: float) -> Threat:
    images = np.random.default_rng(1).integers(0, 200, (60, 5, 7, 3)).astype(np.uint8)
    labels = np.arange(60) % 3
    parts = np.split(np.arange(60), 6)
    return Threat.prepare(
        scenario(poison_ratio=ratio), 0, labels, parts, 3, torch.from_numpy(images)
    )


@given(st.floats(0.2, 1), st.floats(0.2, 1))
def test_copies_are_nested_lie_behind_the_images_and_stand_for_their_originals(
    one: float, other: float
) -> None:
    few, many = (threat(ratio) for ratio in sorted((one, other)))
    assert few.copies is not None
    assert many.copies is not None
    for client, pool in few.pool.items():
        part, larger = few.parts[client], many.pool[client]
        places = np.flatnonzero(pool >= 60)
        assert set(places) <= set(np.flatnonzero(larger >= 60))
        assert np.array_equal(few.copies.origins[pool[places] - 60], part[places])
        pixels = few.copies.images[pool[places] - 60]
        assert np.array_equal(pixels, many.copies.images[larger[places] - 60])
        assert (few.labels[part[places]] == 1).all()
        rest = np.setdiff1d(np.arange(len(part)), places)
        assert np.array_equal(pool[rest], part[rest])
    benign = set(range(6)) - set(few.malicious.tolist())
    assert all(np.array_equal(few.samples_of(c, 1), few.parts[c]) for c in benign)


def test_the_audit_counts_images_and_labels() -> None:
    made = threat(0.5)
    for poison in made.audit():
        assert poison.samples - poison.eligible in (3, 4)  # of 10 samples, those of the target
        assert poison.images_changed == poison.changed == poison.poisoned
        assert len(poison.images) == 16


def test_success_is_measured_on_the_twin_too_and_an_attack_without_redraw_has_none() -> None:
    attacked = scenario()
    twin = attacked.clean_twin()
    assert twin.attack is None
    assert twin.clean_twin() is twin
    struck, calm = run(attacked, device="cpu"), run(twin, device="cpu")
    assert struck.asr is not None
    assert calm.asr is not None
    assert struck.tail_asr > calm.tail_asr
    with pytest.raises(ScenarioError, match="redraw"):
        attacked.but(redraw=True)


def test_twins_of_one_probe_are_one() -> None:
    twins = {scenario(poison_ratio=ratio).clean_twin() for ratio in (0.3, 0.5)}
    twins.add(scenario().but(attack="scaled(of=backdoor(target=1, poison_ratio=1.0))").clean_twin())
    assert len(twins) == 1
    assert scenario(target=2).clean_twin() not in twins


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_a_malicious_client_whose_samples_are_all_of_the_target(engine: str) -> None:
    skewed = scenario(target=3).but(
        partition="pathological", classes_per_client=1, allow_incomplete=True, num_clients=10,
        malicious_fraction=1.0,
    )  # fmt: skip
    record = run(skewed, device="cpu", engine=engine)
    assert 0 in [poison.eligible for poison in record.audit.poison]
    assert audit_problems(record) == training_problems(record) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_test_split_of_the_target_alone_leaves_nothing_to_probe(
    tmp_path: Path, processes: int
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (90, 8, 8)).astype(np.uint8)
    np.savez(
        tmp_path / "one.npz", train_images=images, train_labels=np.arange(90) % 3,
        test_images=255 - images[:12], test_labels=np.full(12, 1),
    )  # fmt: skip
    lone = scenario(target=1).but(dataset=f"npz:{tmp_path / 'one.npz'}")
    record = run(lone, device="cpu", processes=processes)
    assert record.asr is None
    assert audit_problems(record) == training_problems(record) == []
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    "attack",
    ["scaled(of=backdoor(poison_ratio=0.5), gamma=1e30)", "signflip(stretch=1e39)"],
)
def test_an_attack_that_leaves_the_finite_numbers(attack: str) -> None:
    wild = scenario().but(attack=attack)
    record = run(wild, device="cpu")
    assert record.diverged is not None
    assert audit_problems(record) == training_problems(record) == []
    assert Record.from_json(record.to_json(), scenario=wild) == record
