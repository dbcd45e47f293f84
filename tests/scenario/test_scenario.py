"""Scenario: validation, resolved defaults, counts."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario, round_half_up

ATTACK = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}
DIRICHLET = {"partition": "dirichlet", "alpha": 0.3}


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
        "num_clients must be an integer, got 'ten'",
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
    with pytest.raises(ScenarioError, match=r"^2 problems in this scenario:"):
        Scenario(lr=0, rounds=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**ATTACK, "malicious_fraction": 1.01}, "malicious_fraction must be in [0, 1], got 1.01"),
        ({**ATTACK, "poison_ratio": -0.1}, "poison_ratio must be in [0, 1], got -0.1"),
        ({"validation_fraction": 1}, "validation_fraction must be in [0, 1), got 1.0"),
        ({"fraction_train": 0}, "fraction_train must be in (0, 1], got 0.0"),
        ({"num_clients": True}, "num_clients must be an integer, got True"),
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
        ("num_byzantine", 1, "strategy krum, strategy mda"),
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
    with pytest.raises(ScenarioError, match="unknown scenario field 'learning_rate'"):
        Scenario(learning_rate=1.0)


# counts


@pytest.mark.parametrize(
    ("fraction", "clients", "count"),
    [
        (0.5, 5, 3),
        (0.3, 5, 2),
        (0.1, 50, 5),
        (0.25, 10, 3),
        (1.0, 7, 7),
        (0.15, 10, 2),
        (0.1, 5, 1),
    ],
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
    assert all(b - a == every for a, b in itertools.pairwise(made[:-1]))
    assert len(made) == -(-rounds // every)


def test_epochs_range() -> None:
    assert Scenario(local_epochs=2).epochs_range == (2, 2)
    assert Scenario(local_epochs=(1, 4)).epochs_range == (1, 4)
    assert Scenario(local_epochs=[2, 2]) == Scenario(local_epochs=2)
