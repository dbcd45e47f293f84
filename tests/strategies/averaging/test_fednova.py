"""FedNova: against the paper, against FedAvg, and on a problem whose minimiser is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from fedcore.errors import ScenarioError
from fedcore.exchange.cohort import ServerState
from fedcore.optimizers.optimizer import Adam
from fedcore.optimizers.solvers import SgdSolver
from fedcore.scenario import Scenario
from fedcore.strategies.averaging.fedavg import FedAvg

NOVA = Scenario(strategy="fednova").parts.strategy
AVG = FedAvg()
MATRICES = stn.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 8)),
    elements=st.floats(-1e6, 1e6, width=32),
)


@given(MATRICES, st.floats(0.01, 500), st.data())
def test_equal_work_is_fedavg_bit_for_bit(cohort, matrix, work, data) -> None:
    size = len(matrix)
    samples = data.draw(st.lists(st.integers(1, 10**6), min_size=size, max_size=size))
    sent = cohort(torch.from_numpy(matrix), samples=samples, normalizers=[work] * size)
    assert torch.equal(NOVA.step(sent.updates, sent, {}), AVG.step(sent.updates, sent, {}))
    assert torch.equal(NOVA.coefficients(sent), sent.weights), "in float64 too"


@given(st.integers(0, 2**31), st.lists(st.integers(1, 100), min_size=2, max_size=6))
def test_unequal_work_is_not_fedavg(cohort, seed, work) -> None:
    if len(set(work)) == 1:
        work = [*work[:-1], work[-1] + 1]
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((len(work), 20)))
    sent = cohort(rows, normalizers=[float(a) for a in work])
    nova, avg = NOVA.step(rows, sent, {}), AVG.step(rows, sent, {})
    assert (nova - avg).norm() > 1e-4 * avg.norm()


def test_effective_steps_by_hand(cohort) -> None:
    """p = (1/2, 1/2), tau = (10, 100): tau_eff = 55, so c = (55/20, 55/200)."""
    sent = cohort([[1.0], [0.0]], normalizers=(10.0, 100.0))
    torch.testing.assert_close(
        NOVA.coefficients(sent), torch.tensor([2.75, 0.275], dtype=torch.float64)
    )
    # a unit gradient moves client i by tau_i: the server then moves by tau_eff
    sent = cohort([[10.0], [100.0]], normalizers=(10.0, 100.0))
    assert NOVA.step(sent.updates, sent, {}).item() == pytest.approx(55)


def test_weights_are_of_the_cohort_and_enter_the_effective_steps(cohort) -> None:
    """n = (30, 10): p = (3/4, 1/4), tau = (4, 8): tau_eff = 5, step = 5 (3/4 * 2/4 + 1/4 * 1/8)."""
    sent = cohort([[2.0], [1.0]], samples=(30, 10), normalizers=(4.0, 8.0))
    assert NOVA.step(sent.updates, sent, {}).item() == pytest.approx(5 * (0.375 + 0.03125))


def local_update(solver, start, curvature, centre, steps):
    """The update of a client with loss curvature / 2 (w - centre)^2."""
    weights = start.clone()
    solver.start(start)
    for _ in range(steps):
        solver.step(weights, curvature * (weights - centre))
    return weights - start


@pytest.mark.parametrize(
    "work",
    [
        {"optimizer": "sgd"},
        {"optimizer": "momentum", "momentum": 0.9},
        {"optimizer": "momentum", "momentum": 0.9, "nesterov": True},
        {"optimizer": "momentum", "momentum": 0.9, "dampening": 0.5},
        {"optimizer": "proximal", "mu": 1.0},
        {"optimizer": "proximal", "mu": 1.0, "momentum": 0.9},
    ],
    ids=lambda work: "-".join(str(v) for v in work.values()),
)
def test_quadratic_losses_with_unequal_work(cohort, work) -> None:
    """F = (3 (w + 1)^2 + (w - 3)^2) / 4: the minimiser is 0; FedAvg ends nearer to 3."""
    scenario = Scenario(strategy="fednova", lr=1e-5, **work)
    solver = scenario.parts.optimizer.solver(scenario)
    samples, centres, steps = (3, 1), (-1.0, 3.0), (3, 60)
    normalizers = [solver.normalizer(s) for s in steps]
    ends = {}
    for name, strategy in (("fednova", scenario.parts.strategy), ("fedavg", AVG)):
        place = torch.zeros(1, dtype=torch.float64) + 0.5
        for _ in range(20):
            updates = torch.stack(
                [
                    local_update(solver, place, 1.0, c, s)
                    for c, s in zip(centres, steps, strict=True)
                ]
            )
            sent = cohort(updates, samples=samples, normalizers=normalizers)
            # the step's zero, not the slow way there: a Newton step, the losses being quadratic
            step = strategy.step(updates, sent, {})
            shift = torch.stack(
                [
                    local_update(solver, place + 1, 1.0, c, s)
                    for c, s in zip(centres, steps, strict=True)
                ]
            )
            place = place - step / (strategy.step(shift, sent, {}) - step)
        ends[name] = place.item()
    a, b = normalizers
    biased = (3 * a * -1 + b * 3) / (3 * a + b)
    assert ends["fednova"] == pytest.approx(0, abs=0.02)
    assert ends["fedavg"] == pytest.approx(biased, abs=0.02)
    assert biased > 1


def test_plain_rounds_reach_the_minimiser(cohort) -> None:
    """The same without Newton: 400 rounds of SGD, as a server would run them."""
    scenario = Scenario(strategy="fednova", optimizer="sgd", lr=1e-3)
    solver = SgdSolver(scenario)
    state = ServerState(
        torch.full((1,), 2.0, dtype=torch.float64), torch.empty(0, dtype=torch.int64)
    )
    strategy = scenario.parts.strategy
    for _ in range(400):
        updates = torch.stack(
            [local_update(solver, state.vector, 1.0, c, s) for c, s in ((-1.0, 3), (3.0, 60))]
        )
        sent = cohort(updates, samples=(3, 1), normalizers=(3.0, 60.0))
        state = strategy.aggregate(state, sent, 1)
    assert state.vector.item() == pytest.approx(0, abs=0.03)


def test_server_momentum_persists_and_is_fedavgm_on_equal_work(cohort) -> None:
    changes = {"server_momentum": 0.9, "server_lr": 0.5}
    nova = Scenario(strategy="fednova", **changes).parts.strategy
    avgm = Scenario(strategy="fedavgm", **changes).parts.strategy
    zero = torch.zeros(1, dtype=torch.float64), torch.empty(0, dtype=torch.int64)
    states = {nova: ServerState(*zero), avgm: ServerState(*zero)}
    places = []
    for _ in range(3):
        sent = cohort([[1.0], [3.0]], normalizers=(7.0, 7.0))
        states = {s: s.aggregate(state, sent, 1) for s, state in states.items()}
        places.append(states[nova].vector.item())
        assert torch.equal(states[nova].vector, states[avgm].vector)
    # the mean is 2: v = 2, 3.8, 5.42; x += v / 2
    assert places == pytest.approx([1.0, 2.9, 5.61])


def test_adam_is_refused_with_the_reason() -> None:
    with pytest.raises(ScenarioError, match="optimizer='adam' has none: choose sgd, momentum or"):
        Scenario(strategy="fednova", optimizer="adam")


class Own(Adam):
    """Somebody else's optimizer, whose solver has no normalizer either."""


def test_so_is_an_optimizer_of_others_without_a_normalizer() -> None:
    with pytest.raises(ScenarioError, match="Own' has none: choose sgd, momentum or proximal"):
        Scenario(strategy="fednova", optimizer=Own())


PROXIMAL = Scenario(strategy="fednova", optimizer="proximal", lr=0.05, mu=0.1)


@pytest.mark.parametrize(
    ("shrink", "momentum", "epochs", "steps"),
    [
        (2.0, 0.0, 1, 2),  # 1, 0, 1, 0, ...
        (1.999, 0.0, 1, 2),  # 0.001
        (2.1, 0.0, 1, 2),  # -0.1
        (2.0, 0.0, 3, 6),  # steps are multiples of the epochs
        (2.0, 0.0, (3, 4), 4),
        (3.0, 0.9, 1, 2),  # 1, then 1 + (0.9 - 2) = -0.1
        (0.5, 0.99, 1, 8),  # momentum carries a client beyond its start
    ],
)
def test_a_sum_of_coefficients_that_vanishes_is_refused_with_the_rule(
    shrink, momentum, epochs, steps
) -> None:
    with pytest.raises(ScenarioError) as caught:
        PROXIMAL.but(mu=shrink / 0.05, momentum=momentum, local_epochs=epochs, num_clients=0)
    assert len(caught.value.problems) == 1, "fields come first"
    with pytest.raises(ScenarioError, match="must exceed 1% of the greatest") as caught:
        PROXIMAL.but(mu=shrink / 0.05, momentum=momentum, local_epochs=epochs)
    assert f"after {steps} local steps" in str(caught.value)
    PROXIMAL.but(mu=shrink / 0.05, momentum=momentum, local_epochs=epochs, strategy="fedavg")


@pytest.mark.parametrize("shrink", [1e-6, 0.01, 0.5, 1.0, 1.5, 1.9, 1.98])
def test_a_sum_that_stays_away_from_zero_is_accepted(shrink) -> None:
    PROXIMAL.but(mu=shrink / 0.05, local_epochs=(1, 5))
    PROXIMAL.but(mu=min(shrink, 1.0) / 0.05, momentum=0.5, local_epochs=(1, 5))


@pytest.mark.parametrize(
    "solver",
    [
        {"optimizer": "sgd"},
        {"optimizer": "momentum", "momentum": 0.999},
        {"optimizer": "momentum", "momentum": 0.5, "dampening": 1.0},
        {"optimizer": "momentum", "nesterov": True},
    ],
)
def test_without_a_proximal_term_no_sum_vanishes(solver) -> None:
    Scenario(strategy="fednova", lr=50.0, local_epochs=(1, 100), **solver)
