"""Durability: what is left of a backdoor in the rounds after the attack."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.suite.durability import Durability, durability
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

SCENARIO = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=6, fraction_train=1.0, rounds=6,
    malicious_fraction=0.34,
    attack="until(of=backdoor(target=1, poison_ratio=0.8, trigger=square(size=1)), last_round=3)",
)  # fmt: skip


@pytest.fixture(scope="module")
def record() -> Record:
    return run(SCENARIO, device="cpu")


@pytest.fixture(scope="module")
def twin() -> Record:
    return run(SCENARIO.clean_twin(), device="cpu")


def at(record: Record, *rates: float, rounds: tuple[int, ...] = (1, 2, 3, 4, 5, 6)) -> Record:
    return dataclasses.replace(record, asr=rates, rounds=rounds)


def test_a_backdoor_fades_when_its_clients_are_honest(record: Record, twin: Record) -> None:
    found = durability(record, twin)
    assert found.last_round == 3
    assert found.at_last == record.asr[2]  # type: ignore[index]
    assert found.base == twin.asr[2]  # type: ignore[index]
    assert found.after == tuple(zip((1, 2, 3), record.asr[3:], strict=True))  # type: ignore[index]
    assert found.rate(0) == found.at_last > found.rate(3)
    assert found.at_last > found.base


@pytest.mark.parametrize(
    ("rates", "half_life"),
    [
        ((0.1, 0.5, 0.8, 0.7, 0.4, 0.1), 2),  # half of 0.8, and no less
        ((0.1, 0.5, 0.8, 0.3, 0.9, 0.9), 1),  # the first time counts
        ((0.1, 0.5, 0.8, 0.8, 0.8, 0.41), None),
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0), None),  # nothing to lose
    ],
)
def test_half_lives_by_hand(record: Record, rates: Any, half_life: int | None) -> None:
    found = durability(at(record, *rates))
    after = tuple(zip((1, 2, 3), rates[3:], strict=True))
    assert found == Durability(3, rates[2], 0.0, after, half_life)


def test_a_twin_s_rate_is_no_success(record: Record, twin: Record) -> None:
    clean = at(twin, 0.1, 0.1, 0.2, 0.3, 0.3, 0.3)
    found = durability(at(record, 0.1, 0.5, 0.8, 0.65, 0.6, 0.6), clean)
    assert found.half_life == 2  # 0.6 above the twin at the end, 0.35 and 0.3 after it
    assert durability(at(record, 0.1, 0.5, 0.2, 0.1, 0.1, 0.1), clean).half_life is None


def test_only_evaluated_rounds_count(record: Record) -> None:
    found = durability(at(record, 0.6, 0.3, 0.2, rounds=(2, 4, 6)))
    assert found == Durability(2, 0.6, 0.0, ((2, 0.3), (4, 0.2)), 2)
    with pytest.raises(FedcoreError, match=r"3 rounds after the attack: .* 0, 2, 4"):
        found.rate(3)


def test_what_has_no_durability(record: Record, twin: Record) -> None:
    with pytest.raises(FedcoreError, match="measures no attack success rate"):
        durability(dataclasses.replace(record, asr=None))
    with pytest.raises(FedcoreError, match="measures no attack success rate"):
        durability(twin)
    endless = SCENARIO.but(attack="backdoor(target=1, poison_ratio=0.8)")
    with pytest.raises(FedcoreError, match=r"write until\(of=..., last_round=...\)"):
        durability(dataclasses.replace(record, scenario=endless))
    with pytest.raises(FedcoreError, match="is not the twin of"):
        durability(record, dataclasses.replace(twin, seed=1))
