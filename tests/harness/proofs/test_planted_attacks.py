"""Bugs planted in attacks on images, updates and local work: each turns a cell red."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fedcore import Scenario
from fedcore.attacks.attack import Samples
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.triggers.square import Square
from fedcore.attacks.updates.scaled import Scaled
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.errors import AttackError, FedcoreError
from fedcore.exchange.updates import UpdateLog
from fedcore.federation import federation as federations
from fedcore.federation.threat import Threat
from fedcore.harness.statistics.estimates import CellVerdict
from fedcore.simulation import trial
from tests.attacks.examples import Opposed, Overtrain
from tests.harness.proofs.planted import Patch, judged, wrapped

CLEAN = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=8, fraction_train=1.0, rounds=3,
    strategy="fednova", optimizer="sgd", local_epochs=(1, 3),
)  # fmt: skip
BACKDOOR = Backdoor(target=3, poison_ratio=0.5)


def attacked(attack: Any) -> Scenario:
    return CLEAN.but(attack=attack, malicious_fraction=0.5)


def red(scenario: Scenario, **how: Any) -> str:
    try:
        outcome = judged(scenario, **how)
    except FedcoreError as error:  # the run itself is refused
        return str(error)
    assert outcome.verdict is CellVerdict.ERROR
    return " | ".join(outcome.errors)


@pytest.mark.parametrize(
    "attack",
    [BACKDOOR, SignFlip(stretch=2.0), Scaled(of=BACKDOOR, gamma=5.0), Overtrain(), Opposed()],
    ids=["backdoor", "signflip", "scaled", "overtrain", "opposed"],
)
@pytest.mark.parametrize("how", [{}, {"engine": "stacked"}, {"processes": 2}], ids=str)
def test_nothing_planted_nothing_found(attack: Any, how: dict[str, Any]) -> None:
    assert judged(attacked(attack), **how).errors == ()


def test_craft_that_returns_the_honest_update(monkeypatch: Patch) -> None:
    monkeypatch.setattr(SignFlip, "craft", lambda self, seen: seen.own)
    with pytest.raises(AttackError, match="malicious clients as it was trained"):
        judged(attacked(SignFlip()))


def test_craft_that_returns_the_honest_update_of_one_client(monkeypatch: Patch) -> None:
    def craft(self: Any, seen: Any) -> Any:
        return torch.cat((seen.own[:1], -seen.own[1:]))

    monkeypatch.setattr(SignFlip, "craft", craft)
    assert "left an update of malicious client" in red(attacked(SignFlip()))


def around_assault(patch: Patch, after: Callable[[Any, Any, Any], Any]) -> None:
    """``after`` (threat, honest cohort, sent cohort) gives what is sent instead."""

    def around(original: Any, threat: Any, cohort: Any, *rest: Any) -> Any:
        return after(threat, cohort, original(threat, cohort, *rest))

    wrapped(patch, trial, "assaulted", around)


def test_one_client_too_few_is_attacked(monkeypatch: Patch) -> None:
    def fewer(threat: Any, honest: Any, sent: Any) -> Any:
        row = honest.clients.index(int(threat.malicious[-1]))
        updates = sent.updates.clone()
        updates[row] = honest.updates[row]
        return dataclasses.replace(sent, updates=updates)

    around_assault(monkeypatch, fewer)
    client = int(Threat.prepare(attacked(SignFlip()), 0, *_nothing()).malicious[-1])
    assert f"left an update of malicious client {client} as it was" in red(attacked(SignFlip()))


def _nothing() -> tuple[Any, Any, int]:
    return np.zeros(8, np.int64), np.arange(8).reshape(8, 1), 10


def test_one_client_too_many_is_attacked(monkeypatch: Patch) -> None:
    def more(threat: Any, honest: Any, sent: Any) -> Any:
        benign = next(c for c in honest.clients if c not in threat.malicious)
        updates = sent.updates.clone()
        updates[honest.clients.index(benign)] *= -1
        return dataclasses.replace(sent, updates=updates)

    around_assault(monkeypatch, more)
    message = red(attacked(SignFlip()))
    assert "changed updates of clients [" in message
    assert "which are not malicious" in message


def test_benign_updates_of_the_round_before(monkeypatch: Patch) -> None:
    crafted, last = Opposed.craft, []

    def craft(self: Opposed, seen: Any) -> Any:
        last.append(seen.benign)
        return crafted(self, dataclasses.replace(seen, benign=last[max(0, len(last) - 2)]))

    monkeypatch.setattr(Opposed, "craft", craft)
    assert "whose benign cosine is" in red(attacked(Opposed()))


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (SignFlip(stretch=2.0), "whose measure 'off' is 0.5 to 0.5, the attack's is 0"),
        (Scaled(gamma=4.0), "whose measure 'off' is 2 to 2, the attack's is 0"),
    ],
    ids=["half the stretch", "scaled the wrong way"],
)
def test_another_length_or_direction(monkeypatch: Patch, attack: Any, message: str) -> None:
    monkeypatch.setattr(SignFlip, "craft", lambda self, seen: -seen.own)
    monkeypatch.setattr(Scaled, "craft", lambda self, seen: -4 * seen.own)
    assert message in red(attacked(attack))


def test_updates_that_nobody_audits(monkeypatch: Patch) -> None:
    monkeypatch.setattr(UpdateLog, "sent", lambda self, *rest: None)
    assert "has evidence of 0 of 3 attacked updates of client" in red(attacked(SignFlip()))


def corner(**changes: Any) -> Callable[[Square, Any], Any]:
    stamp = Square.stamp
    return lambda self, images: stamp(dataclasses.replace(self, **changes), images)


@pytest.mark.parametrize(
    "bug",
    [corner(size=2), corner(at="top-left"), corner(level=200)],
    ids=["other size", "other place", "other brightness"],
)
def test_another_trigger(monkeypatch: Patch, bug: Any) -> None:
    monkeypatch.setattr(Square, "stamp", bug)
    message = red(attacked(BACKDOOR))
    assert "other poisoned images of client" in message
    assert "was probed with another set than the triggered test images" in message


def test_no_trigger_at_all(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Square, "stamp", lambda self, images: images.copy())
    assert "changed none of their images" in red(attacked(BACKDOOR))


def test_a_trigger_on_every_second_image(monkeypatch: Patch) -> None:
    stamp = Square.stamp

    def half(self: Square, images: Any) -> Any:
        result = stamp(self, images)
        result[::2] = images[::2]
        return result

    monkeypatch.setattr(Square, "stamp", half)
    assert "other poisoned images of client" in red(attacked(BACKDOOR))


def test_a_probe_without_trigger(monkeypatch: Patch) -> None:
    def plain(self: Backdoor, test: Samples) -> Samples:
        others = test.labels != self.target
        labels = np.full(int(others.sum()), self.target, np.int64)
        assert test.images is not None
        return Samples(labels, test.images[others])

    monkeypatch.setattr(Backdoor, "probe", plain)
    message = red(attacked(BACKDOOR))
    assert "was probed with another set than the triggered test images" in message
    assert "poisoned images of client" not in message


def test_a_probe_that_counts_another_class(monkeypatch: Patch) -> None:
    probe = Backdoor.probe

    def other(self: Backdoor, test: Samples) -> Samples:
        return dataclasses.replace(found := probe(self, test), labels=found.labels - 1)

    monkeypatch.setattr(Backdoor, "probe", other)
    assert "was probed with another set" in red(attacked(BACKDOOR))


@pytest.mark.parametrize("how", [{}, {"engine": "stacked"}, {"processes": 2}], ids=str)
def test_the_network_is_probed_with_clean_images(monkeypatch: Patch, how: Any) -> None:
    def clean(self: Any) -> Any:
        if self.probe is None:
            return None
        others = self.test.labels != self.probe.labels[0]
        return type(self.test)(self.test.images[others], self.probe.labels)

    monkeypatch.setattr(federations.Federation, "probed", property(clean))
    assert "images and 0 labels that are not those of its probe set" in red(
        attacked(BACKDOOR), **how
    )


@pytest.mark.parametrize("how", [{}, {"engine": "stacked"}, {"processes": 2}], ids=str)
def test_poisoned_images_that_nobody_trains_on(monkeypatch: Patch, how: Any) -> None:
    monkeypatch.setattr(Threat, "samples_of", lambda self, client, round: self.parts[client])
    assert "trained on 0 of" in (message := red(attacked(BACKDOOR), **how))
    assert "poisoned images of client" in message


@pytest.mark.parametrize("how", [{}, {"engine": "stacked"}], ids=str)
def test_other_pixels_in_the_pool_than_were_poisoned(monkeypatch: Patch, how: Any) -> None:
    def blank(original: Any, clean: Any, images: Any, transform: Any) -> Any:
        return torch.zeros_like(original(clean, images, transform))

    wrapped(monkeypatch, federations, "_like", blank)
    assert "images that are not the training samples" in red(attacked(BACKDOOR), **how)


def test_copies_of_other_samples(monkeypatch: Patch) -> None:
    def shifted(original: Any, self: Threat, drawn: Any) -> Any:
        made = original(self, drawn)
        for own in made.pool.values():
            copies = own >= len(self.labels)
            own[copies] = np.roll(own[copies], 1)
        return made

    wrapped(monkeypatch, Threat, "_with_copies", shifted)
    assert "trained in another batch order" in red(attacked(BACKDOOR))


def test_local_work_that_is_not_attacked(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Threat, "local_work", lambda self, epochs, steps: (epochs, steps))
    assert "has local epochs" in red(attacked(Overtrain()))


def test_local_work_of_others_that_is_attacked_too(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Threat, "local_work", lambda self, epochs, steps: (3 * epochs, steps))
    assert "has local epochs" in red(attacked(Overtrain()))


def test_a_run_whose_updates_have_no_effect_on_the_model(monkeypatch: Patch) -> None:
    around_assault(monkeypatch, lambda threat, honest, sent: honest)
    monkeypatch.setattr(trial, "refuse_idle_updates", lambda federation, updates: None)
    monkeypatch.setattr("fedcore.harness.proofs.audit.update_problems", lambda record: [])
    monkeypatch.setattr(SignFlip, "audit_problems", lambda self, record: [])
    message = red(attacked(SignFlip()))
    assert "ends in its clean twin's model, bit for bit" in message
    assert "4 malicious clients attacked: what they did had no effect" in message
