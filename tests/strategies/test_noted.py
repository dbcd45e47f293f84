"""What a step says of itself must be what it did: detection is made from it."""

from __future__ import annotations

import dataclasses

import pytest

from fedcore import Scenario, run
from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Memory, Noted
from fedcore.strategies.robust.bulyan import Bulyan
from fedcore.strategies.robust.centeredclipping import CenteredClipping
from fedcore.strategies.robust.krum import Krum
from fedcore.strategies.robust.multikrum import MultiKrum
from fedcore.strategies.robust.normclipping import NormClipping
from fedcore.strategies.robust.rfa import RFA
from fedcore.strategies.strategy import Strategy

SMALL = Scenario(
    dataset="synthetic:200", model="mlp", num_clients=7, fraction_train=1.0, rounds=2, lr=0.1
)


def turned(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    return (*coefficients[1:], coefficients[0])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Krum(), "it says that it chose row"),
        (MultiKrum(), "does not step by"),
        (Bulyan(num_byzantine=1), "does not step by"),
        (RFA(), "does not step by"),
        (NormClipping(norm_bound=0.05), "does not step by"),
        (CenteredClipping(norm_bound=0.05), "the coefficients that it names are not"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_coefficients_of_another_client_are_found(
    monkeypatch: pytest.MonkeyPatch, rule: Strategy, message: str
) -> None:
    kind = type(rule)
    step = kind.step

    def planted(self: Strategy, updates, cohort, memory):  # type: ignore[no-untyped-def]
        result = step(self, updates, cohort, memory)
        noted = Memory.of(memory).noted
        assert noted is not None
        memory.noted = dataclasses.replace(noted, coefficients=turned(noted.coefficients))
        return result

    scenario = SMALL.but(strategy=rule, partition="dirichlet(alpha=0.5, min_partition_size=5)")
    run(scenario, 0, device="cpu")
    monkeypatch.setattr(kind, "step", planted)
    with pytest.raises(IdentityError, match=message):
        run(scenario, 0, device="cpu")


def test_krum_that_says_it_chose_two_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Krum.step

    def planted(self: Krum, updates, cohort, memory):  # type: ignore[no-untyped-def]
        result = step(self, updates, cohort, memory)
        memory.noted = Noted((0.5, 0.5, *[0.0] * (len(updates) - 2)))
        return result

    monkeypatch.setattr(Krum, "step", planted)
    with pytest.raises(IdentityError, match="it says that it chose 2 of 7 updates, not one"):
        run(SMALL.but(strategy="krum"), 0, device="cpu")
