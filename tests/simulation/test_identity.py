"""The identity check: what it refuses, what it leaves alone, and what it costs."""

from __future__ import annotations

import pytest
import torch

from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.records.record import Identity
from fedcore.scenario import Scenario
from fedcore.simulation.identity import IdentityCheck
from fedcore.simulation.runner import run
from fedcore.strategies.aggregation import Aggregation
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.averaging.fednova import FedNova
from fedcore.strategies.strategy import STRATEGIES, Strategy

NO_COUNTERS = torch.empty(0, dtype=torch.int64)
OURS = sorted(set(STRATEGIES) - {"flower"})  # that one aggregates replies by rules of its own
LIKE_FEDAVG = ["fedavg", "fedbn", "fedprox"]
TIGHT = {name: {"norm_bound": 1e-3} for name in ("normclipping", "centeredclipping")}
EXTRA = {"fedbn": {"norm": "batch", "model": "cnn"}, **TIGHT}
UNEQUAL = Scenario(
    dataset="synthetic:400",
    model="mlp",
    num_clients=7,
    fraction_train=1.0,
    rounds=2,
    optimizer="sgd",
    local_epochs=(1, 3),
    strategy="fednova",
)


def of(strategy: str, **changes) -> Scenario:
    return UNEQUAL.but(strategy=strategy, **{**EXTRA.get(strategy, {}), **changes})


def sent(rows, samples=None, steps=None, normalizers=None) -> Cohort:
    updates = torch.as_tensor(rows)
    size = len(updates)
    steps = tuple(steps or [1 + i for i in range(size)])
    return Cohort(
        clients=tuple(range(size)),
        updates=updates,
        counters=torch.empty(size, 0, dtype=torch.int64),
        samples=tuple(samples or [1 + 2 * i for i in range(size)]),
        steps=steps,
        normalizers=tuple(normalizers or map(float, steps)),
        root=updates.mean(dim=0),
    )


def watch(
    strategy: Strategy, cohort: Cohort, start: torch.Tensor, rounds=1, scenario=UNEQUAL
) -> Identity:
    """The verdict on ``rounds`` rounds of ``strategy``, each from the model before."""
    size = cohort.updates.shape[1]
    check = IdentityCheck(Aggregation(strategy), scenario)
    state = ServerState(start, NO_COUNTERS)
    for round in range(1, rounds + 1):
        check.before(state, cohort, size, round)
        state = strategy.aggregate(state, cohort, size)
        if not bool(state.vector.isfinite().all()):
            break
        check.after(state)
    return check.verdict()


def stepping(name: str, step, **changes) -> Strategy:
    """A strategy ``name`` with its definition, whose step is ``step`` (updates, cohort, memory)."""
    right = of(name, **changes).parts.strategy
    body = {"step": lambda self, *given: step(*given), "definition": type(right).definition}
    return type(type(right).__name__, (type(right),), body)(**right.parameters())


SPREAD = torch.tensor([[4.0, 0.0, 1.0], [0.0, 4.0, 1.5], [-8.0, 2.0, 0.5]])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda u, c, m: u.mean(dim=0), "it equals the unweighted mean"),
        (lambda u, c, m: u.median(dim=0).values, "it equals the median of every coordinate"),
        (lambda u, c, m: 0.5 * (c.weights.float() @ u), r"it equals 0\.5 times that"),
        (lambda u, c, m: -1.1 * (c.weights.float() @ u), r"it equals -1\.1 times that"),
        (lambda u, c, m: torch.zeros(3), "it equals no step at all"),
        (lambda u, c, m: u.sum(dim=0), "it equals the sum of the updates, not their mean"),
        (lambda u, c, m: u[0], r"it is off by up to 8, where 4 is the greatest coordinate"),
    ],
)
def test_fedavg_is_held_to_the_weighted_mean_and_the_bug_is_named(step, message) -> None:
    expected = "strategy 'fedavg' does not step by the sample-weighted mean: " + message
    with pytest.raises(IdentityError, match=expected):
        watch(stepping("fedavg", step), sent(SPREAD), torch.zeros(3))


def test_a_bug_in_one_round_of_many_is_enough(monkeypatch) -> None:
    rightly, calls = FedAvg.step, []

    def sometimes(self, updates, cohort, memory):
        calls.append(1)
        return updates.mean(dim=0) if len(calls) == 4 else rightly(self, updates, cohort, memory)

    monkeypatch.setattr(FedAvg, "step", sometimes)
    with pytest.raises(IdentityError, match="in 1 of the 5 rounds that could be checked, first in"):
        run(of("fedavg", rounds=5, partition="dirichlet", alpha=0.3))


def test_a_bug_in_combine_that_large_cohorts_meet(monkeypatch) -> None:
    from fedcore.strategies import fedavg
    from fedcore.strategies import strategy as base

    def combine(rows, coefficients):
        return rows.mean(dim=0) if len(rows) > 5 else base.combine(rows, coefficients)

    monkeypatch.setattr(fedavg, "combine", combine)
    run(of("fedavg", num_clients=5, partition="dirichlet", alpha=0.3))
    with pytest.raises(IdentityError, match="mean: it equals the unweighted mean"):
        run(of("fedavg", num_clients=6, partition="dirichlet", alpha=0.3))


def test_wrong_weights_that_concern_one_layer_only(monkeypatch) -> None:
    rightly = FedAvg.step

    def last_layer(self, updates, cohort, memory):
        step = rightly(self, updates, cohort, memory)
        step[-10:] = updates[:, -10:].mean(dim=0)
        return step

    monkeypatch.setattr(FedAvg, "step", last_layer)
    with pytest.raises(IdentityError, match="'fedavg' does not step by"):
        run(of("fedavg", rounds=10, partition="dirichlet", alpha=0.3))


@pytest.mark.parametrize("strategy", OURS)
def test_every_strategy_is_what_it_says(strategy) -> None:
    identity = run(of(strategy)).audit.identity
    due = 0 if strategy in LIKE_FEDAVG else 1 if strategy == "fedavgm" else 2
    assert identity == Identity(due, due, rounds_checked=2)


@pytest.mark.parametrize("strategy", sorted(set(OURS) - {*LIKE_FEDAVG}))
def test_a_strategy_that_is_secretly_fedavg_fails(strategy, monkeypatch) -> None:
    monkeypatch.setattr(STRATEGIES[strategy], "step", FedAvg.step)
    named = "keeps no 'momentum'" if strategy == "fedavgm" else "equals FedAvg's"
    with pytest.raises(IdentityError, match=f"'{strategy}' {named}"):
        run(of(strategy))


@pytest.mark.parametrize("strategy", sorted(set(OURS) - {"krum", "multikrum"}))
def test_a_strategy_that_secretly_takes_one_client_fails(strategy, monkeypatch) -> None:
    monkeypatch.setattr(STRATEGIES[strategy], "step", lambda self, u, c, m: u[2].clone())
    with pytest.raises(IdentityError, match=f"'{strategy}'"):
        run(of(strategy))


@pytest.mark.parametrize("power", [0.5, 2.0, 0.0])
@pytest.mark.parametrize("solver", [{}, {"optimizer": "momentum", "momentum": 0.9}])
def test_normalizers_of_the_run_itself(monkeypatch, power, solver) -> None:
    from fedcore.optimizers.solvers import SgdSolver

    monkeypatch.setattr(SgdSolver, "normalizer", lambda self, steps: float(steps**power))
    with pytest.raises(IdentityError, match=r"'fednova'.*says normalizer") as caught:
        run(of("fednova", **solver))
    named = "(the square root of the steps)" in str(caught.value)
    assert named == (power == 0.5)


def test_fednova_by_square_roots_within_the_strategy(monkeypatch) -> None:
    def coefficients(cohort):
        roots = torch.tensor(cohort.steps, dtype=torch.float64).sqrt()
        return cohort.weights * (cohort.weights @ roots) / roots

    monkeypatch.setattr(FedNova, "coefficients", staticmethod(coefficients))
    expected = "tau_eff .*: it equals FedNova's by the square roots of the steps"
    with pytest.raises(IdentityError, match=expected):
        run(of("fednova"))


def test_fednova_that_is_fedavg_in_some_rounds(monkeypatch) -> None:
    rightly, calls = FedNova.step, []

    def mostly(self, updates, cohort, memory):
        calls.append(1)
        chosen = FedAvg.step if len(calls) % 5 in (1, 3) else rightly
        return chosen(self, updates, cohort, memory)

    monkeypatch.setattr(FedNova, "step", mostly)
    with pytest.raises(IdentityError, match=r"equals FedAvg's.*in 4 of the 10 rounds"):
        run(of("fednova", rounds=10))


@pytest.mark.parametrize("name", ["fedavgm", "fednova", "fedadam", "fedyogi", "centeredclipping"])
@pytest.mark.parametrize("loss", ["forgotten", "halved"])
def test_memory_that_is_lost_between_rounds(name, loss, monkeypatch) -> None:
    rightly = STRATEGIES[name].aggregate

    def aggregate(self, state, cohort, n):
        after = rightly(self, state, cohort, n)
        kept = {} if loss == "forgotten" else {k: v / 2 for k, v in after.memory.items()}
        return ServerState(after.vector, after.counters, kept)

    monkeypatch.setattr(STRATEGIES[name], "aggregate", aggregate)
    changes = {"server_momentum": 0.9} if name == "fednova" else {}
    message = "keeps no '" if loss == "forgotten" else "keeps another '"
    with pytest.raises(IdentityError, match=f"'{name}' {message}"):
        run(of(name, rounds=3, **changes))


@pytest.mark.parametrize("name", ["normclipping", "centeredclipping"])
def test_clipping_that_does_not_clip(name, monkeypatch) -> None:
    monkeypatch.setattr(
        f"fedcore.strategies.{name}.clip_factors", lambda norms, most: torch.ones_like(norms)
    )
    with pytest.raises(IdentityError, match=rf"'{name}'.*where norm_bound=0\.001 asks for"):
        run(of(name))


def test_rfa_that_weighs_as_fedavg_and_multikrum_of_one_too_many(monkeypatch) -> None:
    from fedcore.strategies.robust.multikrum import MultiKrum

    monkeypatch.setattr(
        "fedcore.strategies.robust.rfa.lengths", lambda u, p: torch.ones(len(u)).double()
    )
    with pytest.raises(IdentityError, match=r"'rfa'.*not in proportion to one over the distance"):
        run(of("rfa", rounds=4, partition="dirichlet", alpha=0.3))
    monkeypatch.undo()
    rightly = MultiKrum.selected
    monkeypatch.setattr(MultiKrum, "selected", lambda self, size: rightly(self, size) + 1)
    with pytest.raises(IdentityError, match=r"'multikrum'.*it chose 6 clients, not 5"):
        run(of("multikrum"))


def test_updates_that_a_step_changes_do_not_hide_it(monkeypatch) -> None:
    def halved(self, updates, cohort, memory):
        return cohort.weights.to(updates) @ updates.mul_(0.5)

    monkeypatch.setattr(FedAvg, "step", halved)
    with pytest.raises(IdentityError, match=r"it equals 0\.5 times that"):
        run(of("fedavg"))


def negated_in_place(updates, cohort, memory):
    return -cohort.weights.to(updates) @ updates.mul_(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("defined", [True, False])
def test_a_right_step_that_writes_into_the_updates_is_named(defined, dtype) -> None:
    strategy = stepping("fedavg", negated_in_place)
    if not defined:
        type(strategy).definition = None
    rows = SPREAD.to(dtype)
    reason = "writes into the updates that it is given: .* in 1 of the 1 rounds"
    with pytest.raises(IdentityError, match=reason):
        watch(strategy, sent(rows), torch.zeros(3).to(rows))


def test_a_write_where_only_a_few_coordinates_move_is_named() -> None:
    rows = torch.zeros(3, 200_000)
    rows[:, 150_001] = torch.arange(3.0)
    with pytest.raises(IdentityError, match="writes into the updates"):
        watch(stepping("fedavg", negated_in_place), sent(rows), torch.zeros(200_000))


# ---- what cannot be told, and strategies of others


def test_where_nothing_can_be_told_nothing_counts() -> None:
    median = of("median").parts.strategy
    assert watch(median, sent(torch.zeros(3, 2)), torch.zeros(2)) == Identity(0, 0, 0)
    assert watch(median, sent(torch.ones(3, 2)), torch.zeros(2)) == Identity(0, 0, 0)
    # differences below what the weights resolve
    tiny = 1e-3 * SPREAD
    assert watch(median, sent(tiny), torch.full((3,), 1e5)) == Identity(0, 0, 0)
    assert watch(median, sent(tiny), torch.zeros(3)) == Identity(1, 1, 1)
