"""Strategies and pre-aggregations of others: in today's form, and in that of before."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
import types

import pytest
import torch

from fedcore import Scenario, run
from fedcore.components import param
from fedcore.components.kinds import PREAGGREGATIONS, STRATEGIES
from fedcore.errors import FedcoreError, IdentityError, ScenarioError
from fedcore.strategies.preaggregation.preaggregation import PreAggregation
from fedcore.strategies.strategy import Strategy, combine

TINY = Scenario(
    dataset="synthetic:240",
    model="mlp",
    num_clients=6,
    fraction_train=1.0,
    rounds=2,
    optimizer="sgd",
    partition="dirichlet",
    alpha=0.5,
    min_partition_size=2,
)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries that forget what a test has registered."""
    for registry in (STRATEGIES, PREAGGREGATIONS):
        list(registry)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def scaled(name: str = "scaledavg") -> type[Strategy]:
    @STRATEGIES.register(name, "FedAvg, its step times a factor")
    class ScaledAvg(Strategy):
        factor: float = param("factor of the step", default=0.5, low=0, open_low=True)

        def step(self, updates, cohort, memory):
            return self.factor * combine(updates, cohort.weights)

        def must_differ(self, cohort, memory):
            return self.factor != 1.0

    return ScaledAvg


def test_a_strategy_with_a_parameter(fresh) -> None:
    cls = scaled()
    flat = TINY.but(strategy="scaledavg", factor=0.25)
    assert (
        flat == TINY.but(strategy="scaledavg(factor=0.25)") == TINY.but(strategy=cls(factor=0.25))
    )
    assert flat.factor == 0.25
    assert "factor0.25" in flat.id
    record = run(flat, device="cpu")
    assert record.audit.identity.rounds_differing == 2
    assert record.model_digest != run(TINY.but(strategy="scaledavg"), device="cpu").model_digest
    with pytest.raises(ScenarioError, match="factor must be > 0, got 0"):
        TINY.but(strategy="scaledavg", factor=0.0)
    with pytest.raises(ScenarioError, match="factr"):
        TINY.but(strategy="scaledavg", factr=0.5)
    server = run(flat.but(preaggregation="bucketing"), device="cpu")
    assert server.model_digest != record.model_digest


def test_a_strategy_that_is_fedavg_where_it_says_that_it_is_not(fresh, monkeypatch) -> None:
    monkeypatch.setattr(scaled(), "step", STRATEGIES["fedavg"].step)
    with pytest.raises(IdentityError, match="an arm named 'scaledavg' equals FedAvg's"):
        run(TINY.but(strategy="scaledavg"), device="cpu")


def test_the_form_of_before(fresh) -> None:
    @STRATEGIES.register("halfavg", "FedAvg with half the step", server_lr=0.5)
    class HalfAvg(Strategy):
        def step(self, updates, cohort, memory):
            seen = memory.setdefault("seen", torch.zeros(1))
            seen += 1
            return self.server_lr * combine(updates, cohort.weights)

    half = run(TINY.but(strategy="halfavg"), device="cpu")
    plain = run(TINY.but(strategy="halfavg", server_lr=1.0), device="cpu")
    assert plain.model_digest == run(TINY, device="cpu").model_digest
    assert half.model_digest != plain.model_digest
    with pytest.raises(ScenarioError, match="server_lr must be > 0"):
        TINY.but(strategy="halfavg", server_lr=0.0)
    with pytest.raises(FedcoreError, match="'momentun' is no parameter"):
        STRATEGIES.register("other", "", momentun=1.0)(type("O", (Strategy,), {}))


def test_a_subclass_of_ours_has_its_parameters_and_no_definition(fresh) -> None:
    @STRATEGIES.register("trimmore", "a trimmed mean that trims one more")
    class TrimMore(STRATEGIES["trimmedmean"]):  # type: ignore[name-defined,misc]
        more: int = param("how many more", default=1, low=0)

        def trimmed(self, clients):
            return super().trimmed(clients) + self.more

    scenario = TINY.but(strategy="trimmore", trim_fraction=0.2, more=1)
    assert scenario.parts.strategy.trimmed(6) == 2
    assert run(scenario, device="cpu").audit.identity.rounds_checked == 0


def noise() -> type[PreAggregation]:
    @PREAGGREGATIONS.register("signs", "every update as signs, of a length")
    class Signs(PreAggregation):
        keeps_clients = True
        length: float = param("of each coordinate", default=1e-3, low=0, open_low=True)

        def mix(self, updates, cohort, generator):
            return self.length * updates.sign(), cohort

        def must_differ(self, cohort):
            return True

    return Signs


def test_a_pre_aggregation_with_a_parameter(fresh) -> None:
    cls = noise()
    written = TINY.but(preaggregation="signs(length=0.01)")
    assert written == TINY.but(preaggregation=cls(length=0.01))
    record = run(written, device="cpu")
    assert record.audit.identity.rounds_differing == 2
    for strategy in ("median", "fednova"):  # rows stay those of one client each
        both = TINY.but(strategy=strategy, preaggregation="signs(length=0.01)")
        assert run(both, device="cpu").model_digest
    chain = TINY.but(strategy="median", preaggregation="bucketing, signs", num_clients=8)
    assert [str(step) for step in chain.parts.preaggregation] == ["bucketing", "signs"]
    assert run(chain, device="cpu").audit.identity.rounds_checked == 2


def test_a_pre_aggregation_that_does_nothing_where_it_says_that_it_must(fresh, monkeypatch) -> None:
    monkeypatch.setattr(noise(), "mix", lambda self, updates, cohort, generator: (updates, cohort))
    with pytest.raises(IdentityError, match="an arm named 'fedavg' equals FedAvg's where it must"):
        run(TINY.but(preaggregation="signs"), device="cpu")


def test_classes_of_a_module_are_named_by_their_path_and_pickled(fresh, monkeypatch) -> None:
    module = types.ModuleType("some_fl_rules")
    module.__dict__.update(PreAggregation=PreAggregation, param=param)
    monkeypatch.setitem(sys.modules, "some_fl_rules", module)
    exec(
        "class Halved(PreAggregation):\n"
        "    share: float = param('of each update', default=0.5, low=0, high=1)\n"
        "    def mix(self, updates, cohort, generator):\n"
        "        return self.share * updates, cohort\n",
        module.__dict__,
    )
    scenario = TINY.but(preaggregation="some_fl_rules:Halved(share=0.25)")
    copied = pickle.loads(pickle.dumps(scenario))
    assert copied == scenario
    assert copied.parts.preaggregation[0].share == 0.25
    assert run(copied, device="cpu").model_digest != run(TINY, device="cpu").model_digest


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"flower"}))
def test_every_strategy_is_a_value(name: str) -> None:
    """Frozen, equal to its equals, hashable, copied and pickled as itself."""
    cls = STRATEGIES[name]
    one, other = cls(), cls()
    assert one == other
    assert hash(one) == hash(other)
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.anything = 1  # type: ignore[attr-defined]
