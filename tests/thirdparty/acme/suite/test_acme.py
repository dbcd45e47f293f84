"""All five components in one suite, beside fedcore's own: ``pytest`` in the package's folder."""

import pytest

from fedcore import Scenario
from fedcore.harness.suite.cells import Grid

BASE = Scenario(
    dataset="acme/stripes",
    model="acme/narrow(width=12)",
    num_clients=4,
    fraction_train=1.0,
    rounds=3,
    optimizer="sgd",
    lr=0.3,
)


def cells(options):
    """Two strategies, one behind a pre-aggregation, clean and under the attack."""
    yield from Grid(
        BASE,
        [
            {"strategy": "acme/halfway(share=0.75)"},
            {"strategy": "median", "preaggregation": "acme/huddle(pull=0.25)"},
        ],
        [{"partition": "iid"}],
        [{"attack": "acme/shift(by=2)"}],
        [0.5],
        [1.0],
        2,
    ).cells()


@pytest.mark.cells(function=lambda options: cells(options))
def test_acme(outcome):
    """Nobody has set limits: the cells are measured."""
    outcome.check()
