"""The exact gate of a real session names each of five planted bugs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.harness.exact.test_planted import (
    keeps_one_too_many,
    learning_rate_5_percent_low,
    lower_median,
    momentum_of_08,
    trims_one_too_few,
)

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Grid

def cells(options):
    base = Scenario(
        dataset="synthetic:1000", model="mlp", num_clients=10, fraction_train=1.0, rounds=4,
        local_epochs=(1, 3), optimizer="sgd", lr=1.0,
    )
    strategies = [{"strategy": s} for s in ("trimmedmean", "multikrum", "median", "fedavgm")]
    yield from Grid(
        base, strategies, [{"partition": "iid"}], [{"attack": "labelflip"}], [0.2], [1.0], 2
    ).cells()

@pytest.mark.cells(function=cells)
def test_robustness(outcome):
    outcome.check()
"""
GATED = {
    trims_one_too_few: ["trimmedmean"],
    keeps_one_too_many: ["multikrum"],
    lower_median: ["median"],
    momentum_of_08: ["fedavgm"],
    learning_rate_5_percent_low: ["trimmedmean", "multikrum", "median", "fedavgm", "fedavg"],
}


def test_the_exact_gate_names_each_of_the_five_bugs(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.pytester.makepyfile(test_suite=SUITE)
    assert suite.run("--update-baseline").ret == 0
    assert suite.run("--fresh").ret == 0
    for plant, strategies in GATED.items():
        with monkeypatch.context() as patch:
            plant(patch)
            result = suite.run("--fresh")
        assert result.ret == pytest.ExitCode.TESTS_FAILED, plant.__name__
        shown = suite.text(result)
        named = set(
            re.findall(r"not repeated: ([a-z]+)-iid-clean, seed \d: first in round \d", shown)
        )
        # some are refused sooner, by identity or by what was trained, with the same arm's name
        why = "(?:: IdentityError: | has a realised learning rate of )"
        refused = set(re.findall(rf"- ([a-z]+)-iid-clean\S* seed \d{why}", shown))
        assert named | refused == set(strategies), plant.__name__
        if strategies[0] in refused:
            continue
        size = r"(\([-+]\d+\.\d\d pp\)|loss \S+ -> \S+ \([-+]\S+\)).*; tail accuracy [-+]\d"
        assert re.search(rf"{strategies[0]}-iid-clean, seed 0: first in round \d: .*{size}", shown)
    assert suite.run("--fresh").ret == 0
