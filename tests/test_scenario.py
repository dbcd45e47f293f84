"""Scenario: validation, canonical form, hash, twins and round trips."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario, round_half_up

ATTACK = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}
DIRICHLET = {"partition": "dirichlet", "alpha": 0.3}
PATHOLOGICAL = {"partition": "pathological", "classes_per_client": 2}
TARGETED = {**ATTACK, "attack": "targetedflip", "source_class": 1, "target_class": 2}


def problems_of(**values) -> tuple[str, ...]:
    with pytest.raises(ScenarioError) as caught:
        Scenario(**values)
    return caught.value.problems


# validation


def test_every_problem_is_listed_at_once() -> None:
    found = problems_of(
        strategy="fednovo",
        partition="dirichelt",
        lr=-1,
        rounds=0,
        fraction_train=1.5,
        num_clients="ten",
        normalize="none",
        local_epochs=(3, 1),
    )
    assert len(found) == 8
    text = "\n".join(found)
    for part in (
        "unknown strategy 'fednovo'. Did you mean 'fednova'?",
        "unknown partition 'dirichelt'. Did you mean 'dirichlet'?",
        "lr must be > 0, got -1.0",
        "rounds must be >= 1, got 0",
        "fraction_train must be in (0, 1], got 1.5",
        "num_clients must be a int, got 'ten'",
        "normalize must be one of half, imagenet, got 'none'",
        "local_epochs must be an integer or (lowest, highest), got (3, 1)",
    ):
        assert part in text


def test_preconditions_are_listed_together_too() -> None:
    found = problems_of(strategy="krum", num_byzantine=8, malicious_fraction=0.3, poison_ratio=0.1)
    assert len(found) == 3
    assert "10 <= 2 * 8 + 2" in found[-1]


def test_message_counts_and_lists() -> None:
    with pytest.raises(ScenarioError, match=r"^1 problem in this scenario:\n  - lr must be > 0"):
        Scenario(lr=0)
    with pytest.raises(ScenarioError, match="^2 problems in this scenario:"):
        Scenario(lr=0, rounds=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**ATTACK, "malicious_fraction": 1.01}, "malicious_fraction must be in [0, 1], got 1.01"),
        ({**ATTACK, "poison_ratio": -0.1}, "poison_ratio must be in [0, 1], got -0.1"),
        ({"validation_fraction": 1}, "validation_fraction must be in [0, 1), got 1.0"),
        ({"fraction_train": 0}, "fraction_train must be in (0, 1], got 0.0"),
        ({"num_clients": True}, "num_clients must be a int, got True"),
        ({"lr": float("nan")}, "lr must be > 0, got nan"),
        ({"lr": float("inf")}, "lr must be > 0, got inf"),
        ({"lr": None}, "lr must be given, got None"),
        ({"image_size": 7}, "image_size must be >= 8, got 7"),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({**DIRICHLET, "alpha": 0}, "alpha must be > 0, got 0.0"),
        ({"partition": "dirichlet"}, "partition 'dirichlet' needs alpha (> 0)"),
        ({"partition": "pathological"}, "partition 'pathological' needs classes_per_client (>= 1)"),
        ({"malicious_fraction": 0.3}, "malicious_fraction=0.3 needs an attack"),
        ({"poison_ratio": 0.3}, "poison_ratio=0.3 needs an attack"),
        ({**ATTACK, "poison_ratio": 0}, "with poison_ratio=0 would change nothing"),
        ({**ATTACK, "malicious_fraction": 0}, "with malicious_fraction=0 would change nothing"),
        ({**ATTACK, "malicious_fraction": 0.02}, "rounds to no malicious client"),
        ({"fraction_train": 0.01}, "rounds to an empty cohort"),
        ({"model": "cnn", "weights": "imagenet"}, "weights='imagenet' is read by none"),
    ],
)
def test_one_problem(values, message) -> None:
    (problem,) = problems_of(**values)
    assert message in problem


@pytest.mark.parametrize(
    ("field", "value", "reader"),
    [
        ("alpha", 0.1, "partition dirichlet"),
        ("mu", 0.1, "optimizer proximal, strategy fedprox"),
        ("num_byzantine", 1, "strategy krum, strategy multikrum"),
        ("trim_fraction", 0.1, "strategy trimmedmean"),
        ("source_class", 1, "attack targetedflip"),
        ("redraw", False, "attack labelflip, attack pairflip, attack targetedflip"),
    ],
)
def test_a_parameter_that_nothing_reads_is_refused(field, value, reader) -> None:
    (problem,) = problems_of(**{field: value})
    assert problem.startswith(f"{field}={value!r} is read by none of the chosen components")
    assert reader in problem


def test_defaults_of_components_are_resolved() -> None:
    assert Scenario().momentum == 0.9
    assert Scenario(optimizer="proximal", mu=0.1).momentum == 0.0
    assert Scenario(optimizer="sgd").momentum is None
    assert Scenario(strategy="fedprox").mu == 0.01
    assert Scenario(**DIRICHLET).min_partition_size == 10
    assert Scenario(model="resnet18").norm == "batch"
    assert Scenario(momentum=0.9) == Scenario()


def test_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scenario().lr = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        Scenario("mnist5k")  # type: ignore[misc]
    with pytest.raises(TypeError, match="learning_rate"):
        Scenario(learning_rate=1.0)  # type: ignore[call-arg]


# counts


@pytest.mark.parametrize(
    ("fraction", "clients", "count"),
    [(0.5, 5, 3), (0.3, 5, 2), (0.1, 50, 5), (0.25, 10, 3), (1.0, 7, 7), (0.15, 10, 2), (0.1, 5, 1)],
)
def test_counts_round_halves_up(fraction, clients, count) -> None:
    scenario = Scenario(num_clients=clients, fraction_train=fraction)
    assert scenario.cohort_size == count
    attacked = {**ATTACK, "malicious_fraction": fraction}
    assert Scenario(num_clients=clients, **attacked).num_malicious == count


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_round_half_up_of_exact_shares(part, whole) -> None:
    assert round_half_up(part / whole * whole) == part


@given(st.integers(1, 60), st.integers(1, 70))
def test_evaluated_rounds(rounds, every) -> None:
    made = Scenario(rounds=rounds, eval_every=every).evaluated_rounds
    assert made[-1] == rounds
    assert all(b - a == every for a, b in zip(made[:-2], made[1:-1], strict=True))
    assert len(made) == -(-rounds // every)


def test_epochs_range() -> None:
    assert Scenario(local_epochs=2).epochs_range == (2, 2)
    assert Scenario(local_epochs=(1, 4)).epochs_range == (1, 4)
    assert Scenario(local_epochs=[2, 2]) == Scenario(local_epochs=2)


# hash

# A change here invalidates every stored record: intended only together with a changed meaning.
DEFAULT_HASH = "422fbe32e11ff461"

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
    "batch_size": ({}, 33),
    "strategy": ({}, "median"),
    "server_momentum": ({"strategy": "fednova"}, 0.1),
    "server_lr": ({"strategy": "fednova"}, 0.9),
    "num_byzantine": ({"strategy": "krum"}, 2),
    "num_selected": ({"strategy": "multikrum"}, 2),
    "trim_fraction": ({"strategy": "trimmedmean"}, 0.3),
    "attack": (ATTACK, "pairflip"),
    "malicious_fraction": (ATTACK, 0.4),
    "poison_ratio": (ATTACK, 0.6),
    "source_class": (TARGETED, 3),
    "target_class": (TARGETED, 3),
    "redraw": (ATTACK, True),
}


def test_hash_of_the_default_is_recorded() -> None:
    assert Scenario().hash == DEFAULT_HASH


def test_hash_depends_on_every_field() -> None:
    assert list(CHANGES) == list(Scenario.specs())
    for field, (base, value) in CHANGES.items():
        one = Scenario(**base)
        other = one.but(**{field: value})
        assert getattr(other, field) == value, field
        assert one.hash != other.hash, field
        assert one != other, field
    hashes = [Scenario(**base).but(**{field: value}).hash for field, (base, value) in CHANGES.items()]
    assert len(set(hashes)) == len(hashes) - 1, "only pathological -> iid is the default itself"


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


# but, clean twin, round trip


def test_but_drops_parameters_that_nothing_reads_any_more() -> None:
    skewed = Scenario(**DIRICHLET, min_partition_size=3)
    assert skewed.but(partition="iid") == Scenario()
    assert skewed.but(lr=0.1).alpha == 0.3
    krum = Scenario(strategy="krum", num_byzantine=2)
    assert krum.but(strategy="multikrum").num_byzantine == 2
    assert krum.but(strategy="median") == Scenario(strategy="median")
    assert Scenario(optimizer="proximal", mu=0.1, momentum=0.5).but(optimizer="momentum") == Scenario(
        momentum=0.5
    )


def test_but_takes_the_defaults_of_the_new_component() -> None:
    assert Scenario().but(optimizer="proximal", mu=0.1).momentum == 0.0
    assert Scenario().but(model="resnet18").norm == "batch"
    assert Scenario(strategy="fedavgm").but(strategy="fednova").server_momentum == 0.0


def test_but_is_validated() -> None:
    with pytest.raises(ScenarioError, match="unknown strategy 'fednovo'"):
        Scenario().but(strategy="fednovo")
    with pytest.raises(ScenarioError, match="alpha=0.1 is read by none"):
        Scenario().but(alpha=0.1)
    with pytest.raises(TypeError, match="learning_rate"):
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
    with pytest.raises(ScenarioError, match="unknown scenario field 'num_client'. Did you mean"):
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
    low = draw(st.integers(1, 5))
    return Scenario(
        **values,
        num_clients=draw(st.integers(20, 500)),
        fraction_train=draw(shares),
        rounds=draw(st.integers(1, 100)),
        lr=draw(st.floats(1e-6, 10) | st.integers(1, 10)),
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
