"""Scenario: canonical form, hash, derived scenarios and round trips."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.triggers.square import Square
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario
from fedcore.scenario.declared import registries

ATTACK = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}
DIRICHLET = {"partition": "dirichlet", "alpha": 0.3}
PATHOLOGICAL = {"partition": "pathological", "classes_per_client": 2}
TARGETED = {**ATTACK, "attack": "targetedflip", "source_class": 1, "target_class": 2}
LOCAL_DP = {"privacy": "localdp", "epsilon": 2.0}

BACKDOOR = {"attack": "backdoor", "malicious_fraction": 0.3, "poison_ratio": 0.5}
SCALED = {"attack": "scaled", "malicious_fraction": 0.3}
FLOWER = {"strategy": "flower", "strategy_spec": "a.b:C"}

# A change here invalidates every stored record: intended only together with a changed meaning.
DEFAULT_HASH = "557d7b4f9d6cff52"


def attack(name: str, **parameters: Any) -> dict[str, Any]:
    """A scenario under the attack ``name``, of a fraction that lets each of them act."""
    return {"attack": name, "malicious_fraction": 0.4, **parameters}


# a base and another value, for every field
CHANGES = {
    "dataset": ({}, "synthetic:100"),
    "image_size": ({}, 32),
    "grayscale": ({}, True),
    "normalize": ({}, "imagenet"),
    "model": ({}, "mlp"),
    "norm": ({}, "group"),
    "weights": ({"model": "resnet18"}, "imagenet"),
    "partition": ({**PATHOLOGICAL}, "iid"),
    "alpha": (DIRICHLET, 0.31),
    "classes_per_client": (PATHOLOGICAL, 3),
    "class_assignment": (PATHOLOGICAL, "deterministic"),
    "min_partition_size": (DIRICHLET, 0),
    "self_balancing": (DIRICHLET, True),
    "intensity": ({"partition": "featureskew"}, 0.4),
    "blur": ({"partition": "featureskew"}, 1.5),
    "sigma": ({"partition": "quantity"}, 0.5),
    "smallest": ({"partition": "quantity"}, 3),
    "absent_fraction": ({}, 0.2),
    "absent_rounds": ({"absent_fraction": 0.2}, 3.0),
    "min_present": ({"absent_fraction": 0.2}, 3),
    "partition_seed": ({}, 0),
    "allow_incomplete": ({}, True),
    "num_clients": ({}, 21),
    "fraction_train": ({}, 0.51),
    "rounds": ({}, 16),
    "eval_every": ({}, 2),
    "validation_fraction": ({}, 0.1),
    "optimizer": ({}, "sgd"),
    "lr": ({}, 0.06),
    "momentum": ({}, 0.8),
    "dampening": ({}, 0.1),
    "nesterov": ({}, True),
    "mu": ({"optimizer": "proximal", "mu": 0.1}, 0.2),
    "weight_decay": ({}, 1e-4),
    "local_epochs": ({}, (1, 2)),
    "local_steps": ({}, (1, 2)),
    "beta": ({"optimizer": "clientmomentum"}, 0.8),
    "alpha_dyn": ({"strategy": "feddyn"}, 0.2),
    "epoch_factor": ({"attack": "trainlonger", "malicious_fraction": 0.3}, 2.0),
    "radius": ({"attack": "pgd", "radius": 1.0, "malicious_fraction": 0.3}, 2.0),
    "project_every": ({"attack": "pgd", "radius": 1.0, "malicious_fraction": 0.3}, 2),
    "masked_share": ({"attack": "neurotoxin", "malicious_fraction": 0.3}, 0.2),
    "batch_size": ({}, 33),
    "strategy": ({}, "median"),
    "server_momentum": ({"strategy": "fednova"}, 0.1),
    "server_lr": ({"strategy": "fednova"}, 0.9),
    "num_byzantine": ({"strategy": "krum"}, 2),
    "num_selected": ({"strategy": "multikrum"}, 2),
    "trim_fraction": ({"strategy": "trimmedmean"}, 0.3),
    "beta_2": ({"strategy": "fedadam"}, 0.9),
    "tau": ({"strategy": "fedyogi"}, 0.1),
    "norm_bound": ({"strategy": "normclipping"}, 2.0),
    "aggregation_iterations": ({"strategy": "centeredclipping"}, 3),
    "smoothing": ({"strategy": "rfa"}, 1e-3),
    "filter_fraction": ({"strategy": "dnc"}, 0.5),
    "sampled_coordinates": ({"strategy": "dnc"}, 20),
    "sampled_share": ({"strategy": "signguard"}, 0.2),
    "least_length": ({"strategy": "signguard"}, 0.2),
    "greatest_length": ({"strategy": "signguard"}, 2.0),
    "sign_threshold": ({"strategy": "rlr"}, 0.5),
    "noise_std": ({"strategy": "weakdp"}, 0.5),
    "pivot": ({"strategy": "monna"}, "median"),
    "num_groups": ({"strategy": "medianofmeans"}, 3),
    "kappa": ({"strategy": "foolsgold"}, 0.5),
    "root_size": ({"strategy": "fltrust"}, 50),
    "noise_factor": ({"strategy": "flame"}, 0.01),
    "strategy_spec": (FLOWER, "a.b:D"),
    "client_mods": (FLOWER, "a.b:mod"),
    "attack": (ATTACK, "pairflip"),
    "malicious_fraction": (ATTACK, 0.4),
    "malicious_set": (ATTACK, "balanced"),
    "poison_ratio": (ATTACK, 0.6),
    "source_class": (TARGETED, 3),
    "target_class": (TARGETED, 3),
    "redraw": (ATTACK, True),
    "target": (BACKDOOR, 3),
    "trigger": (BACKDOOR, Square(size=4)),
    "of": (SCALED, SignFlip(stretch=2)),
    "gamma": (SCALED, 7.0),
    "stretch": ({"attack": "signflip", "malicious_fraction": 0.3}, 2.0),
    "last_round": (attack("until", of="backdoor(poison_ratio=0.5)", last_round=3), 4),
    "num_parts": ({**attack("dba"), "poison_ratio": 0.5}, 5),
    "noise_norm": ({**attack("arnoise"), "poison_ratio": 0.5}, 2.0),
    "least_response": ({**attack("arnoise"), "poison_ratio": 0.5}, 5.0),
    "knows": (attack("ipm"), "own"),
    "eps": (attack("ipm"), 2.0),
    "z": (attack("alie"), 1.5),
    "sign": (attack("alie"), "plus"),
    "divisor": (attack("alie"), "n-1"),
    "direction": (attack("minmax"), "unit"),
    "sd": (attack("gaussian"), 2.0),
    "relative_length": (attack("gaussian"), 2.0),
    "stretched": (attack("fangtrim"), "updates"),
    "warmup": (attack("mimic"), 2),
    "buffer_value": ({**attack("buffers"), "norm": "batch"}, -1.0),
    "filler": (attack("nonfinite"), "inf"),
    "spoiled_share": (attack("nonfinite"), 0.5),
    "least_strength": (attack("optimalipm"), 0.2),
    "greatest_strength": (attack("optimalipm"), 5.0),
    "tries": (attack("optimalipm"), 5),
    "privacy": (LOCAL_DP, "centraldp"),
    "epsilon": (LOCAL_DP, 3.0),
    "delta": (LOCAL_DP, 1e-6),
    "clip_norm": (LOCAL_DP, 0.5),
    "neighbours": (LOCAL_DP, "zero-out"),
    "released": (LOCAL_DP, "head"),
    "buffers": (LOCAL_DP, "released"),
    "noise_multiplier": ({"privacy": "dpsgd", "noise_multiplier": 1.0}, 2.0),
    "sensitivity": ({"privacy": "localdpmod", "epsilon": 2.0}, 0.5),
    "epsilon_budget": (LOCAL_DP, 30.0),
    "preaggregation": ({}, "bucketing(size=2)"),
    "probe": ({}, Backdoor(target=1).spelled()),
}


def test_hash_of_the_default_is_recorded() -> None:
    assert Scenario().hash == DEFAULT_HASH


def test_a_field_that_is_none_leaves_the_hash_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Scenario().hash
    later = {**Scenario().to_dict(), "added_later": None}
    monkeypatch.setattr(Scenario, "to_dict", lambda self: later)
    assert Scenario().hash == before


def test_hash_depends_on_every_field() -> None:
    # what tests of foreign components have registered does not count
    owners = [registry.entry(n).part for registry in registries().values() for n in registry]
    foreign = {
        name for c in owners if not c.__module__.startswith("fedcore.") for name in c.specs()
    }
    assert set(CHANGES) <= set(Scenario.specs()) <= set(CHANGES) | foreign
    for field, (base, value) in CHANGES.items():
        one = Scenario(**base)
        other = one.but(**{field: value})
        assert getattr(other, field) == value, field
        assert one.hash != other.hash, field
        assert one != other, field
    hashes = [
        Scenario(**base).but(**{field: value}).hash for field, (base, value) in CHANGES.items()
    ]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"fraction_train": 1}, {"fraction_train": 1.0}),
        ({"weight_decay": 0}, {"weight_decay": -0.0}),
        ({"local_epochs": [1, 3]}, {"local_epochs": (1, 3)}),
        ({}, {"momentum": 0.9, "dampening": 0, "nesterov": False, "norm": "none"}),
    ],
)
def test_equal_scenarios_hash_alike(one, other) -> None:
    assert Scenario(**one) == Scenario(**other)
    assert Scenario(**one).hash == Scenario(**other).hash
    assert len({Scenario(**one), Scenario(**other)}) == 1


def test_but_drops_parameters_that_nothing_reads_any_more() -> None:
    skewed = Scenario(**DIRICHLET, min_partition_size=3)
    assert skewed.but(partition="iid") == Scenario()
    assert skewed.but(lr=0.1).alpha == 0.3
    krum = Scenario(strategy="krum", num_byzantine=2)
    assert krum.but(strategy="multikrum").num_byzantine == 2
    assert krum.but(strategy="median") == Scenario(strategy="median")
    assert Scenario(optimizer="proximal", mu=0.1, momentum=0.5).but(
        optimizer="momentum"
    ) == Scenario(momentum=0.5)


def test_but_takes_the_defaults_of_the_new_component() -> None:
    assert Scenario().but(optimizer="proximal", mu=0.1).momentum == 0.0
    assert Scenario().but(model="resnet18").norm == "batch"
    assert Scenario(strategy="fedavgm").but(strategy="fednova").server_momentum == 0.0


def test_but_is_validated() -> None:
    with pytest.raises(ScenarioError, match="unknown strategy 'fednovo'"):
        Scenario().but(strategy="fednovo")
    with pytest.raises(ScenarioError, match=r"alpha=0\.1 is read by none"):
        Scenario().but(alpha=0.1)
    with pytest.raises(ScenarioError, match="learning_rate"):
        Scenario().but(learning_rate=0.1)


def test_clean_twin_differs_in_the_attack_only() -> None:
    clean = Scenario(strategy="fednova", **DIRICHLET)
    poisoned = Scenario(strategy="fednova", **DIRICHLET, **TARGETED)
    assert poisoned.clean_twin() == clean
    assert clean.clean_twin() is clean
    differing = {
        name for name, value in clean.to_dict().items() if value != poisoned.to_dict()[name]
    }
    assert differing == {*TARGETED, "redraw"}


def test_from_dict_names_unknown_fields() -> None:
    with pytest.raises(ScenarioError, match=r"field 'num_client'\. Did you mean"):
        Scenario.from_dict({"num_client": 3})


@st.composite
def scenarios(draw) -> Scenario:
    """Valid scenarios over all kinds of components."""
    shares = st.floats(0.3, 1.0)
    values = draw(
        st.sampled_from(
            [
                {"strategy": "fedavg"},
                {"strategy": "fednova", "server_momentum": 0.5},
                {"strategy": "fedavgm"},
                {"strategy": "fedprox", "mu": 0.2},
                {"strategy": "fedbn", "norm": "batch"},
                {"strategy": "median"},
                {"strategy": "trimmedmean"},
                {"strategy": "krum", "num_byzantine": 0},
                {"strategy": "multikrum", "num_selected": 1},
                {"strategy": "fedadam", "beta_2": 0.9, "tau": 0.1},
                {"strategy": "centeredclipping", "norm_bound": 0.5, "aggregation_iterations": 2},
                {"strategy": "rfa", "smoothing": 0.1},
            ]
        )
    )
    values = {**values, **draw(st.sampled_from([{}, DIRICHLET, PATHOLOGICAL]))}
    if values["strategy"] != "fedprox":
        local = [{}, {"optimizer": "sgd"}, {"optimizer": "proximal", "mu": 0.3}]
        values |= draw(st.sampled_from(local))
    if draw(st.booleans()):
        values |= draw(st.sampled_from([ATTACK, TARGETED]))
        values |= {"malicious_fraction": draw(shares), "poison_ratio": draw(shares)}
    values |= draw(st.sampled_from([{}, LOCAL_DP, {"privacy": "clip", "released": "head"}]))
    low = draw(st.integers(1, 5))
    return Scenario(
        **values,
        num_clients=draw(st.integers(20, 500)),
        fraction_train=draw(shares),
        rounds=draw(st.integers(1, 100)),
        # lr * mu below 1: FedNova refuses a proximal solver whose coefficients cancel
        lr=draw(st.floats(1e-6, 3) | st.integers(1, 3)),
        local_epochs=draw(st.sampled_from([low, (low, low + 2)])),
        model=draw(st.sampled_from(["cnn", "mlp"])),
    )


@given(scenarios())
def test_round_trip_through_json(scenario) -> None:
    back = Scenario.from_dict(json.loads(json.dumps(scenario.to_dict(), allow_nan=False)))
    assert back == scenario
    assert (back.hash, back.id) == (scenario.hash, scenario.id)
    assert scenario.but() == scenario


@given(scenarios())
def test_twins_share_everything_else(scenario) -> None:
    twin = scenario.clean_twin()
    assert twin.attack is None
    assert twin.clean_twin() == twin
    assert twin.but(**ATTACK).but(attack=None) == twin
