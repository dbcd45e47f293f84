"""The identity check of pre-aggregation: planted bugs of a mix, and of the chain around it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.records.record import Identity
from fedcore.scenario import Scenario
from fedcore.simulation.identity import IdentityCheck
from fedcore.strategies.aggregation import Aggregation
from fedcore.strategies.preaggregation.bucketing import Bucketing
from fedcore.strategies.preaggregation.preaggregation import PreAggregation
from fedcore.strategies.strategy import STRATEGIES
from fedcore.streams import Purpose, torch_stream

CLIENTS, SIZE, ROUNDS = 15, 400, 4
#: FedNova, SCAFFOLD and FedDyn do not stand behind rows of several clients.
OURS = sorted(set(STRATEGIES) - {"flower", "fednova", "scaffold", "feddyn"})
BASE = Scenario(dataset="synthetic:400", model="mlp", num_clients=CLIENTS, fraction_train=1.0)
EXTRA = {
    "fedbn": {"norm": "batch", "model": "cnn"},
    "bulyan": {"num_byzantine": 1},
    "krum": {"num_byzantine": 1},
    "multikrum": {"num_byzantine": 1},
    "fedprox": {"optimizer": "sgd"},
}


def server(name: str, *chain: PreAggregation, seed: int = 3) -> Aggregation:
    scenario = BASE.but(strategy=name, **EXTRA.get(name, {}))
    return Aggregation(scenario.parts.strategy, chain, seed)


def rounds_of(generator: torch.Generator, dtype=torch.float32) -> Cohort:
    updates = torch.randn(CLIENTS, SIZE, generator=generator).to(dtype) * 0.1
    return Cohort(
        clients=tuple(range(CLIENTS)),
        updates=updates,
        root=updates.mean(dim=0),
        counters=torch.empty(CLIENTS, 0, dtype=torch.int64),
        samples=tuple(10 + 3 * i for i in range(CLIENTS)),
        steps=tuple(1 + i % 3 for i in range(CLIENTS)),
        normalizers=tuple(1.0 + i % 3 for i in range(CLIENTS)),
    )


def watch(
    right: Aggregation, at_work: Aggregation | None = None, rounds=ROUNDS, of=rounds_of
) -> Identity:
    """The verdict that ``right`` holds ``at_work`` to, over ``rounds`` rounds of random cohorts."""
    at_work = right if at_work is None else at_work
    generator = torch.Generator().manual_seed(0)
    check = IdentityCheck(right, BASE)
    state = ServerState(torch.randn(SIZE, generator=generator), torch.empty(0, dtype=torch.int64))
    for round in range(1, rounds + 1):
        cohort = of(generator)
        check.before(state, cohort, SIZE, round)
        state = at_work.aggregate(state, cohort, SIZE, round, check.mixed)
        if not bool(state.vector.isfinite().all()):
            break
        check.after(state)
    return check.verdict()


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "chain", [(Bucketing(),), (Bucketing(size=4),), (Bucketing(), Bucketing())], ids=str
)
def test_right_chains_in_front_of_every_strategy(name, chain) -> None:
    if name == "bulyan" and chain != (Bucketing(),):
        pytest.skip("too few rows")
    verdict = watch(server(name, *chain))
    assert verdict.rounds_checked == ROUNDS
    assert verdict.rounds_due == verdict.rounds_differing == ROUNDS  # unequal samples: not FedAvg


class Planted(Bucketing):
    """Bucketing whose mix is another: a subclass that claims the definition."""

    definition = Bucketing.definition


def planted(mix) -> PreAggregation:
    return type("Wrong", (Planted,), {"mix": mix, "definition": Bucketing.definition})()


def unmixed(self, updates, cohort, generator):
    rows, facts = Bucketing.mix(self, updates, cohort, generator)
    return updates[: len(rows)], facts


def sums(self, updates, cohort, generator):
    rows, facts = Bucketing.mix(self, updates, cohort, generator)
    return 2 * rows, facts


def in_order(self, updates, cohort, generator):
    buckets = range(0, len(updates), self.size)
    _, facts = Bucketing.mix(self, updates, cohort, generator)
    return torch.stack([updates[b : b + self.size].mean(dim=0) for b in buckets]), facts


def weighted(self, updates, cohort, generator):
    _, facts = Bucketing.mix(self, updates, cohort, generator)
    return Bucketing.mix(
        self,
        updates * len(updates) * cohort.weights[:, None].float(),
        cohort,
        torch_stream(3, Purpose.PREAGGREGATION, round=1, client=0),
    )[0], facts


def shortened(self, updates, cohort, generator):
    rows, facts = Bucketing.mix(self, updates, cohort, generator)
    rows[-1] /= self.size  # 1 / size of the last, smaller bucket
    return rows, facts


def same_weights(self, updates, cohort, generator):
    rows, facts = Bucketing.mix(self, updates, cohort, generator)
    return rows, dataclasses.replace(facts, samples=(1,) * len(rows))


def one_value(self, updates, cohort, generator):
    rows, facts = Bucketing.mix(self, updates, cohort, generator)
    rows[0, :] = rows[0] + 1e-4
    return rows, facts


@pytest.mark.parametrize("strategy", ["fedavg", "median", "rfa", "krum"])
@pytest.mark.parametrize(
    ("mix", "reason"),
    [
        (unmixed, "they are rows that it was given, unmixed"),
        (sums, "8 rows of 15 are off"),
        (in_order, "8 rows of 15 are off"),
        (weighted, "8 rows of 15 are off"),
        (shortened, "8 rows of 15 are off"),
        (one_value, "8 rows of 15 are off"),
        (same_weights, r"it gives its rows samples \[1, 1, 1, 1, 1, 1, 1, 1\] where \["),
    ],
)
def test_a_mix_that_is_another(strategy, mix, reason) -> None:
    right, wrong = server(strategy, Bucketing()), server(strategy, planted(mix))
    expected = rf"pre-aggregation .* not make the means of its round's random buckets: {reason}"
    with pytest.raises(IdentityError, match=expected):
        watch(right, wrong)


def test_buckets_of_another_size() -> None:
    with pytest.raises(IdentityError, match="it makes 5 rows where it must make 8"):
        watch(server("median", Bucketing()), server("median", Bucketing(size=3)))


def test_the_second_of_two_that_is_another() -> None:
    right, wrong = (Bucketing(), Bucketing()), (Bucketing(), planted(unmixed))
    with pytest.raises(IdentityError, match="they are rows that it was given, unmixed"):
        watch(server("median", *right), server("median", *wrong))


@pytest.mark.parametrize(
    ("shift", "reason"), [(1, "they are those of round 2"), (-1, "8 rows of 15 are off")]
)
def test_the_order_of_another_round(monkeypatch, shift, reason) -> None:
    def of_another(seed, purpose, *, round, client):
        return torch_stream(seed, purpose, round=round + shift, client=client)

    monkeypatch.setattr("fedcore.strategies.aggregation.torch_stream", of_another)
    with pytest.raises(IdentityError, match=f"the means of its round's random buckets: {reason}"):
        watch(server("median", Bucketing()))


@pytest.mark.parametrize("change", [{"seed": 4}, {"client": 1}])
def test_the_order_of_another_run_or_place(monkeypatch, change) -> None:
    def other(seed, purpose, **where):
        return torch_stream(**{"seed": seed, "purpose": purpose, **where, **change})

    monkeypatch.setattr("fedcore.strategies.aggregation.torch_stream", other)
    with pytest.raises(IdentityError, match="does not make the means of its round's"):
        watch(server("median", Bucketing()))


def test_a_chain_that_is_left_out() -> None:
    with pytest.raises(IdentityError, match=r"pre-aggregation .* was left out") as error:
        watch(server("median", Bucketing()), server("median"))
    assert "in 4 of the 4 rounds" in str(error.value)


def test_a_strategy_that_does_not_see_the_rows(monkeypatch) -> None:
    median = STRATEGIES["median"]
    rightly = median.aggregate

    def aggregate(self, state, cohort, num_parameters, rows=None):
        return rightly(self, state, cohort, num_parameters)

    monkeypatch.setattr(Aggregation, "__post_init__", lambda self: None)
    monkeypatch.setattr(median, "aggregate", aggregate)
    expected = "'median' does not step by .* it equals that on the updates as they were sent"
    with pytest.raises(IdentityError, match=expected):
        watch(server("median", Bucketing()))


def test_a_step_that_is_fedavgs_behind_a_chain(monkeypatch) -> None:
    fedavg = STRATEGIES["fedavg"]
    monkeypatch.setattr(STRATEGIES["median"], "step", fedavg.step)
    with pytest.raises(IdentityError, match="'median' does not step by the median"):
        watch(server("median", Bucketing()))


class Mine(PreAggregation):
    """Somebody else's: halves all updates, without a definition."""

    keeps_clients = True

    def mix(self, updates, cohort, generator):
        return updates / 2, cohort

    def must_differ(self, cohort):
        return True


class Idle(Mine):
    def mix(self, updates, cohort, generator):
        return updates, cohort


def test_somebody_elses_mix_must_differ_where_it_says_so() -> None:
    for name in ("fedavg", "median"):
        assert watch(server(name, Mine())).rounds_differing == ROUNDS
    assert watch(server("median", Idle())).rounds_differing == ROUNDS  # the median differs
    with pytest.raises(IdentityError, match="named 'fedavg' equals FedAvg's where it must not"):
        watch(server("fedavg", Idle()))


class InPlace(Mine):
    def mix(self, updates, cohort, generator):
        return updates.div_(2), cohort


def test_a_mix_that_writes_into_the_updates_is_named() -> None:
    with pytest.raises(IdentityError, match=r"pre-aggregation '.*InPlace.*' writes into the upda"):
        watch(server("median", InPlace()))
    with pytest.raises(IdentityError, match=r"pre-aggregation '.*InPlace.*' writes into the upda"):
        watch(server("median", Idle(), InPlace()))


def test_clients_that_are_not_finite_are_not_blamed_on_the_mix() -> None:
    def broken(generator):
        cohort = rounds_of(generator)
        cohort.updates[4, ::3] = float("nan")
        cohort.updates[5, ::2] = float("inf")
        return cohort

    assert watch(server("median", Bucketing()), of=broken).rounds_checked == ROUNDS


def test_clients_that_are_alike() -> None:
    def alike(generator):
        cohort = rounds_of(generator)
        return dataclasses.replace(cohort, updates=cohort.updates[:1].repeat(CLIENTS, 1))

    verdict = watch(server("median", Bucketing()), of=alike)
    assert (verdict.rounds_checked, verdict.rounds_due) == (0, 0)  # nothing can be told apart
