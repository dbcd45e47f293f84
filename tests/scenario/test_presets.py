from __future__ import annotations

import pytest

from fedcore.errors import UnknownNameError
from fedcore.scenario.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_each_is_a_valid_scenario(name: str) -> None:
    scenario = preset(name)
    for field, value in PRESETS[name].values.items():
        assert getattr(scenario, field) == value


def test_the_studys_arms_differ_in_the_local_work_and_not_in_the_server() -> None:
    fedavg, fednova = preset("study-fedavg"), preset("study-fednova")
    assert fedavg.strategy == fednova.strategy == "fedavg"
    assert fedavg.cohort_size == fednova.cohort_size == 5
    assert (fedavg.optimizer, fedavg.lr, fedavg.local_epochs) == ("adam", 1e-3, 2)
    assert (fednova.optimizer, fednova.lr, fednova.local_epochs) == ("proximal", 0.01, (1, 4))
    assert (fednova.mu, fednova.momentum, fednova.weight_decay) == (0.005, 0.0, 1e-4)
    local = {"optimizer", "lr", "mu", "momentum", "dampening", "nesterov", "weight_decay"}
    one, other = fedavg.to_dict(), fednova.to_dict()
    assert {key for key in one if one[key] != other[key]} == {*local, "local_epochs"}


def test_the_study_poisoned_and_skewed() -> None:
    arm = preset("study-fednova").but(
        attack="labelflip",
        malicious_fraction=0.3,
        poison_ratio=0.5,
        redraw=True,
        partition="dirichlet",
        alpha=0.1,
        partition_seed=123,
    )
    assert arm.num_malicious == 15
    assert arm.id.startswith("fedavg-dirichlet0.1-labelflip-mal30pct-poison50pct-redraw")


def test_the_throughput_workload() -> None:
    w1 = preset("w1")
    assert (w1.cohort_size, w1.batch_size, w1.rounds, w1.evaluated_rounds) == (10, 32, 10, (10,))


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'study-fednova'"):
        preset("study-fednvoa")
