"""Who is malicious, what was changed, and the proof of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import AttackError
from fedcore.federation.threat import Threat, malicious_clients
from fedcore.scenario import Scenario, round_half_up

CLASSES, CLIENTS = 5, 10
LABELS = np.random.default_rng(6).integers(0, CLASSES, 400)
# unequal clients: 4, 12, 20, ... samples
PARTS = np.split(np.random.default_rng(7).permutation(400), np.cumsum(np.arange(4, 76, 8))[:9])
RATIOS, SEEDS = st.floats(0.2, 1), st.integers(0, 1000)


def scenario(attack: str | None = "labelflip", ratio: float = 0.5, **fields: Any) -> Scenario:
    if attack is None:
        return Scenario(num_clients=CLIENTS)
    defaults = {"malicious_fraction": 0.4, "num_clients": CLIENTS}
    return Scenario(attack=attack, poison_ratio=ratio, **{**defaults, **fields})


def prepare(
    chosen: Scenario, seed: int = 0, labels: Any = LABELS, classes: int = CLASSES
) -> Threat:
    return Threat.prepare(chosen, seed, labels, PARTS, classes)


def test_the_study_has_fifteen_malicious_of_fifty() -> None:
    study = scenario(malicious_fraction=0.3, num_clients=50)
    clients = malicious_clients(study, 0)
    assert len(clients) == len(set(clients.tolist())) == 15
    assert clients.tolist() == sorted(clients.tolist())
    assert clients.dtype == np.int64
    assert clients.max() < 50
    assert np.array_equal(clients, malicious_clients(study, 0))
    assert not np.array_equal(clients, malicious_clients(study, 1))


@given(st.floats(0.1, 1), st.floats(0.1, 1), SEEDS)
def test_malicious_sets_are_nested(one: float, other: float, seed: int) -> None:
    few, many = sorted((one, other))
    inner = malicious_clients(scenario(malicious_fraction=few), seed)
    outer = malicious_clients(scenario(malicious_fraction=many), seed)
    assert set(inner.tolist()) <= set(outer.tolist())


@given(RATIOS, RATIOS, SEEDS, st.sampled_from(["labelflip", "pairflip"]))
def test_poisoned_samples_are_nested_with_the_same_labels(
    one: float, other: float, seed: int, attack: str
) -> None:
    few, many = sorted((one, other))
    inner, outer = (prepare(scenario(attack, ratio), seed).labels for ratio in (few, many))
    touched = inner != LABELS
    assert np.array_equal(inner[touched], outer[touched])


@given(RATIOS, SEEDS)
def test_counts_are_exact_and_the_rest_is_untouched(ratio: float, seed: int) -> None:
    threat = prepare(scenario(ratio=ratio), seed)
    malicious = malicious_clients(scenario(), seed).tolist()
    assert [poison.client for poison in threat.audit()] == malicious
    for poison in threat.audit():
        part = PARTS[poison.client]
        assert poison.samples == poison.eligible == len(part)
        assert poison.poisoned == poison.changed == round_half_up(ratio * len(part))
        assert poison.changed == (threat.labels[part] != LABELS[part]).sum()
        assert poison.draws == 1
    for client in set(range(CLIENTS)) - set(malicious):
        assert np.array_equal(threat.labels[PARTS[client]], LABELS[PARTS[client]])


def test_labels_of_a_client_are_its_part_of_all_labels_in_every_round() -> None:
    threat = prepare(scenario())
    for client in range(CLIENTS):
        for round in (1, 2):
            expected = threat.labels[PARTS[client]]
            assert np.array_equal(threat.labels_of(client, round), expected)


def test_no_attack_changes_nothing() -> None:
    threat = prepare(scenario(None))
    assert threat.audit() == ()
    assert np.array_equal(threat.labels, LABELS)
    assert not np.shares_memory(threat.labels, LABELS)
    assert np.array_equal(threat.labels_of(3, 1), LABELS[PARTS[3]])


def test_the_labels_given_are_left_alone() -> None:
    given_labels = LABELS.copy()
    assert not np.array_equal(prepare(scenario(), labels=given_labels).labels, LABELS)
    assert np.array_equal(given_labels, LABELS)


def test_targeted_flip_counts_samples_of_its_source_class() -> None:
    chosen = scenario("targetedflip", source_class=2, target_class=0, malicious_fraction=1.0)
    threat = prepare(chosen)
    touched = threat.labels != LABELS
    assert set(LABELS[touched]) == {2}
    assert set(threat.labels[touched]) == {0}
    for poison in threat.audit():
        assert poison.eligible == (LABELS[PARTS[poison.client]] == 2).sum()
        assert poison.changed == poison.poisoned == round_half_up(0.5 * poison.eligible)


def test_pair_flip_audit_shows_the_middle_class_of_an_odd_number() -> None:
    threat = prepare(scenario("pairflip", ratio=1.0))
    for poison in threat.audit():
        middle = int((LABELS[PARTS[poison.client]] == 2).sum())
        assert poison.changed == poison.poisoned - middle
    assert sum(p.changed for p in threat.audit()) < sum(p.poisoned for p in threat.audit())


def test_redraw_differs_by_round_and_repeats() -> None:
    threat, again = prepare(scenario(redraw=True)), prepare(scenario(redraw=True))
    client = int(threat.malicious[-1])
    first, second = threat.labels_of(client, 1), threat.labels_of(client, 2)
    assert not np.array_equal(first, second)
    assert np.array_equal(second, again.labels_of(client, 2))  # whatever was asked before
    clean = LABELS[PARTS[client]]
    assert (first != clean).sum() == (second != clean).sum() == round_half_up(0.5 * len(clean))
    assert np.array_equal(threat.labels, LABELS)
    benign = next(c for c in range(CLIENTS) if c not in threat.malicious)
    assert np.array_equal(threat.labels_of(benign, 1), LABELS[PARTS[benign]])


def test_redraw_audit_sums_over_the_participations() -> None:
    threat = prepare(scenario(redraw=True))
    client, idle = int(threat.malicious[0]), int(threat.malicious[1])
    for round in (1, 4, 4, 9):
        threat.labels_of(client, round)
    audit = {poison.client: poison for poison in threat.audit()}
    each = round_half_up(0.5 * len(PARTS[client]))
    assert (audit[client].draws, audit[client].poisoned, audit[client].changed) == (
        3,
        3 * each,
        3 * each,
    )
    assert audit[client].samples == audit[client].eligible == len(PARTS[client])
    assert (audit[idle].draws, audit[idle].poisoned) == (0, 0)
    assert audit[idle].samples == len(PARTS[idle])


def test_a_share_that_rounds_to_zero_on_one_client_is_recorded() -> None:
    audit = prepare(scenario(ratio=0.1, malicious_fraction=1.0)).audit()
    assert audit[0].samples == 4
    assert audit[0].poisoned == 0
    assert sum(poison.poisoned for poison in audit) > 0


@pytest.mark.parametrize("redraw", [False, True])
def test_a_ratio_that_rounds_to_zero_everywhere(redraw: bool) -> None:
    chosen = scenario(ratio=0.001, redraw=redraw)
    largest = max(len(PARTS[client]) for client in malicious_clients(chosen, 0))
    with pytest.raises(AttackError) as error:
        prepare(chosen)
    assert "poison_ratio=0.001 rounds to 0 samples on every one of 4" in str(error.value)
    assert f"(the largest has {largest} samples to poison): raise poison_ratio" in str(error.value)


@pytest.mark.parametrize("redraw", [False, True])
def test_labels_that_all_map_to_themselves(redraw: bool) -> None:
    middle = np.full(400, 2)
    with pytest.raises(AttackError, match=r"changed none of their labels .*choose another attack"):
        prepare(scenario("pairflip", redraw=redraw), labels=middle)


def test_no_sample_of_the_source_class() -> None:
    chosen = scenario("targetedflip", source_class=4, target_class=0)
    with pytest.raises(AttackError, match="no sample that it may poison on any of 4 malicious"):
        prepare(chosen, labels=LABELS % 4)


def test_a_data_set_that_the_attack_cannot_take() -> None:
    chosen = scenario("targetedflip", source_class=7, target_class=0)
    with pytest.raises(AttackError, match="got source_class=7 and 5 classes"):
        prepare(chosen)
    with pytest.raises(AttackError, match="at least 2 classes, got 1"):
        prepare(scenario(), labels=np.zeros(400, dtype=np.int64), classes=1)
