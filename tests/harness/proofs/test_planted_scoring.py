"""Bugs planted in what the global model is scored on: each ends its cell, by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from fedcore.data import loading
from fedcore.data.dataset import Split
from fedcore.engine import sequential, stacked
from fedcore.federation.federation import Federation
from fedcore.harness.statistics.estimates import CellVerdict
from tests.harness.proofs.planted import ATTACKED, Patch, judged, wrapped


def score_training(patch: Patch) -> None:
    def prepare(original: Any, *arguments: Any) -> Federation:
        made = original(*arguments)
        return dataclasses.replace(made, test=Split(made.train_images, made.dataset.train.labels))

    original = Federation.prepare
    patch.setattr(Federation, "prepare", lambda *a: prepare(original, *a))


def evaluate_training(patch: Patch) -> None:
    def around(original: Any, model: Any, test: Any, *rest: Any) -> Any:
        train = loading.load(ATTACKED.dataset).train
        return original(model, train, *rest)

    for module in (sequential, stacked):
        wrapped(patch, module, "evaluate", around)


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
@pytest.mark.parametrize("plant", [score_training, evaluate_training])
def test_scoring_on_training_images(
    monkeypatch: Patch, plant: Callable[[Patch], None], engine: str
) -> None:
    plant(monkeypatch)
    outcome = judged(engine=engine)
    assert outcome.verdict is CellVerdict.ERROR
    assert "was scored on 1200 images that are not those of the test split" in outcome.errors[0]
    assert "1200 of them training images" in outcome.errors[0]


def test_scoring_half_of_the_test_split_or_other_labels(monkeypatch: Patch) -> None:
    def around(original: Any, model: Any, test: Any, *rest: Any) -> Any:
        return original(model, Split(test.images[:500], test.labels[:500]), *rest)

    with monkeypatch.context() as patch:
        wrapped(patch, sequential, "evaluate", around)
        assert "was scored on 500 images, which are not the 1000" in judged().errors[0]

    def relabelled(original: Any, model: Any, test: Any, *rest: Any) -> Any:
        return original(model, Split(test.images, test.labels.roll(1)), *rest)

    wrapped(monkeypatch, sequential, "evaluate", relabelled)
    assert "labels that are not those of the test split" in judged().errors[0]
