from __future__ import annotations

import pytest
import torch

from fedcore.errors import IdentityError
from fedcore.identity import IdentityCheck
from fedcore.record import Identity
from fedcore.scenario import Scenario
from fedcore.simulation import run
from fedcore.strategies.base import STRATEGIES, Cohort, ServerState
from fedcore.strategies.fedavg import FedAvg
from fedcore.strategies.fednova import FedNova

NO_COUNTERS = torch.empty(0, dtype=torch.int64)
DEFENCES = [
    "krum",
    "multikrum",
    "median",
    "trimmedmean",
    "bulyan",
    "rfa",
    "normclipping",
    "centeredclipping",
    "fedadam",
    "fedyogi",
]
TIGHT = {name: {"norm_bound": 1e-3} for name in ("normclipping", "centeredclipping")}
UNEQUAL = Scenario(
    dataset="synthetic:400",
    model="mlp",
    num_clients=4,
    fraction_train=1.0,
    rounds=2,
    local_epochs=(1, 3),
    strategy="fednova",
)


def cohort_of(updates, steps=(1, 3)) -> Cohort:
    rows = torch.tensor(updates, dtype=torch.float32)
    return Cohort((0, 1), rows, torch.empty(2, 0, dtype=torch.int64), (1, 3), steps, (1.0, 3.0))


def see(made, updates, *, due=True, start=0.0, steps=(1, 3)) -> Identity:
    before = ServerState(torch.full((2,), start), NO_COUNTERS)
    after = ServerState(before.vector + torch.tensor(made), NO_COUNTERS)
    check = IdentityCheck("fednova")
    check.see(due, before, after, cohort_of(updates, steps), 2)
    return check.verdict()


def test_a_step_like_fedavgs_is_caught_where_it_is_due() -> None:
    updates = [[4.0, 0.0], [0.0, 4.0]]  # weights 1/4, 3/4: FedAvg's step is (1, 3)
    with pytest.raises(IdentityError, match=r"'fednova' equals FedAvg's in 1 of the 1 rounds"):
        see([1.0, 3.0], updates)
    assert see([1.0, 3.0], updates, due=False) == Identity(0, 0, 1)
    assert see([1.0, 3.1], updates) == Identity(1, 1, 1)
    assert see([1.0, 3.1], updates, steps=(2, 2)) == Identity(1, 1, 0)


def test_where_nothing_can_be_told_nothing_is_due() -> None:
    assert see([0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]) == Identity(0, 0, 1)
    assert see([1.0, 3.0], [[1.0, 3.0], [1.0, 3.0]]) == Identity(0, 0, 1)


def test_the_rounding_of_large_weights_is_no_difference() -> None:
    updates = [[40.0, 0.0], [0.0, 40.0]]
    with pytest.raises(IdentityError):
        see([10.0, 30.0], updates, start=1e5)
    # differences below what the weights resolve cannot be judged
    tiny = [[4e-3, 0.0], [0.0, 4e-3]]
    assert see([1e-3, 3e-3], tiny, start=1e5) == Identity(0, 0, 1)


def test_fednova_passes_and_says_how_often_it_was_judged() -> None:
    identity = run(UNEQUAL).audit.identity
    assert identity == Identity(rounds_due=2, rounds_differing=2, rounds_unequal_work=2)


def test_an_arm_that_is_secretly_fedavg_fails(monkeypatch) -> None:
    monkeypatch.setattr(FedNova, "step", FedAvg.step)
    with pytest.raises(IdentityError, match="an arm named 'fednova' equals FedAvg's"):
        run(UNEQUAL)


def test_equal_work_is_no_error(monkeypatch) -> None:
    equal = UNEQUAL.but(local_epochs=1)
    assert run(equal).audit.identity == Identity(0, 0, 0)
    assert run(equal).model_digest == run(equal.but(strategy="fedavg")).model_digest
    monkeypatch.setattr(FedNova, "step", FedAvg.step)
    run(equal)


@pytest.mark.parametrize("lr", [1e-3, 1e-5, 1e-7, 1e-10])
def test_tiny_learning_rates_are_no_fraud(lr) -> None:
    run(UNEQUAL.but(lr=lr))


@pytest.mark.parametrize(
    ("strategy", "due"),
    [*((name, 2) for name in DEFENCES), ("fedavgm", 1)],
)
def test_every_defence_differs_from_fedavg(strategy, due) -> None:
    scenario = UNEQUAL.but(num_clients=7, strategy=strategy, **TIGHT.get(strategy, {}))
    assert run(scenario).audit.identity == Identity(due, due, 2)


@pytest.mark.parametrize("strategy", [*DEFENCES, "fedavgm"])
def test_a_defence_that_is_secretly_fedavg_fails(strategy, monkeypatch) -> None:
    monkeypatch.setattr(STRATEGIES[strategy], "step", FedAvg.step)
    if strategy == "fedavgm":  # so that the memory says that momentum is moving
        monkeypatch.setattr(STRATEGIES[strategy], "must_differ", lambda *_: True)
    with pytest.raises(IdentityError, match=f"an arm named '{strategy}' equals FedAvg's"):
        run(UNEQUAL.but(num_clients=7, strategy=strategy, **TIGHT.get(strategy, {})))


@pytest.mark.parametrize("strategy", ["normclipping", "centeredclipping"])
def test_a_clip_that_nobody_reaches_is_due_nothing(strategy) -> None:
    scenario = UNEQUAL.but(num_clients=7, strategy=strategy, norm_bound=1e3, norm="batch")
    assert run(scenario).audit.identity.rounds_due == 0


def test_beside_a_nan_a_finite_step_differs() -> None:
    assert see([1.0, 3.0], [[float("nan"), 0.0], [0.0, 4.0]]) == Identity(1, 1, 1)
