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

from docs.flower.arms import STOCK, own, own_names, stock
from docs.flower.forms import CLIENTS, ENVELOPES, FINITE, FORMS, TAKEN
from docs.flower.fuzz import outcomes
from docs.flower.hostile import clients, initial, model_after, table, verdict
from fedcore.flower.hardened import Hardened
from fedcore.flower.local import LocalGrid, quiet
from fedcore.flower.replies import ClientFacts, Reply, capped
from fedcore.flower.strategy import FedcoreStrategy
from fedcore.strategies.averaging.fedavgm import FedAvgM
from fedcore.strategies.strategy import STRATEGIES

OURS = own_names()
REFUSED = [form for form in FORMS if form not in ("honest", *FINITE, *TAKEN)]
#: What is refused before a strategy is asked is tried on few of them.
FEW, PARSED = ("fedavg", "fednova", "krum"), REFUSED[REFUSED.index("bool") :]
CASES = [(form, name) for form in REFUSED for name in (FEW if form in PARSED else OURS)]
ROBUST = {"median", "trimmedmean", "krum", "multikrum", "bulyan", "rfa"}
ROBUST |= {"caf", "cge", "dnc", "mda", "meamed", "medianofmeans", "monna", "signguard", "flame"}
BOUNDED = {"fedadam", "fedyogi"}  # a step of theirs is at most about server_lr, whatever came in
quiet()


def ours(name: str, known: Callable[[int], ClientFacts] | None = None) -> FedcoreStrategy:
    return own(name, known)()


def without(name: str) -> dict[str, np.ndarray]:
    """The model of the seven honest clients alone."""
    strategy = ours(name)
    strategy.sample = lambda round: tuple(range(CLIENTS - 1))
    made = model_after(strategy, "honest")
    assert made is not None
    return made


@pytest.mark.parametrize(("form", "name"), CASES)
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
    assert verdict(own(name), "3e38") == due


@pytest.mark.parametrize("form", ["var=1e30", "var=-1e3"])
@pytest.mark.parametrize("name", OURS)
def test_buffers_are_taken_by_the_rule_that_the_strategy_names(name: str, form: str) -> None:
    made, honest = model_after(ours(name), form), without(name)
    assert made is not None
    off = float(np.abs(made["running_var"] - honest["running_var"]).max())
    assert (off < 0.1) is (STRATEGIES[name].buffer_rule == "median")


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("form", TAKEN)
def test_what_is_taken_as_it_is_meant(form: str, name: str) -> None:
    """Other types and byte orders of the same numbers; a count that is capped at ten medians."""
    strategy = ours(name)
    assert model_after(strategy, form) is not None
    assert strategy.excluded == []
    weighs = form == "n=1e9" and name != "krum"  # ten of seventeen parts
    assert verdict(own(name), form) == ("captured" if weighs else "holds")


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("form", ENVELOPES)
def test_messages_of_another_form(form: str, name: str) -> None:
    strategy = ours(name)
    made = model_after(strategy, form)
    assert made is not None
    expected = model_after(ours(name), "honest") if form == "20 times" else without(name)
    if form == "20 times":  # the hostile one counts once
        assert strategy.excluded == []
        for key in ("weight", "bias"):
            assert float(np.abs(made[key] - expected[key]).max()) < 0.1
        return
    assert {e.client for e in strategy.excluded} == {CLIENTS - 1}
    for key, value in made.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def test_a_count_of_samples_weighs_ten_medians_at_most() -> None:
    """Seven clients of 10 samples move by +0.1, one that claims 1e9 by -0.1: it counts as 100."""
    made, honest = model_after(ours("fedavg"), "n=1e9"), without("fedavg")
    assert made is not None
    alone = model_after(ours("fedavg"), "honest")
    assert alone is not None
    hostile = 8 * alone["bias"] - 7 * honest["bias"]  # what the eighth sends when it is honest
    expected = (70 * honest["bias"] - 100 * hostile) / 170
    np.testing.assert_allclose(made["bias"], expected, rtol=1e-4)


def test_more_steps_than_ten_medians_are_refused() -> None:
    strategy = ours("fednova")
    model_after(strategy, "steps=1e5")
    ((client, reason),) = [(e.client, e.reason) for e in strategy.excluded]
    assert (client, reason) == (7, "normalizer must be about 100000, that of 100000 steps, got 2")
    replies = {n: Reply(torch.zeros(1), torch.zeros(0), ClientFacts(10, 2, 2.0)) for n in range(7)}
    replies[7] = Reply(torch.zeros(1), torch.zeros(0), ClientFacts(10, 21, 21.0))
    kept, left = capped(replies)
    assert (len(kept), left) == (7, {7: "says 21 steps, more than 10 times the median"})


def test_a_declared_maximum() -> None:
    strategy = ours("fedavg")
    strategy.max_examples = 9
    assert model_after(strategy, "honest") is None
    assert strategy.excluded[0].reason == "num-examples must be an integer in [1, 9], got 10"


def test_a_step_that_leaves_the_finite_numbers_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = ours("fedavgm")
    assert model_after(strategy, "honest") is not None
    kept = strategy._state.memory["momentum"].clone()

    def overflow(self: Any, updates: Any, cohort: Any, memory: Any) -> torch.Tensor:
        memory["momentum"] = torch.full_like(updates[0], torch.inf)
        return memory["momentum"]

    monkeypatch.setattr(FedAvgM, "step", overflow)
    assert model_after(strategy, "honest") is None
    assert torch.equal(strategy._state.memory["momentum"], kept)


MAKERS = {**{name: own(name) for name in FEW}, "Hardened": stock("FedAvg", Hardened)}


@pytest.mark.parametrize("name", MAKERS)
def test_random_replies_end_no_run(name: str) -> None:
    """All strategies, and more replies: python -m docs.flower.hostile --replies 10000."""
    found, problems = outcomes(MAKERS[name], 60)
    assert problems == []
    assert found["replies"] >= 60
    assert found["left out"] > 20


def test_a_type_that_is_let_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: dates and complex numbers reach the aggregation."""
    monkeypatch.setattr("fedcore.flower.numbers._KINDS", "fiucMm?")
    assert [problems for name in MAKERS for problems in outcomes(MAKERS[name], 100)[1]] != []


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
        if form not in (*FINITE, "n=1e9"):
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
