"""DBA: parts that tile the trigger, one a client; the whole one is probed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.attack import Draw, Samples
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.data.dba import Dba, changes
from fedcore.attacks.trigger import Trigger
from fedcore.attacks.triggers.blended import Blended
from fedcore.attacks.triggers.patch import Patch
from fedcore.attacks.triggers.square import CORNERS, Square
from fedcore.errors import AttackError, ScenarioError
from fedcore.federation.threat import Threat, malicious_clients
from fedcore.harness.proofs.images import part_of
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

IMAGES = np.random.default_rng(0).integers(0, 200, (6, 8, 9, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 1, 0, 2])
TRIGGERS = st.one_of(
    st.builds(Square, size=st.integers(2, 8), at=st.sampled_from(CORNERS)),
    st.builds(Patch, size=st.integers(2, 4), row=st.integers(0, 4), column=st.integers(0, 5)),
    st.builds(Blended, pattern_seed=st.integers(0, 9)),
)


def parts(attack: Dba) -> list[Any]:
    made = []
    for place in range(attack.num_parts):
        draw = Draw(3, 0, np.random.default_rng(0), place=place)
        made.append(attack.poison(Samples(LABELS, IMAGES), draw))
    return made


def test_the_rows_of_the_default_square_are_its_parts() -> None:
    for place, made in enumerate(parts(Dba(target=1))):
        other = (made.images != IMAGES).any(axis=(0, 3))
        expected = np.zeros((8, 9), np.bool_)
        expected[4 + place, 5:] = True
        assert np.array_equal(other, expected)
        assert made.labels.tolist() == [1] * 6


@given(TRIGGERS, st.integers(2, 4))
def test_the_parts_tile_the_trigger(trigger: Trigger, number: int) -> None:
    attack = Dba(target=1, trigger=trigger, num_parts=number)
    cut = attack.cut(IMAGES.shape[1:])
    assert len(cut) == number
    sizes = [len(part) for part in cut]
    assert max(sizes) - min(sizes) <= 1
    pixels = np.concatenate(cut)
    assert len(pixels) == len(set(pixels.tolist()))  # no pixel twice
    assert np.array_equal(np.sort(pixels), np.flatnonzero(changes(trigger, IMAGES.shape[1:])))
    whole, union = trigger.stamp(IMAGES), IMAGES.copy()
    for place, made in enumerate(parts(attack)):
        assert np.array_equal(made.images, part_of(attack, IMAGES, place))
        flat, own = union.reshape(6, -1, 3), made.images.reshape(6, -1, 3)
        flat[:, cut[place]] = own[:, cut[place]]
    assert np.array_equal(union, whole)  # together they are the trigger


def test_more_clients_than_parts_begin_again() -> None:
    draw = Draw(3, 0, np.random.default_rng(0), place=6)
    made = Dba(num_parts=4).poison(Samples(LABELS, IMAGES), draw)
    assert np.array_equal(made.images, parts(Dba(num_parts=4))[2].images)


def scenario(**changes: Any) -> Scenario:
    fields = {"malicious_fraction": 0.5, "attack": Dba(target=1, poison_ratio=0.5), **changes}
    return Scenario(
        dataset="synthetic:300", model="mlp", num_clients=8, fraction_train=1.0, rounds=2, **fields
    )


def test_each_malicious_client_has_a_part_whatever_the_fraction() -> None:
    def images(chosen: Scenario) -> dict[int, str]:
        threat = Threat.prepare(chosen, 0, labels, np.split(order, 8), 3, pixels)
        return {poison.client: poison.images for poison in threat.audit()}

    import torch

    labels, order = np.arange(80) % 3, np.random.default_rng(3).permutation(80)
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 200, (80, 8, 8, 1))).byte()
    few, many = images(scenario()), images(scenario(malicious_fraction=1.0))
    assert few.items() <= many.items()  # a larger fraction adds clients and changes nobody's part
    assert set(few) == set(malicious_clients(scenario(), 0).tolist())


def test_the_probe_has_the_whole_trigger_and_the_twin_shares_it() -> None:
    attack, whole = Dba(target=1), Backdoor(target=1, trigger=Square(size=4))
    own, other = (a.probe(Samples(LABELS, IMAGES)) for a in (attack, whole))
    assert np.array_equal(own.images, other.images)
    record, twin = (run(s, device="cpu") for s in (scenario(), scenario().clean_twin()))
    assert record.asr is not None
    assert twin.asr is not None
    assert record.audit.training.probed == twin.audit.training.probed  # type: ignore[union-attr]


def test_what_it_refuses() -> None:
    with pytest.raises(ScenarioError, match="malicious clients >= num_parts, got 3 "):
        scenario(malicious_fraction=0.375)
    with pytest.raises(AttackError, match="num_parts=4 and 1 pixels"):
        run(scenario(attack=Dba(trigger=Square(size=1), poison_ratio=0.5)), device="cpu")
    with pytest.raises(AttackError, match="dba needs target < classes, got target=12"):
        run(scenario(attack=Dba(target=12, poison_ratio=0.5)), device="cpu")
