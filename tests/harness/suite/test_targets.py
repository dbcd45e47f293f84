"""A suite's targeted flip exists on every data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedcore import Scenario
from fedcore.federation.clients import partition
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.targets import SEEDS, dealable, targeted_flip, undealt
from tests.data.examples import Drawn


def target(dataset: str, data_dir: str | None = None) -> int:
    attack = targeted_flip(Options(dataset=dataset, data_dir=data_dir))
    assert (attack["attack"], attack["source_class"]) == ("targetedflip", 1)
    return int(attack["target_class"])


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("mnist5k", 7),
        ("bloodmnist", 7),
        ("pathmnist", 7),
        ("holdout:mnist5k", 7),
        ("dermamnist", 0),
        ("breastmnist", 0),
        ("holdout:breastmnist", 0),
    ],
)
def test_published_sets_without_reading_a_file(
    dataset: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        raise AssertionError("collecting tests downloads nothing")

    monkeypatch.setattr("fedcore.data.medmnist.fetch", fetch)
    assert target(dataset, str(tmp_path)) == expected


@pytest.mark.parametrize(("classes", "expected"), [(2, 0), (7, 0), (8, 7), (11, 7)])
def test_own_data_by_their_number_of_classes(tmp_path: Path, classes: int, expected: int) -> None:
    labels = np.arange(classes)
    images = np.zeros((classes, 8, 8), np.uint8)
    file = tmp_path / "own.npz"
    np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert target(f"npz:{file}") == expected


def test_data_that_cannot_be_read_are_left_to_the_cells() -> None:
    assert target("npz:absent.npz") == 7
    assert target("holdout:npz:absent.npz") == 7


BASE = Scenario(model="mlp", num_clients=20)
SKEWED = {"partition": "dirichlet", "alpha": 0.1, "min_partition_size": 2}


def own(folder: Path, labels: np.ndarray) -> str:
    images = np.zeros((len(labels), 8, 8), np.uint8)
    file = folder / "own.npz"
    np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return f"npz:{file}"


@pytest.mark.parametrize(("classes", "samples"), [(2, 546), (3, 3000), (2, 60)])
def test_alpha_is_raised_until_all_seeds_can_be_dealt(
    tmp_path: Path, classes: int, samples: int
) -> None:
    labels = np.arange(samples) % classes
    options = Options(dataset=own(tmp_path, labels))
    (fitted,) = dealable(options, BASE, [SKEWED])
    assert fitted["alpha"] > 0.1
    scenario = BASE.but(**fitted)
    for seed in range(SEEDS):
        assert sum(map(len, partition(scenario, labels, classes, seed))) == samples
    (note,) = options.notes
    assert f"the suite takes alpha {fitted['alpha']:g}" in note
    assert "--alpha" in note


def test_what_can_be_dealt_stays_as_it_is(tmp_path: Path) -> None:
    options = Options(dataset=own(tmp_path, np.arange(4000) % 10))
    wanted = [{"partition": "iid"}, SKEWED, {"partition": "pathological", "classes_per_client": 7}]
    assert dealable(options, BASE, wanted) == wanted
    assert options.notes == []


def test_levels_that_become_equal_are_one(tmp_path: Path) -> None:
    options = Options(dataset=own(tmp_path, np.arange(546) % 2))
    levels = [{**SKEWED, "alpha": alpha} for alpha in (0.1, 0.3)]
    assert len(dealable(options, BASE, levels)) == 1


def test_clients_of_more_classes_than_there_are_are_left_out(tmp_path: Path) -> None:
    options = Options(dataset=own(tmp_path, np.arange(300) % 3))
    levels = [{"partition": "pathological", "classes_per_client": k} for k in (7, 4, 2)]
    assert dealable(options, BASE, levels) == levels[2:]
    assert len(options.notes) == 2


def test_what_a_user_sets_is_not_fitted_but_refused_once(tmp_path: Path) -> None:
    options = Options(dataset=own(tmp_path, np.arange(546) % 2), settings=(("alpha", 0.05),))
    assert dealable(options, BASE, [SKEWED]) == [SKEWED]
    scenario = BASE.but(**{**SKEWED, "alpha": 0.05}, dataset=options.dataset)
    strategies = [scenario.but(strategy=s) for s in ("fedavg", "fednova", "median")]
    (reason,) = undealt(dict.fromkeys(strategies, 9), options)
    assert "alpha=0.05" in reason


@pytest.mark.parametrize(
    ("samples", "changes", "rule"),
    [
        (15, {"partition": "iid"}, "num_clients <= samples"),
        (30, SKEWED, "lower num_clients or min_partition_size"),
        (78, {"num_clients": 100}, "num_clients=100 and 78 samples"),
        (60, {"partition": "pathological", "classes_per_client": 3}, "classes_per_client"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    tmp_path: Path, samples: int, changes: dict[str, object], rule: str
) -> None:
    options = Options(dataset=own(tmp_path, np.arange(samples) % 2))
    scenario = BASE.but(**changes, dataset=options.dataset)
    (reason,) = undealt({scenario: 3}, options)
    assert rule in reason
    assert undealt({BASE.but(dataset=options.dataset, num_clients=2): 3}, options) == []


def test_data_that_are_not_here_yet_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        raise AssertionError("collecting tests downloads nothing")

    monkeypatch.setattr("fedcore.data.medmnist.fetch", fetch)
    options = Options(dataset="breastmnist", data_dir=str(tmp_path))
    assert dealable(options, BASE, [SKEWED]) == [SKEWED]
    assert undealt({BASE.but(dataset="breastmnist", **SKEWED): 3}, options) == []


def test_each_size_of_a_data_set_with_parameters_must_be_dealt() -> None:
    few, many = (BASE.but(dataset=Drawn(samples=n)) for n in (15, 100))
    (reason,) = undealt({few: 1, many: 1}, Options())
    assert "num_clients <= samples" in reason
