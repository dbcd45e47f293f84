"""Local solvers against torch.optim, and FedNova's normalizers against the recursion itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.optimizers.solvers import accumulated
from fedcore.scenario import Scenario


def build(optimizer, **changes):
    scenario = Scenario(optimizer=optimizer, **changes)
    return scenario.parts.optimizer.solver(scenario)


def unit_gradient_run(solver, steps: int) -> float:
    """Displacement over lr after ``steps`` steps on a constant unit gradient, by the solver."""
    start = torch.zeros(1, dtype=torch.float64)
    weights = start.clone()
    solver.start(start)
    for _ in range(steps):
        solver.step(weights, torch.full_like(weights, -1.0))
    return weights.item() / solver.lr


ORACLE = [
    ("sgd", {}, 20, 0),
    ("momentum", {"momentum": 0.9}, 120.94, 0.005),
    ("proximal", {"mu": 0.05}, 19.08, 0.005),
    ("proximal", {"mu": 0.05, "momentum": 0.9}, 103.5, 0.05),
    ("momentum", {"momentum": 0.9, "nesterov": True}, 128.8, 0.05),
    ("momentum", {"momentum": 0.9, "dampening": 0.5}, 64.9, 0.05),
]


@pytest.mark.parametrize(("optimizer", "changes", "expected", "digits"), ORACLE)
def test_normalizer_equals_the_published_and_the_derived_numbers(
    optimizer, changes, expected, digits
) -> None:
    solver = build(optimizer, lr=0.1, **changes)
    assert solver.normalizer(20) == pytest.approx(expected, abs=digits + 1e-9)
    assert unit_gradient_run(solver, 20) == pytest.approx(expected, abs=digits + 1e-9)


@given(st.integers(1, 200), st.floats(0.01, 0.99))
def test_momentum_has_the_closed_form_of_the_paper(steps, rho) -> None:
    closed = (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)
    solver = build("momentum", momentum=rho)
    assert solver.normalizer(steps) == pytest.approx(closed, rel=1e-9)


@given(st.integers(1, 200), st.floats(1e-3, 1.0), st.floats(1e-2, 0.9))
def test_proximal_has_the_closed_form_of_the_paper(steps, lr, mu) -> None:
    closed = (1 - (1 - lr * mu) ** steps) / (lr * mu)
    assert build("proximal", lr=lr, mu=mu).normalizer(steps) == pytest.approx(closed, rel=1e-9)


@given(
    st.integers(1, 60),
    st.floats(0, 0.99),
    st.floats(0, 1),
    st.floats(1e-3, 1.0),
    st.booleans(),
)
def test_normalizer_is_the_displacement_of_the_solver(steps, rho, damp, lr, nesterov) -> None:
    nesterov = nesterov and rho > 0
    solver = build(
        "proximal",
        lr=lr,
        mu=0.3,
        momentum=rho,
        dampening=0.0 if nesterov else damp,
        nesterov=nesterov,
    )
    assert unit_gradient_run(solver, steps) == pytest.approx(solver.normalizer(steps), rel=1e-9)


def test_normalizer_of_sgd_counts_steps_and_adam_has_none() -> None:
    assert [build("sgd").normalizer(s) for s in (1, 7, 300)] == [1, 7, 300]
    assert build("adam").normalizer(7) is None
    assert accumulated(0, 0.9, 0.0, False, 0.0) == 0


def trajectory(solver, start, gradients):
    weights, states = start.clone(), []
    solver.start(start)
    for gradient in gradients:
        solver.step(weights, gradient.clone())
        states.append(weights.clone())
    return torch.stack(states)


def torch_trajectory(make, start, gradients, mu=0.0):
    weights, states = start.clone().requires_grad_(), []
    optimizer = make([weights])
    for gradient in gradients:
        weights.grad = gradient + mu * (weights.detach() - start)
        optimizer.step()
        states.append(weights.detach().clone())
    return torch.stack(states)


SGD_CASES = [
    ("sgd", {}),
    ("momentum", {"momentum": 0.9}),
    ("momentum", {"momentum": 0.5, "nesterov": True}),
    ("momentum", {"momentum": 0.9, "dampening": 0.3}),
    ("proximal", {"mu": 0.7}),
    ("proximal", {"mu": 0.7, "momentum": 0.9}),
]


@pytest.mark.parametrize(("optimizer", "changes"), SGD_CASES)
@given(seed=st.integers(0, 2**31), lr=st.floats(1e-3, 1), decay=st.sampled_from([0.0, 1e-4, 0.1]))
def test_equals_sgd_of_torch(optimizer, changes, seed, lr, decay) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(6, dtype=torch.float64, generator=generator)
    gradients = torch.randn(8, 6, dtype=torch.float64, generator=generator)
    options = {key: value for key, value in changes.items() if key != "mu"}
    expected = torch_trajectory(
        lambda p: torch.optim.SGD(p, lr=lr, weight_decay=decay, **options),
        start,
        gradients,
        changes.get("mu", 0.0),
    )
    solver = build(optimizer, lr=lr, weight_decay=decay, **changes)
    made = trajectory(solver, start, gradients)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-12)


@given(seed=st.integers(0, 2**31), lr=st.floats(1e-4, 0.1), decay=st.sampled_from([0.0, 1e-2]))
def test_equals_adam_of_torch(seed, lr, decay) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(6, dtype=torch.float64, generator=generator)
    gradients = torch.randn(8, 6, dtype=torch.float64, generator=generator)
    expected = torch_trajectory(
        lambda p: torch.optim.Adam(p, lr=lr, weight_decay=decay), start, gradients
    )
    made = trajectory(build("adam", lr=lr, weight_decay=decay), start, gradients)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-12)


def test_proximal_without_a_term_is_sgd_in_the_limit() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(6, dtype=torch.float64, generator=generator)
    gradients = torch.randn(8, 6, dtype=torch.float64, generator=generator)
    sgd = trajectory(build("sgd", lr=0.1), start, gradients)
    gaps = [
        float((trajectory(build("proximal", lr=0.1, mu=mu), start, gradients) - sgd).norm())
        for mu in (1e-2, 1e-4, 1e-12)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(100, rel=0.05)
    assert gaps[2] < 1e-10


@pytest.mark.parametrize(("optimizer", "changes"), [*SGD_CASES, ("adam", {})])
def test_state_does_not_outlive_a_client(optimizer, changes) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, generator=generator)
    gradients = torch.randn(5, 6, generator=generator)
    used = build(optimizer, **changes)
    trajectory(used, first, gradients)
    again = trajectory(used, second, gradients)
    assert torch.equal(again, trajectory(build(optimizer, **changes), second, gradients))


@pytest.mark.parametrize(("optimizer", "changes"), [*SGD_CASES, ("adam", {})])
def test_steps_many_clients_as_it_steps_each(optimizer, changes) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 6, generator=generator)
    gradients = torch.randn(5, 3, 6, generator=generator)
    together = trajectory(build(optimizer, **changes), start, gradients)
    for row in range(3):
        alone = trajectory(build(optimizer, **changes), start[row], gradients[:, row])
        torch.testing.assert_close(together[:, row], alone)


@pytest.mark.parametrize(
    ("optimizer", "changes", "message"),
    [
        ("momentum", {"momentum": 0.0}, "with momentum=0 is 'sgd'"),
        ("momentum", {"nesterov": True, "dampening": 0.5}, "nesterov needs dampening=0, got 0.5"),
        ("proximal", {"mu": 0.1, "nesterov": True}, "nesterov needs momentum > 0"),
        ("proximal", {}, r"optimizer 'proximal' needs mu \(> 0\)"),
    ],
)
def test_combinations_without_a_meaning_are_refused(optimizer, changes, message) -> None:
    with pytest.raises(ScenarioError, match=message):
        Scenario(optimizer=optimizer, **changes)
