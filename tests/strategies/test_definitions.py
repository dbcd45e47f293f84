"""The definitions that steps are held to."""

from __future__ import annotations

import pytest

from fedcore.scenario import Scenario
from fedcore.strategies.definitions import unit_gradient
from fedcore.strategies.strategy import STRATEGIES


@pytest.mark.parametrize(
    ("changes", "expected"),
    [  # of the reference recursion, tau = 20, lr = 0.1, rho = 0.9, mu = 0.05
        ({"optimizer": "sgd"}, 20.0),
        ({"optimizer": "momentum", "momentum": 0.9}, 120.94),
        ({"optimizer": "proximal", "mu": 0.05}, 19.08),
        ({"optimizer": "proximal", "mu": 0.05, "momentum": 0.9}, 103.5),
        ({"optimizer": "momentum", "momentum": 0.9, "nesterov": True}, 128.8),
        ({"optimizer": "momentum", "momentum": 0.9, "dampening": 0.5}, 64.863),
    ],
)
def test_displacement_on_a_unit_gradient(changes, expected) -> None:
    scenario = Scenario(lr=0.1, weight_decay=0.01, **changes)
    assert unit_gradient(scenario, 20)[-1] == pytest.approx(expected, rel=5e-4)


def test_every_strategy_of_ours_has_a_definition_and_a_subclass_none() -> None:
    for name in set(STRATEGIES) - {"flower"}:
        strategy = STRATEGIES[name]
        assert vars(strategy)["definition"] is not None, name
        assert "definition" not in vars(type("Other", (strategy,), {}))
