from __future__ import annotations

import argparse
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.cli.flags import add_flags, chosen_scenario
from fedcore.errors import ScenarioError
from fedcore.scenario.presets import preset
from fedcore.scenario.text import flag

SIGNS = {"attack": "signflip", "malicious_fraction": 0.3}


def chosen(
    words: str, *, preset_name: str | None = None, cohort_size: str | None = None
) -> Scenario:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    options = parser.parse_args(words.split())
    return chosen_scenario(options, preset_name=preset_name, cohort_size=cohort_size)


def test_no_flag_is_the_default_scenario() -> None:
    assert chosen("") == Scenario()


def test_every_field_has_a_flag_with_its_meaning() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    for name, spec in Scenario.specs().items():
        assert flag(name) in text
        assert " ".join(spec.doc.split()) in text


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("--local-epochs 2", {"local_epochs": 2}),
        ("--local-epochs 1-3", {"local_epochs": (1, 3)}),
        ("--local-epochs 1,3", {"local_epochs": (1, 3)}),
        ("--grayscale", {"grayscale": True}),
        ("--grayscale --no-grayscale", {}),
        ("--lr 1e-3 --weight-decay 1e-4", {"lr": 1e-3, "weight_decay": 1e-4}),
        ("--norm none --model mlp", {"norm": "none", "model": "mlp"}),
        ("--image-size none", {}),
        ("--partition dirichlet --alpha 0.1", {"partition": "dirichlet", "alpha": 0.1}),
        ("--optimizer sgd", {"optimizer": "sgd"}),
        ("--partition dirichlet(alpha=0.1)", {"partition": "dirichlet", "alpha": 0.1}),
        ("--attack signflip --malicious-fraction 0.3", SIGNS),
        ("--attack fedcore.attacks.updates.signflip:SignFlip --malicious-fraction 0.3", SIGNS),
        ("--preaggregation bucketing(size=3)", {"preaggregation": "bucketing(size=3)"}),
    ],
)
def test_what_a_flag_means(words: str, fields: dict[str, Any]) -> None:
    assert chosen(words) == Scenario(**fields)


def test_a_word_without_meaning_stays_for_the_scenario_to_refuse() -> None:
    specs = Scenario.specs()
    assert specs["rounds"].read("many") == "many"
    with pytest.raises(ScenarioError, match=r"local_epochs .* \(3, 1\)"):
        chosen("--local-epochs 3-1")


def test_flags_override_a_preset() -> None:
    expected = preset("study-fedavg").but(rounds=2, optimizer="sgd", lr=0.1, weights=None)
    words = "--rounds 2 --optimizer sgd --lr 0.1 --weights none"
    assert chosen(words, preset_name="study-fedavg") == expected


@pytest.mark.parametrize(("size", "clients"), [(1, 3), (3, 7), (7, 7), (333, 10_000)])
def test_cohort_size(size: int, clients: int) -> None:
    scenario = chosen(f"--num-clients {clients}", cohort_size=str(size))
    assert scenario.cohort_size == size


def test_cohort_size_of_a_preset() -> None:
    assert chosen("", preset_name="w1", cohort_size="25").fraction_train == 0.5


@pytest.mark.parametrize(
    ("words", "size", "message"),
    [
        ("--num-clients 4", "5", "must be <= num_clients=4, got 5"),
        ("", "0", "must be an integer >= 1, got '0'"),
        ("", "few", "must be an integer >= 1, got 'few'"),
        ("--fraction-train 0.5", "5", "give one"),
    ],
)
def test_a_cohort_size_that_cannot_be(words: str, size: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        chosen(words, cohort_size=size)


def test_a_wrong_number_of_clients_is_reported_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        chosen("--num-clients lots", cohort_size="5")
    assert len(caught.value.problems) == 1
