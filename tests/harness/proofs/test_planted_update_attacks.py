"""Bugs planted in each attack that makes up updates: its own audit turns the run red."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedcore import Scenario
from fedcore.attacks.updates.alie import Alie
from fedcore.attacks.updates.fangkrum import FangKrum
from fedcore.attacks.updates.fangtrim import FangTrim
from fedcore.attacks.updates.gaussian import Gaussian
from fedcore.attacks.updates.ipm import Ipm
from fedcore.attacks.updates.mimic import Mimic
from fedcore.attacks.updates.minmax import MinMax
from fedcore.attacks.updates.minsum import MinSum
from fedcore.attacks.updates.nonfinite import NonFinite
from fedcore.attacks.updates.optimalalie import OptimalAlie
from fedcore.attacks.updates.optimalipm import OptimalIpm
from fedcore.attacks.updates.scaled import Scaled
from fedcore.errors import FedcoreError
from fedcore.harness.proofs.audit import audit_problems
from fedcore.simulation import trial
from fedcore.simulation.runner import run
from tests.harness.proofs.planted import Patch, wrapped

BASE = Scenario(
    dataset="synthetic:140", model="mlp", num_clients=7, fraction_train=1.0, rounds=2,
    optimizer="sgd", malicious_fraction=0.43, attack=Ipm(), strategy="median", lr=0.1,
)  # fmt: skip
SHIFTED = [
    Alie(), Alie(z=1.5, divisor="n-1", sign="plus"), Alie(z=1.0, knows="own"),
    *(kind(direction=p) for kind in (MinMax, MinSum) for p in ("unit", "sign", "std")),
    MinMax(knows="own"), OptimalAlie(),
]  # fmt: skip
SCALED = [
    Ipm(), Ipm(knows="own"), Gaussian(), Gaussian(relative_length=2.0), Mimic(warmup=1), FangKrum(),
    FangKrum(knows="own"), OptimalIpm(), FangTrim(), FangTrim(stretched="updates"),
    FangTrim(knows="own"),
]  # fmt: skip
SEEING = [a for a in (*SHIFTED, *SCALED, Gaussian(relative_length=2.0, knows="benign"))
          if a.knows == "benign"]  # fmt: skip
ALL = [*SHIFTED, *SCALED, NonFinite(spoiled_share=0.1)]
ONE_EACH = [
    Alie(), MinMax(), MinSum(), OptimalAlie(), OptimalIpm(), Ipm(), Gaussian(), Mimic(), FangKrum(),
    FangTrim(), NonFinite(spoiled_share=0.1),
]  # fmt: skip
each = pytest.mark.parametrize("attack", ONE_EACH, ids=str)


def found(attack: Any) -> str:
    """What the run and its audit find, in one line."""
    try:
        record = run(BASE.but(attack=attack), 0, device="cpu")
    except FedcoreError as error:
        return str(error)
    return " | ".join(audit_problems(record))


def crafting(patch: Patch, attack: Any, around: Callable[[Any, Any, Any], torch.Tensor]) -> None:
    """``around`` (attack, what it sees, its own craft) gives what is sent."""
    crafted = type(attack).craft
    patch.setattr(type(attack), "craft", lambda self, seen: around(self, seen, crafted))


@pytest.mark.parametrize("attack", ALL, ids=str)
def test_nothing_planted_nothing_found(attack: Any) -> None:
    assert found(attack) == ""


@each
def test_what_was_trained_is_sent(monkeypatch: Patch, attack: Any) -> None:
    crafting(monkeypatch, attack, lambda self, seen, craft: seen.own)
    assert "sent every update of its 3 malicious clients as it was trained" in found(attack)


@each
def test_one_client_too_few(monkeypatch: Patch, attack: Any) -> None:
    def fewer(original: Any, threat: Any, honest: Any, *rest: Any) -> Any:
        sent = original(threat, honest, *rest)
        row = honest.clients.index(int(threat.malicious[-1]))
        updates = sent.updates.clone()
        updates[row] = honest.updates[row]
        return dataclasses.replace(sent, updates=updates)

    wrapped(monkeypatch, trial, "assaulted", fewer)
    assert "left an update of malicious client" in found(attack)


@pytest.mark.parametrize("attack", SEEING, ids=str)
def test_benign_updates_of_the_round_before(monkeypatch: Patch, attack: Any) -> None:
    last: list[Any] = []

    def stale(self: Any, seen: Any, craft: Any) -> torch.Tensor:
        last.append(seen.benign)
        return craft(self, dataclasses.replace(seen, benign=last[max(0, len(last) - 2)]))

    crafting(monkeypatch, attack, stale)
    assert "whose measure" in found(attack)


@pytest.mark.parametrize("attack", SHIFTED, ids=str)
def test_half_the_shift(monkeypatch: Patch, attack: Any) -> None:
    def half(self: Any, seen: Any, craft: Any) -> torch.Tensor:
        centre = seen.visible.mean(dim=0)
        return centre + (craft(self, seen) - centre) / 2

    crafting(monkeypatch, attack, half)
    assert "whose measure" in found(attack)


@pytest.mark.parametrize("attack", SCALED, ids=str)
def test_half_the_length(monkeypatch: Patch, attack: Any) -> None:
    crafting(monkeypatch, attack, lambda self, seen, craft: craft(self, seen) / 2)
    assert "whose measure" in found(attack)


@pytest.mark.parametrize("change", [{"spoiled_share": 0.05}, {"filler": "inf"}], ids=str)
def test_fewer_or_other_values_that_are_not_finite(monkeypatch: Patch, change: Any) -> None:
    attack = NonFinite(spoiled_share=0.1)
    other = dataclasses.replace(attack, **change)
    crafting(monkeypatch, attack, lambda self, seen, craft: craft(other, seen))
    assert "whose measure" in found(attack)


@pytest.mark.parametrize("attack", [Alie(), MinMax(), FangTrim(), FangKrum(), Ipm()], ids=str)
def test_own_updates_in_the_place_of_the_benign_ones(monkeypatch: Patch, attack: Any) -> None:
    def own(self: Any, seen: Any, craft: Any) -> torch.Tensor:
        return craft(self, dataclasses.replace(seen, benign=None))

    crafting(monkeypatch, attack, own)
    assert "whose measure" in found(attack)


@pytest.mark.parametrize(
    "attack", [Alie(), Ipm(), MinSum(), Mimic(), OptimalIpm(), FangTrim()], ids=str
)
def test_one_of_them_is_turned_round(monkeypatch: Patch, attack: Any) -> None:
    def last(self: Any, seen: Any, craft: Any) -> torch.Tensor:
        sent = craft(self, seen).clone()
        sent[-1] = -sent[-1]
        return sent

    crafting(monkeypatch, attack, last)
    assert "whose measure" in found(attack)


def test_another_client_is_mimicked_after_the_warm_up(monkeypatch: Patch) -> None:
    def restless(self: Any, seen: Any, craft: Any) -> torch.Tensor:
        assert seen.benign is not None
        return seen.benign[seen.round % 2].expand_as(seen.own)

    crafting(monkeypatch, Mimic(), restless)
    assert "whose measure 'strays' is 0 to 1" in found(Mimic(warmup=1))


def test_gaussian_noise_that_all_share(monkeypatch: Patch) -> None:
    def shared(self: Any, seen: Any, craft: Any) -> torch.Tensor:
        return craft(self, seen)[:1].expand_as(seen.own)

    crafting(monkeypatch, Gaussian(), shared)
    assert "whose measure 'same' is 1 to 1" in found(Gaussian())


@pytest.mark.parametrize("attack", [Ipm(), Alie(), Mimic(warmup=1), FangKrum()], ids=str)
def test_what_is_scaled_is_audited_too(monkeypatch: Patch, attack: Any) -> None:
    whole = Scaled(of=attack, gamma=3.0)
    assert found(whole) == ""
    crafting(monkeypatch, whole, lambda self, seen, craft: craft(self, seen) / 2)
    assert "whose measure" in found(whole)


def test_a_measure_that_nobody_takes(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Ipm, "measured", lambda self, sent: {})
    assert "has no measure 'off' of the updates of client" in found(Ipm())
