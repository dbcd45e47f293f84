from __future__ import annotations

import pytest

from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

TINY = Scenario(dataset="synthetic:200", model="mlp", num_clients=4, rounds=2, local_epochs=2)


@pytest.mark.parametrize(("local", "momentum"), [("sgd", 0.0), ("momentum", 0.9)])
def test_is_fedavg_with_proximal_clients_bit_for_bit(local, momentum) -> None:
    prox = run(TINY.but(strategy="fedprox", optimizer=local, mu=0.5))
    avg = run(TINY.but(optimizer="proximal", mu=0.5, momentum=momentum))
    assert prox.model_digest == avg.model_digest
    assert prox.accuracy == avg.accuracy
    assert prox.model_digest != run(TINY.but(optimizer=local)).model_digest


def test_without_a_term_it_tends_to_fedavg() -> None:
    losses = [run(TINY.but(strategy="fedprox", mu=mu)).loss[-1] for mu in (1.0, 1e-3, 1e-9)]
    plain = run(TINY).loss[-1]
    gaps = [abs(loss - plain) for loss in losses]
    assert gaps[0] > 10 * gaps[1]
    assert gaps[2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("optimizer", [{"optimizer": "adam"}, {"optimizer": "proximal", "mu": 0.1}])
def test_refuses_solvers_that_take_no_term_of_its_own(optimizer) -> None:
    with pytest.raises(ScenarioError, match="adds the proximal term to optimizer sgd or momentum"):
        Scenario(strategy="fedprox", **optimizer)
