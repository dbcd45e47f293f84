from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fedcore.cores import cores
from fedcore.harness.suite.options import PROFILES, SETTINGS, OptionError, Options
from fedcore.lifeline import WORKER_TIMEOUT

GIVEN: dict[str, Any] = {
    "dataset": "mnist5k",
    "data_dir": None,
    "model": None,
    "image_size": None,
    "strategies": None,
    "attacks": None,
    "requirements": None,
    "preaggregation": None,
    "profile": "quick",
    "seeds": None,
    "device": "auto",
    "engine": "auto",
    "precision": "float32",
    "jobs": None,
    "worker_timeout": WORKER_TIMEOUT,
    "results": ".fedcore",
    "fresh": False,
    "report": None,
    "executor": "processes",
    "ray_address": None,
    "mods": None,
    "fail_on": None,
    "thresholds": None,
    "hours": None,
    **dict.fromkeys(SETTINGS),
}


def options(**changes: Any) -> Options:
    return Options.of({**GIVEN, **changes}.__getitem__)


def test_defaults_are_those_of_the_class_and_a_worker_per_core() -> None:
    assert options(jobs=1) == Options()
    assert options().jobs == cores() >= 1


def test_cores_are_those_this_process_may_use() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert cores() == len(os.sched_getaffinity(0))


def test_values_are_taken_over() -> None:
    found = options(
        dataset="synthetic:100", data_dir="d", model="mlp", image_size=9, profile="full", seeds=7,
        device="cpu",
        engine="stacked", precision="float64", jobs=3, results="r", fresh=True, report="p",
    )  # fmt: skip
    assert found == Options(
        "synthetic:100", "d", "mlp", 9, (), "full", 7, "cpu", "stacked", "float64", 3, Path("r"),
        True, Path("p"),
    )  # fmt: skip


def test_ray_takes_all_cpus_of_its_cluster_unless_told() -> None:
    found = options(executor="ray", ray_address="127.0.0.1:6379")
    assert (found.executor, found.ray_address) == ("ray", "127.0.0.1:6379")
    assert (found.jobs, found.device) == (None, "cpu")
    assert options(executor="ray", jobs=3).jobs == 3


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles(profile: str) -> None:
    assert options(profile=profile).profile == profile


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"profile": "smok"}, "--profile: unknown profile 'smok'. Did you mean 'smoke'"),
        ({"profile": ""}, "--profile: unknown profile ''.*Known: full, quick, smoke, study"),
        ({"jobs": 0}, "--jobs must be >= 1, got 0"),
        ({"jobs": -2}, "--jobs must be >= 1, got -2"),
        ({"seeds": 0}, "--seeds must be >= 1, got 0"),
        ({"ray_address": "auto"}, "--ray-address is for --executor ray"),
        ({"executor": "ray", "device": "cuda"}, "--executor ray computes on CPUs"),
        ({"executor": "ray", "engine": "flower-ray"}, "brings a Ray of its own"),
        ({"fail_on": ["unsur"]}, "--fail-on: unknown verdict 'unsur'. Did you mean 'unsure'"),
        ({"fail_on": ["unsure,void"]}, "--fail-on: unknown verdict 'void'.*no-limit, unsure"),
        ({"alpha": "-1"}, "--alpha must be > 0, got -1"),
        ({"rounds": "many"}, "--rounds must be an integer, got 'many'"),
        ({"malicious_fraction": "1.5"}, r"--malicious-fraction must be in \[0, 1\], got 1.5"),
        ({"rounds": "0", "lr": "0"}, "--rounds must be >= 1, got 0; --lr must be > 0, got 0"),
        ({"local_epochs": "3-1"}, "--local-epochs must be an integer or .lowest, highest."),
        ({"mods": ["a:b"]}, "--mod attaches to clients of a strategy written for Flower: add"),
        ({"mods": ["a:b"], "strategies": ["krum"]}, "got --mod a:b"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(OptionError, match=rule):
        options(**changes)


def test_settings_are_fields_of_a_scenario_in_their_types() -> None:
    found = options(num_clients="10", local_epochs="1-5", lr="0.5", optimizer="adam")
    assert found.overrides == {
        "num_clients": 10, "local_epochs": (1, 5), "optimizer": "adam", "lr": 0.5,
    }  # fmt: skip
    assert not found.own_cells
    assert options().own_cells
    assert options().overrides == {}
    assert not options(strategies=["krum"]).own_cells


def test_verdicts_that_fail_may_be_listed_or_repeated() -> None:
    assert options(fail_on=["unsure, no-limit", "unsure"]).fail_on == ("unsure", "no limit")


def test_mods_are_attached_to_strategies_written_for_flower() -> None:
    foreign = {"strategy": "flower", "strategy_spec": "p.m:C"}
    assert options(strategies=["krum", "p.m:C"]).arms() == [{"strategy": "krum"}, foreign]
    one = options(strategies=["krum", "p.m:C"], mods=["m:a"])
    assert one.arms() == [{"strategy": "krum"}, {**foreign, "client_mods": "m:a"}]
    two = options(strategies=["p.m:C"], mods=["m:a", 'm:b:{"x": 1}'])
    assert two.arms() == [{**foreign, "client_mods": '["m:a", "m:b:{\\"x\\": 1}"]'}]


def test_attacks_and_a_chain_are_put_through_the_suite() -> None:
    chosen = options(attacks=["signflip(stretch=4)", "acme/shift"], preaggregation="bucketing")
    suites = [{"strategy": "fedavg"}, {"strategy": "median"}]
    assert chosen.naming_option == "--attack"
    assert not chosen.own_cells
    assert chosen.arms(suites) == [{**arm, "preaggregation": "bucketing"} for arm in suites]
    assert chosen.attacked([{"attack": "labelflip"}]) == [
        {"attack": "signflip(stretch=4)"},
        {"attack": "acme/shift"},
    ]
    assert options().naming_option is None
    assert options().arms(suites) == suites
    assert options().attacked([{"attack": "labelflip"}]) == [{"attack": "labelflip"}]


def test_a_colon_may_lead_to_a_strategy_of_fedcores_kind() -> None:
    ours = "fedcore.strategies.robust.median:Median"
    assert options(strategies=[ours]).arms() == [{"strategy": ours}]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_worker_timeout_is_a_time(seconds: float) -> None:
    with pytest.raises(OptionError, match="--worker-timeout must be above 0 and at most 2592000"):
        options(worker_timeout=seconds)
