"""No correct run is refused by the identity check."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.exchange.cohort import ServerState
from fedcore.records.record import Identity
from fedcore.simulation.identity import IdentityCheck
from fedcore.simulation.runner import run
from fedcore.strategies.aggregation import Aggregation
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.averaging.fednova import FedNova
from tests.simulation.test_identity import NO_COUNTERS, OURS, UNEQUAL, of, sent, watch


def test_equal_work_is_no_error(monkeypatch) -> None:
    equal = UNEQUAL.but(local_epochs=1)
    assert run(equal).audit.identity == Identity(0, 0, 2)
    assert run(equal).model_digest == run(equal.but(strategy="fedavg")).model_digest
    monkeypatch.setattr(FedNova, "step", FedAvg.step)
    run(equal)


@pytest.mark.parametrize("lr", [1e-3, 1e-5, 1e-7, 1e-10])
def test_tiny_learning_rates_are_no_fraud(lr) -> None:
    run(UNEQUAL.but(lr=lr))


@pytest.mark.parametrize("iterations", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("bound", [1e-3, 0.05, 0.3, 1.0, 1e3])
def test_centered_clipping_whose_last_iteration_clips_nobody(iterations, bound) -> None:
    changes = {"aggregation_iterations": iterations, "norm_bound": bound}
    identity = run(of("centeredclipping", rounds=4, **changes)).audit.identity
    assert identity.rounds_checked == 4


@pytest.mark.parametrize("shrink", [0.05, 0.5, 1.0, 1.5, 1.9])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_fednova_whose_normalizers_have_settled(shrink, momentum) -> None:
    lr = 0.05
    changes = {"optimizer": "proximal", "mu": shrink / lr, "lr": lr, "momentum": momentum}
    scenario = of("fednova", local_epochs=(12, 40), batch_size=8, num_clients=4, **changes)
    run(scenario)


@pytest.mark.parametrize("strategy", ["normclipping", "centeredclipping"])
def test_a_clip_that_nobody_reaches_must_not_differ(strategy) -> None:
    scenario = of(strategy, norm_bound=1e3, norm="batch")
    identity = run(scenario).audit.identity
    assert identity.rounds_checked == 2
    assert identity.rounds_due == (0 if strategy == "normclipping" else identity.rounds_differing)


def values(draw, size: int, width: int, kind: str) -> np.ndarray:
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    rows = generator.standard_normal((size, width)) * draw(
        st.sampled_from([1e-30, 1e-8, 1e-3, 1.0, 1e4, 1e15, 1e30])
    )
    if kind == "equal":
        rows[:] = rows[0]
    elif kind == "close":
        rows = rows[:1] * (1 + 1e-7 * generator.standard_normal((size, width)))
    elif kind == "zeros":
        rows[generator.random(size) < 0.5] = 0
    elif kind == "huge":
        rows[0] *= 1e6
    elif kind == "broken":
        rows[generator.integers(size), generator.integers(width)] = draw(
            st.sampled_from([np.nan, np.inf, -np.inf])
        )
    elif kind == "opposite":
        rows[1::2] = -rows[0]
    elif kind == "integers":
        rows = generator.integers(-2, 3, (size, width)).astype(float)
    return rows


KINDS = ["normal", "equal", "close", "zeros", "huge", "broken", "opposite", "integers"]


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_correct_step_is_refused(name, data) -> None:
    """Whatever the cohort, its type, the weights that it meets, and the rounds before."""
    draw = data.draw
    least = {"bulyan": 7, "krum": 3, "multikrum": 3}.get(name, 1)  # as their scenarios ask for
    size = draw(st.sampled_from([size for size in (1, 2, 3, 4, 7, 8, 11, 20) if size >= least]))
    width = draw(st.sampled_from([1, 2, 5, 60, 700]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    changes = {
        "fedavgm": {"server_momentum": st.sampled_from([0.0, 0.5, 0.99]),
                    "server_lr": st.sampled_from([0.1, 1.0, 3.0])},
        "fednova": {"server_momentum": st.sampled_from([0.0, 0.9]),
                    "server_lr": st.sampled_from([0.5, 1.0])},
        "fedadam": {"tau": st.sampled_from([1e-9, 1e-3]), "beta_2": st.sampled_from([0.1, 0.99])},
        "fedyogi": {"tau": st.sampled_from([1e-9, 1e-3]), "beta_2": st.sampled_from([0.1, 0.99])},
        "normclipping": {"norm_bound": st.sampled_from([1e-9, 1e-2, 1.0, 1e9])},
        "centeredclipping": {"norm_bound": st.sampled_from([1e-9, 1e-2, 1.0, 1e9]),
                             "aggregation_iterations": st.sampled_from([1, 2, 9])},
        "rfa": {"aggregation_iterations": st.sampled_from([1, 3, 100]),
                "smoothing": st.sampled_from([1e-6, 0.5])},
        "trimmedmean": {"trim_fraction": st.sampled_from([0.05, 0.2, 0.49])},
    }.get(name, {})  # fmt: skip
    chosen = {key: draw(value) for key, value in changes.items()}
    federation = {"num_clients": 20, "fraction_train": 1.0}
    strategy = of(name, **federation, **chosen).parts.strategy
    equal = draw(st.booleans())
    samples = [5] * size if equal else [draw(st.integers(1, 500)) for _ in range(size)]
    steps = [4] * size if draw(st.booleans()) else [draw(st.integers(1, 90)) for _ in range(size)]
    start = torch.randn(width, dtype=torch.float64).to(dtype) * draw(
        st.sampled_from([0.0, 1e-6, 1.0, 1e4])
    )
    server = Aggregation(strategy, seed=draw(st.integers(0, 99)))
    check = IdentityCheck(server, UNEQUAL)
    state = ServerState(start, NO_COUNTERS)
    for round in range(1, draw(st.integers(1, 4)) + 1):
        rows = torch.from_numpy(values(draw, size, width, draw(st.sampled_from(KINDS)))).to(dtype)
        cohort = sent(rows, samples, steps)
        check.before(state, cohort, width, round)
        state = server.aggregate(state, cohort, width, round)
        if not bool(state.vector.isfinite().all()):
            break
        check.after(state)
    identity = check.verdict()
    assert identity.rounds_due == identity.rounds_differing


def test_bfloat16_steps_are_judged_by_their_own_rounding() -> None:
    rows = torch.randn(9, 500, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert watch(of("fedavg").parts.strategy, sent(rows), rows[0]).rounds_due == 0


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-4, 1.9), st.sampled_from([0.0, 0.3]), st.integers(1, 300), st.integers(1, 300),
    st.integers(0, 2**31),
)  # fmt: skip
def test_no_fednova_of_a_proximal_solver_is_refused(shrink, momentum, one, other, seed) -> None:
    """Normalizers that grow, have settled or swing; those of the solver, as in a run."""
    try:
        scenario = of("fednova", optimizer="proximal", lr=0.1, mu=10 * shrink, momentum=momentum)
    except ScenarioError:
        return  # a sum of coefficients vanishes
    strategy, solver = scenario.parts.strategy, scenario.parts.optimizer.solver(scenario)
    steps = [one, other, one]
    rows = torch.randn(3, 40, generator=torch.Generator().manual_seed(seed))
    cohort = sent(rows, steps=steps, normalizers=[solver.normalizer(s) for s in steps])
    identity = watch(strategy, cohort, torch.zeros(40), rounds=2, scenario=scenario)
    assert identity.rounds_checked == 2
    assert identity.rounds_due == identity.rounds_differing
