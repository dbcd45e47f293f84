"""One hostile reply neither ends nor captures a run: our strategies, and others within Hardened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

import numpy as np
import torch
from flwr.app import Array, ConfigRecord
from flwr.serverapp.strategy import FedAvg, FedMedian
from torch import nn

from docs.flower.hostile import (
    CLIENTS,
    FORMS,
    SHAPES,
    STOCK,
    clients,
    initial,
    model_after,
    table,
    verdict,
)
from fedcore.exchange.layout import Layout
from fedcore.flower.hardened import Hardened
from fedcore.flower.local import LocalGrid, quiet
from fedcore.flower.replies import ClientFacts
from fedcore.flower.strategy import FedcoreStrategy
from fedcore.scenario import Scenario
from fedcore.strategies.strategy import STRATEGIES

#: FLTrust needs more than Flower's own loop; what clients keep does not go over Flower.
OURS = [n for n in STRATEGIES if n not in ("flower", "fltrust", "scaffold", "feddyn")]
BAD = [form for form in FORMS if form != "honest"]
# finite, but far away: no check of forms can tell it from an update, only a robust rule can
FINITE = "3e38"
ROBUST = {"median", "trimmedmean", "krum", "multikrum", "bulyan", "rfa"}
ROBUST |= {"caf", "cge", "dnc", "mda", "meamed", "medianofmeans", "monna", "signguard", "flame"}
BOUNDED = {"fedadam", "fedyogi"}  # a step of theirs is at most about server_lr, whatever came in
EXTRA: dict[str, dict[str, Any]] = {"fedbn": {"norm": "batch"}}
quiet()


class Model(nn.Module):
    """The tensors of `docs.flower.hostile`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SHAPES["weight"]))
        self.bias = nn.Parameter(torch.zeros(SHAPES["bias"]))
        self.register_buffer("running_var", torch.zeros(SHAPES["running_var"]))
        self.register_buffer("steps", torch.tensor(5))


def ours(name: str, known: Callable[[int], ClientFacts] | None = None) -> FedcoreStrategy:
    scenario = Scenario(
        strategy=name,
        num_clients=CLIENTS,
        fraction_train=1.0,
        optimizer="sgd",
        **EXTRA.get(name, {}),
    )
    everyone = tuple(range(CLIENTS))
    return FedcoreStrategy(scenario, Layout.of(Model()), lambda round: everyone, known=known)


def without(name: str) -> dict[str, np.ndarray]:
    """The model of the seven honest clients alone."""
    strategy = ours(name)
    strategy.sample = lambda round: tuple(range(CLIENTS - 1))
    made = model_after(strategy, "honest")
    assert made is not None
    return made


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("form", [form for form in BAD if form not in (FINITE, "metric")])
def test_a_hostile_reply_is_as_if_it_had_not_come(name: str, form: str) -> None:
    # what it says of its work is checked against what the server knows, where it does
    strategy = ours(name, (lambda client: ClientFacts(10, 2, 2.0)) if form == "n=1e12" else None)
    made = model_after(strategy, form)
    ((round, client, reason),) = [(e.round, e.client, e.reason) for e in strategy.excluded]
    assert (round, client) == (1, CLIENTS - 1)
    assert reason
    assert made is not None
    expected = without(name)
    for key, value in made.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


@pytest.mark.parametrize("name", OURS)
def test_finite_values_are_for_robust_rules(name: str) -> None:
    due = "holds" if name in ROBUST | BOUNDED else "captured"
    assert verdict(lambda: ours(name), FINITE) == due


def test_metrics_that_nobody_reads_do_no_harm() -> None:
    strategy = ours("fedavg")
    assert model_after(strategy, "metric") is not None
    assert strategy.excluded == []


@pytest.mark.parametrize("wrapped", [False, True])
def test_too_few_left_is_a_round_that_changes_nothing(wrapped: bool) -> None:
    strategy = Hardened(FedMedian()) if wrapped else ours("krum")
    grid = LocalGrid(clients("honest"), CLIENTS)
    replies = grid.send_and_receive(strategy.configure_train(1, initial(), ConfigRecord(), grid))
    for reply in replies:
        (arrays,) = reply.content.array_records.values()
        arrays["bias"] = Array(np.full(3, np.nan, np.float32))
    assert strategy.aggregate_train(1, replies) == (None, None)
    assert len(strategy.excluded) == CLIENTS


def test_the_rule_for_a_smaller_cohort_is_the_scenarios_own() -> None:
    """Krum with f = 2 needs 7 clients; of 8, two invalid replies leave 6."""
    strategy = ours("krum")
    strategy.scenario = strategy.scenario.but(num_byzantine=2)
    grid = LocalGrid(clients("NaN"), CLIENTS)
    replies = grid.send_and_receive(strategy.configure_train(1, initial(), ConfigRecord(), grid))
    (arrays,) = replies[0].content.array_records.values()
    arrays["bias"] = Array(np.full(3, np.inf, np.float32))
    assert strategy.aggregate_train(1, replies) == (None, None)
    reasons = [e.reason for e in strategy.excluded]
    assert sum("too few valid replies: strategy 'krum' needs" in reason for reason in reasons) == 6


def test_second_answers_and_strangers_are_ignored() -> None:
    strategy = ours("fedavg")
    grid = LocalGrid(clients("honest"), CLIENTS)
    replies = grid.send_and_receive(strategy.configure_train(1, initial(), ConfigRecord(), grid))
    once = ours("fedavg")
    sent = once.configure_train(1, initial(), ConfigRecord(), grid)
    reference, _ = once.aggregate_train(1, grid.send_and_receive(sent))
    replies.append(replies[0])
    made, metrics = strategy.aggregate_train(1, replies[::-1])
    assert made == reference
    assert metrics == {"clients": 8, "num-examples": 80}


def test_a_count_that_the_server_knows_better_is_a_lie() -> None:
    strategy = ours("fedavg", lambda client: ClientFacts(10, 2, 2.0))
    grid = LocalGrid(clients("honest"), CLIENTS)
    replies = grid.send_and_receive(strategy.configure_train(1, initial(), ConfigRecord(), grid))
    (metrics,) = replies[3].content.metric_records.values()
    metrics["num-examples"] = 11
    strategy.aggregate_train(1, replies)
    assert [(e.client, e.reason) for e in strategy.excluded] == [
        (3, "says 11 examples in 2 steps, has 10 in 2")
    ]


def test_claiming_to_be_another_client() -> None:
    strategy = ours("fedavg")
    grid = LocalGrid(clients("honest"), CLIENTS)
    replies = grid.send_and_receive(strategy.configure_train(1, initial(), ConfigRecord(), grid))
    (metrics,) = replies[3].content.metric_records.values()
    metrics["client"] = 5
    strategy.aggregate_train(1, replies)
    assert [(e.client, e.reason) for e in strategy.excluded] == [(3, "claims to be client 5")]


# foreign strategies


@pytest.fixture(scope="module")
def hardened() -> list[list[str]]:
    return table(Hardened)


@pytest.mark.slow
def test_hardened_stock_strategies_hold(hardened: list[list[str]]) -> None:
    for form, *verdicts in hardened:
        if form != FINITE:
            assert set(verdicts) == {"holds"}, form


@pytest.mark.slow
def test_what_stock_strategies_do() -> None:
    """The findings that the wrapper is for; a change in Flower shows here."""
    found = {row[0]: dict(zip(STOCK, row[1:], strict=True)) for row in table()}
    assert found["NaN"]["FedAvg"] == "NaN"
    assert found["NaN"]["FedMedian"] == "NaN"
    assert found["extra"]["FedAvg"] == "ends"
    assert found["metric"]["FedAvg"] == "ends"
    assert found["(1,)"]["FedAvg"] == "holds", "it broadcasts silently"
    assert found["n=1e12"]["FedAvg"] == "captured"
    assert found["n=NaN"]["FedAvg"] == "NaN"
    assert found["int max"]["FedAvg"] == "captured"


def test_hardened_gives_arrays_back_in_the_types_that_were_sent() -> None:
    plain, wrapped = model_after(FedAvg(), "honest"), model_after(Hardened(FedAvg()), "honest")
    assert plain is not None
    assert wrapped is not None
    assert plain["steps"].dtype == np.float64
    assert wrapped["steps"].dtype == np.int64
    assert wrapped["steps"] == 7
    np.testing.assert_allclose(wrapped["weight"], plain["weight"], rtol=1e-6)


def test_hardened_leaves_a_strategys_own_mistakes_alone() -> None:
    class Broken(FedAvg):  # type: ignore[misc]
        def aggregate_train(self, server_round, replies):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model_after(Hardened(Broken()), "honest")
    assert model_after(Hardened(Broken()), "NaN") is None
