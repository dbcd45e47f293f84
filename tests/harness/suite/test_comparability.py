from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.errors import FedcoreError
from fedcore.harness.suite.comparability import ConfoundError, confounds, require_comparable
from fedcore.scenario.presets import preset
from fedcore.strategies.strategy import STRATEGIES

BASE = Scenario(optimizer="sgd", lr=0.1)


def test_arms_that_differ_in_the_factor_alone_are_not_confounded() -> None:
    assert confounds(BASE, BASE.but(lr=0.2), {"lr"}) == []
    assert confounds(BASE, BASE, {"lr"}) == []


def test_every_further_difference_is_listed_with_both_values() -> None:
    other = BASE.but(strategy="fednova", lr=0.2, local_epochs=(1, 4))
    assert confounds(BASE, other, {"strategy"}) == ["lr: 0.1 vs 0.2", "local_epochs: 1 vs (1, 4)"]
    assert confounds(other, BASE, {"strategy", "lr"}) == ["local_epochs: (1, 4) vs 1"]


def test_parameters_that_come_with_the_component_belong_to_the_factor() -> None:
    nova, momentum = BASE.but(strategy="fednova"), BASE.but(strategy="fedavgm")
    assert nova.server_momentum != momentum.server_momentum
    assert confounds(BASE, nova, {"strategy"}) == []  # only one of them reads any
    assert confounds(nova, momentum, {"strategy"}) == []  # each at its own default
    skewed = BASE.but(partition="dirichlet", alpha=0.1)
    assert confounds(BASE, skewed, {"partition"}) == []  # it has to have some alpha
    clipped, centred = (
        BASE.but(strategy=f"{name}clipping", norm_bound=bound)
        for name, bound in (("norm", 0.2), ("centered", 0.3))
    )
    assert confounds(clipped, centred, {"strategy"}) == ["norm_bound: 0.2 vs 0.3"]


@pytest.mark.parametrize(
    ("factor", "changes", "named"),
    [
        ("strategy", {"strategy": "fednova", "server_lr": 0.5}, "server_lr: None vs 0.5"),
        ("strategy", {"strategy": "fedavgm", "server_momentum": 0.99}, "server_momentum: "),
        ("strategy", {"strategy": "krum", "num_byzantine": 0}, "num_byzantine: None vs 0"),
        ("strategy", {"strategy": "fedprox", "mu": 5.0}, "mu: None vs 5.0"),
        ("optimizer", {"optimizer": "momentum", "momentum": 0.99}, "momentum: None vs 0.99"),
        (
            "partition",
            {"partition": "dirichlet", "alpha": 0.1, "min_partition_size": 2},
            "min_partition_size: None vs 2",
        ),
    ],
)
def test_a_parameter_that_somebody_chose_does_not_follow_from_the_factor(
    factor: str, changes: dict[str, Any], named: str
) -> None:
    other = BASE.but(**changes)
    (difference,) = confounds(BASE, other, {factor})
    assert difference.startswith(named)
    (reverse,) = confounds(other, BASE, {factor})
    assert reverse.partition(":")[0] == named.partition(":")[0]
    assert confounds(BASE, other, {factor, named.partition(":")[0]}) == []


def test_a_parameter_that_both_read_and_one_chose_is_a_confound() -> None:
    nova = BASE.but(strategy="fednova", server_momentum=0.5)
    momentum = BASE.but(strategy="fedavgm")
    assert confounds(nova, momentum, {"strategy"}) == [
        f"server_momentum: 0.5 vs {momentum.server_momentum}"
    ]


def test_a_parameter_of_the_same_component_is_no_part_of_another_factor() -> None:
    mild, harsh = (BASE.but(partition="dirichlet", alpha=a) for a in (0.9, 0.1))
    assert confounds(mild, harsh, {"partition"}) == ["alpha: 0.9 vs 0.1"]
    assert confounds(mild, harsh, {"alpha"}) == []


def test_a_field_of_the_model_is_no_part_of_a_strategy() -> None:
    local = BASE.but(strategy="fedbn", norm="batch")
    assert confounds(BASE.but(norm="none"), local, {"strategy"}) == ["norm: none vs batch"]


def test_a_parameter_that_another_component_reads_is_not_brought_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    median = STRATEGIES.entry("median")
    reading = dataclasses.replace(median, parameters={**median.parameters, "norm": "batch"})
    monkeypatch.setitem(STRATEGIES._entries, "median", reading)
    other = BASE.but(strategy="median", norm="batch")
    assert confounds(BASE.but(norm="none"), other, {"strategy"}) == ["norm: none vs batch"]


def test_the_arms_of_the_study_differ_in_far_more_than_the_strategy() -> None:
    found = confounds(preset("study-fedavg"), preset("study-fednova"), {"strategy"})
    assert [text.partition(":")[0] for text in found] == [
        "optimizer", "lr", "mu", "weight_decay", "local_epochs",
    ]  # fmt: skip
    assert found[0] == "optimizer: adam vs proximal"


def test_a_confounded_comparison_is_refused_with_the_list() -> None:
    other = BASE.but(strategy="fednova", lr=0.2)
    with pytest.raises(ConfoundError, match=r"(?s)comparison mine is confounded.*lr: 0.1") as info:
        require_comparable("mine", BASE, other, {"strategy"})
    assert info.value.differences == ("lr: 0.1 vs 0.2",)
    assert isinstance(info.value, FedcoreError)
    require_comparable("mine", BASE, other, {"strategy", "lr"})


def test_a_comparison_of_equal_arms_is_refused() -> None:
    with pytest.raises(ConfoundError, match="both arms have the same strategy"):
        require_comparable("mine", BASE, BASE, {"strategy"})


def test_a_factor_that_is_no_field_is_refused() -> None:
    with pytest.raises(ConfoundError, match=r"unknown scenario field 'stratgy'.*'strategy'"):
        confounds(BASE, BASE, {"stratgy"})
