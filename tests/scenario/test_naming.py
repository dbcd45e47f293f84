from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.scenario import Scenario
from fedcore.scenario.naming import percent, token
from fedcore.scenario.validation import registries

ATTACK = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}


def test_example_of_the_contract() -> None:
    scenario = Scenario(strategy="fednova", partition="dirichlet", alpha=0.1, **ATTACK)
    assert scenario.id == "fednova-dirichlet0.1-labelflip-mal30pct-poison50pct"
    assert scenario.clean_twin().id == "fednova-dirichlet0.1-clean"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "fedavg-iid-clean"),
        ({"strategy": "krum"}, "krum-iid-clean"),
        ({"strategy": "krum", "num_byzantine": 1}, "krum-iid-clean-f1"),
        ({"strategy": "fedavgm"}, "fedavgm-iid-clean"),
        ({"strategy": "fednova", "server_momentum": 0.5}, "fednova-iid-clean-gmf0.5"),
        ({"strategy": "fedprox"}, "fedprox-iid-clean"),
        ({"strategy": "fedprox", "mu": 1}, "fedprox-iid-clean-mu1"),
        ({"strategy": "fedbn", "norm": "batch"}, "fedbn-iid-clean-normbatch"),
        ({"strategy": "median", "num_clients": 6}, "median-iid-clean-clients6"),
        ({"optimizer": "proximal", "mu": 0.005}, "fedavg-iid-clean-proximal-mu0.005"),
        ({"optimizer": "sgd", "lr": 0.1}, "fedavg-iid-clean-sgd-lr0.1"),
        ({"optimizer": "adam", "lr": 1e-5}, "fedavg-iid-clean-adam-lr1em05"),
        ({"model": "mobilenet_v2"}, "fedavg-iid-clean-mobilenetv2"),
        ({"model": "resnet18", "norm": "group"}, "fedavg-iid-clean-resnet18-normgroup"),
        ({"local_epochs": (1, 3)}, "fedavg-iid-clean-epochs1to3"),
        ({"dataset": "synthetic:100"}, "fedavg-iid-clean-synthetic100"),
        ({"partition": "pathological", "classes_per_client": 2}, "fedavg-pathological2-clean"),
        ({**ATTACK, "redraw": True}, "fedavg-iid-labelflip-mal30pct-poison50pct-redraw"),
        (
            {**ATTACK, "attack": "targetedflip", "source_class": 3, "target_class": 8},
            "fedavg-iid-targetedflip3to8-mal30pct-poison50pct",
        ),
    ],
)
def test_tokens(values, name) -> None:
    assert Scenario(**values).id == name


@pytest.mark.parametrize("name", [n for n in registries()["strategy"] if n != "flower"])
def test_every_strategy_has_an_id_that_begins_with_it(name) -> None:
    extra = {"norm": "batch"} if name == "fedbn" else {}
    assert Scenario(strategy=name, **extra).id.split("-")[:3] == [name, "iid", "clean"]


@given(
    st.floats(1e-12, 1e12),
    st.floats(1e-6, 1),
    st.floats(0.05, 1),
    st.text(min_size=1, max_size=20).filter(str.isprintable),
)
def test_characters(lr, ratio, fraction, path) -> None:
    shares = {"poison_ratio": ratio, "malicious_fraction": fraction}
    scenario = Scenario(dataset=f"npz:{path}.npz", lr=lr, **{**ATTACK, **shares})
    assert re.fullmatch(r"[a-z0-9.-]+", scenario.id)
    assert "--" not in scenario.id


@pytest.mark.parametrize(
    ("share", "expected"), [(0.3, "30pct"), (1.0, "100pct"), (0.125, "12.5pct"), (0.29, "29pct")]
)
def test_percent(share, expected) -> None:
    assert percent(share) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(1e-5, "1em05"), (3, "3"), ((1, 4), "1to4"), ("A_b-C.d", "abc.d")]
)
def test_token(value, expected) -> None:
    assert token(value) == expected
