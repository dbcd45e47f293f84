"""Bugs planted in what is trained on, scored or shared: each ends its cell, by its name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fedcore.data import loading
from fedcore.data.dataset import Split
from fedcore.engine import sequential
from fedcore.engine.sequential import SequentialEngine
from fedcore.engine.stack.pool import Pool
from fedcore.engine.stack.step import Steps
from fedcore.federation import federation
from fedcore.federation.federation import Federation
from fedcore.federation.threat import Threat
from fedcore.harness.statistics.estimates import CellVerdict
from tests.harness.proofs.planted import ATTACKED, MALICIOUS, Patch, judged, wrapped

Undo = Callable[[Threat, int, int, Any, Any], Any]


def labels_where(patch: Patch, undone: Undo) -> None:
    """Training labels that ``undone`` (threat, client, round, clean, poisoned) gives."""
    truth = loading.load(ATTACKED.dataset).train.labels.numpy()

    def around(original: Any, self: Threat, client: int, round: int) -> Any:
        clean = truth[self.parts[client]]
        return undone(self, client, round, clean, original(self, client, round))

    wrapped(patch, Threat, "labels_of", around)


def half(threat: Threat, client: int, round: int, clean: Any, poisoned: Any) -> Any:
    changed = np.flatnonzero(clean != poisoned)
    result = poisoned.copy()
    result[changed[::2]] = clean[changed[::2]]
    return result


def every_second(threat: Threat, client: int, round: int, clean: Any, poisoned: Any) -> Any:
    acting = [int(c) for c in threat.malicious]
    return clean if client in acting and acting.index(client) % 2 else poisoned


def odd_rounds(threat: Threat, client: int, round: int, clean: Any, poisoned: Any) -> Any:
    return poisoned if round % 2 else clean


def nobody(threat: Threat, client: int, round: int, clean: Any, poisoned: Any) -> Any:
    return clean


def everybody(threat: Threat, client: int, round: int, clean: Any, poisoned: Any) -> Any:
    """An honest client flips a label as well."""
    if threat.scenario.attack is None or client in threat.malicious:
        return poisoned
    result = poisoned.copy()
    result[0] = (result[0] + 1) % 10
    return result


def permuted(threat: Threat, client: int, round: int, clean: Any, poisoned: Any) -> Any:
    """As many wrong labels, on other samples."""
    changed = clean != poisoned
    result = poisoned.copy()
    result[changed] = (clean[changed] + 1) % 10
    return result


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize(
    ("undone", "message"),
    [
        (half, r"trained on \d+ of \d+ poisoned labels of client 1 in round 1 and 2 other rounds"),
        (every_second, r"trained on 0 of \d+ poisoned labels of client \d in round 1 and 2 other"),
        (odd_rounds, r"trained on 0 of \d+ poisoned labels of client \d in round 2"),
        (nobody, r"trained on 0 of \d+ poisoned labels of client \d in round 1"),
        (everybody, r"trained on 3 wrong labels of client \d, which is not malicious"),
        (permuted, r"trained on other poisoned labels of client \d than the attack gives"),
    ],
)
def test_poison_that_is_counted_and_not_trained_on(
    monkeypatch: Patch, undone: Undo, message: str, redraw: bool, engine: str
) -> None:
    message = message.replace("client 1", f"client {MALICIOUS[0]}")
    labels_where(monkeypatch, undone)
    outcome = judged(ATTACKED.but(redraw=redraw), engine=engine)
    assert outcome.verdict is CellVerdict.ERROR
    (error,) = outcome.errors
    assert re.search(message, error), error


@pytest.mark.parametrize("strategy", ["krum", "multikrum", "bulyan"])
def test_an_attack_that_nobody_trains_on_under_rules_that_choose_clients(
    monkeypatch: Patch, strategy: str
) -> None:
    scenario = ATTACKED.but(strategy=strategy, malicious_fraction=0.25, optimizer="sgd")
    assert judged(scenario).errors == ()
    labels_where(monkeypatch, nobody)
    (error,) = judged(scenario).errors
    assert "trained on 0 of " in error


def undo_at_the_loss(patch: Patch) -> None:
    def around(original: Any, self: Any, images: Any, labels: Any) -> None:
        odd = torch.arange(len(labels)) % 2 == 0
        original(self, images, torch.where(odd, labels, (labels + 1) % 10))

    wrapped(patch, SequentialEngine, "_differentiate", around)


def swapped(patch: Patch) -> None:
    """A federation whose training images are the test split's."""

    def prepare(original: Any, *arguments: Any) -> Federation:
        made = original(*arguments)
        images = made.test.images[: len(made.train_images)]
        return dataclasses.replace(made, train_images=images)

    original = Federation.prepare
    patch.setattr(Federation, "prepare", lambda *a: prepare(original, *a))


def gathered_from_test(patch: Patch) -> None:
    def images(self: SequentialEngine, samples: torch.Tensor) -> torch.Tensor:
        raw = self.federation.test.images.index_select(0, samples)
        return self.federation.transform(raw).to(self.dtype)

    patch.setattr(SequentialEngine, "_images", images)


def batches_from_test(patch: Patch) -> None:
    def around(original: Any, self: Any, samples: Any, bounds: Any) -> Any:
        for start, stop, _ in original(self, samples, bounds):
            raw = self.federation.test.images[start:stop]
            yield start, stop, self.federation.transform(raw)

    wrapped(patch, SequentialEngine, "_batches", around)


def fed_at_the_loss(patch: Patch) -> None:
    def around(original: Any, self: Any, images: Any, labels: Any) -> None:
        test = self.federation.transform(self.federation.test.images[: len(images)])
        original(self, test, labels)

    wrapped(patch, SequentialEngine, "_differentiate", around)


def appended(patch: Patch) -> None:
    """The test split at the end of the training split, as the loader hands it out."""

    def around(original: Any, *arguments: Any) -> Any:
        made = original(*arguments)
        train = Split(
            torch.cat([made.train.images, made.test.images[:200]]),
            torch.cat([made.train.labels, made.test.labels[:200]]),
        )
        return dataclasses.replace(made, train=train)

    wrapped(patch, federation, "load", around)
    from fedcore.engine import marks

    patch.setattr(marks, "load", federation.load)


def replaced(patch: Patch) -> None:
    """As many training images as before, some of them the test split's."""

    def around(original: Any, *arguments: Any) -> Any:
        made = original(*arguments)
        images = made.train.images.clone()
        images[:40] = made.test.images[:40]
        return dataclasses.replace(made, train=Split(images, made.train.labels))

    wrapped(patch, federation, "load", around)
    from fedcore.engine import marks

    patch.setattr(marks, "load", federation.load)


OF_TEST = "images that are not the training samples of its clients, "


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (swapped, OF_TEST),
        (gathered_from_test, OF_TEST),
        (batches_from_test, OF_TEST),
        (fed_at_the_loss, OF_TEST),
        (appended, "deals 600 training samples, the data set has 400"),
        (replaced, "images that are among the scored ones, where the data set itself has 0"),
    ],
)
def test_images_of_the_test_split_in_training(
    monkeypatch: Patch, plant: Callable[[Patch], None], message: str
) -> None:
    plant(monkeypatch)
    outcome = judged()
    assert outcome.verdict is CellVerdict.ERROR
    assert message in outcome.errors[0]
    if message is OF_TEST:
        assert "of them test images" in outcome.errors[0]


def stacked_from_test(patch: Patch) -> None:
    def around(original: Any, self: Pool, feds: Any, device: Any) -> None:
        original(self, feds, device)
        self.images = feds[0].test.images[: len(self.images)]

    wrapped(patch, Pool, "__init__", around)


@pytest.mark.parametrize(
    ("plant", "how"),
    [
        (stacked_from_test, {"engine": "stacked"}),
        (swapped, {"engine": "stacked"}),
        (swapped, {"processes": 2}),
        (fed_at_the_loss, {"processes": 2}),
        (fed_at_the_loss, {"engine": "flower-grid"}),
    ],
)
def test_images_of_the_test_split_on_other_engines(
    monkeypatch: Patch, plant: Callable[[Patch], None], how: dict[str, Any]
) -> None:
    if how.get("engine") == "flower-grid":
        pytest.importorskip("flwr")
    plant(monkeypatch)
    outcome = judged(**how)
    assert OF_TEST in outcome.errors[0]
    assert "of them test images" in outcome.errors[0]


def test_evidence_that_is_lost_is_an_error(monkeypatch: Patch) -> None:
    """Code that goes around the witness proves nothing."""

    def blind(self: SequentialEngine, state: Any) -> Any:
        self._load(state)
        fed = self.federation
        return sequential.evaluate(
            self.model, fed.test, fed.transform, fed.dataset.num_classes, None
        )

    with monkeypatch.context() as patch:
        patch.setattr(SequentialEngine, "evaluate", blind)
        error = judged().errors[0]
        assert "leaves no evidence of training: the engine does not note what it scores" in error

    def differentiate(self: SequentialEngine, images: Any, labels: Any) -> None:
        self._gradient.zero_()
        torch.nn.functional.cross_entropy(self.model(images), labels).backward()

    with monkeypatch.context() as patch:
        patch.setattr(SequentialEngine, "_differentiate", differentiate)
        assert "leaves no evidence of what entered the loss" in judged().errors[0]

    def cohort(original: Any, *arguments: Any) -> Any:
        return dataclasses.replace(original(*arguments), noted=None)

    wrapped(monkeypatch, SequentialEngine, "cohort", cohort)
    assert "the engine does not note what it trains on" in judged().errors[0]


def undo_in_a_stacked_step(patch: Patch) -> None:
    def around(original: Any, self: Any, batch: Any) -> None:
        labels = batch.labels.clone()
        labels[:, ::2] = (labels[:, ::2] + 1) % 10
        original(self, dataclasses.replace(batch, labels=labels))

    wrapped(patch, Steps, "_differentiate", around)


@pytest.mark.parametrize(
    ("undo", "engine"), [(undo_at_the_loss, "sequential"), (undo_in_a_stacked_step, "stacked")]
)
def test_labels_changed_at_the_loss(
    monkeypatch: Patch, undo: Callable[[Patch], None], engine: str
) -> None:
    undo(monkeypatch)
    assert "poisoned labels of client" in "; ".join(judged(engine=engine).errors)
