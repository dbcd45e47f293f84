"""Bugs planted in attacks on data, and in when attacks act: each turns a cell red."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from fedcore.attacks.attack import Draw, Samples
from fedcore.attacks.data import arnoise
from fedcore.attacks.data.arnoise import ArNoise
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.data.dba import Dba
from fedcore.attacks.data.secondbest import SecondBest
from fedcore.attacks.triggers.blended import Blended
from fedcore.attacks.triggers.patch import Patch as PatchTrigger
from fedcore.attacks.until import Until
from fedcore.attacks.updates.scaled import Scaled
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.engine.sequential import SequentialEngine
from fedcore.engine.stacked import StackedEngine
from fedcore.exchange.cohort import ServerState
from fedcore.federation.federation import Federation
from fedcore.federation.threat import Threat
from fedcore.harness.proofs.judge import training_problems
from fedcore.simulation.runner import run
from tests.harness.proofs.planted import Patch, judged, wrapped
from tests.harness.proofs.test_planted_attacks import attacked, red

RATIO = {"poison_ratio": 0.5}
SCORED = attacked(SecondBest(**RATIO))
PATCH = PatchTrigger(size=2, row=1, column=4, color=(250,))
PARTED = attacked(Dba(target=3, **RATIO))
NOISED = attacked(ArNoise(least_response=5.0, **RATIO))
ENDED = attacked(Until(of=Backdoor(target=3, **RATIO), last_round=2))
ENGINES: list[dict[str, Any]] = [{}, {"engine": "stacked"}, {"processes": 2}]


@pytest.mark.parametrize(
    "attack",
    [
        SecondBest(**RATIO),
        Backdoor(target=3, trigger=PATCH, **RATIO),
        Backdoor(target=3, trigger=Blended(), **RATIO),
        Scaled(of=Dba(target=3, **RATIO), gamma=4.0),
        ArNoise(least_response=5.0, **RATIO),
        Until(of=SecondBest(**RATIO), last_round=1),
        Until(of=Scaled(of=Dba(target=3, **RATIO)), last_round=2),
    ],
    ids=["secondbest", "patch", "blended", "scaled-dba", "arnoise", "until", "until-scaled-dba"],
)
def test_nothing_planted_nothing_found(attack: Any) -> None:
    outcome = judged(attacked(attack), processes=2)
    assert outcome.errors == ()
    success = attack.success is not None
    assert len(outcome.asr) == len(outcome.asr_twin) == success  # ASR stands beside the twin's


def around_scores(patch: Patch, state_of: Any) -> None:
    """Have engines score another model in a round: that of ``state_of`` (round, state)."""

    def see(original: Any, self: Any, state: ServerState, round: int, *rest: Any) -> Any:
        return original(self, state_of(round, state), round, *rest)

    wrapped(patch, SequentialEngine, "see", see)
    wrapped(patch, StackedEngine, "_see", see)


@pytest.mark.parametrize("how", ENGINES, ids=str)
def test_scores_of_the_model_of_the_round_before(monkeypatch: Patch, how: dict[str, Any]) -> None:
    seen: dict[int, ServerState] = {}

    def before(round: int, state: ServerState) -> ServerState:
        seen.setdefault(round, ServerState(state.vector.clone(), state.counters.clone()))
        return seen.get(round - 1, state)

    around_scores(monkeypatch, before)
    assert "poisoned labels of client" in red(SCORED, **how)


def test_scores_of_the_first_model_in_every_round(monkeypatch: Patch) -> None:
    seen: list[ServerState] = []

    def first(round: int, state: ServerState) -> ServerState:
        seen.append(ServerState(state.vector.clone(), state.counters.clone()))
        return seen[0]

    around_scores(monkeypatch, first)
    assert "poisoned labels of client" in red(SCORED)


def test_scores_in_training_mode(monkeypatch: Patch) -> None:
    """BatchNorm then uses the batch's statistics."""
    scenario = SCORED.but(model="cnn", norm="batch", rounds=2)

    def logits(original: Any, model: Any, *rest: Any) -> Any:
        model.train()
        return original(model, *rest)

    from fedcore.engine import sequential

    wrapped(monkeypatch, sequential, "logits", logits)
    assert "poisoned labels of client" in red(scenario)


def test_the_second_entry_in_the_order_of_the_scores(monkeypatch: Patch) -> None:
    def second(self: SecondBest, samples: Samples, draw: Draw) -> Samples:
        assert draw.scores is not None
        return Samples(np.argsort(-draw.scores, axis=1)[:, 1])

    monkeypatch.setattr(SecondBest, "poison", second)
    assert "changed fewer labels than it poisoned" in red(SCORED)  # y where the model errs
    (problem,) = training_problems(run(SCORED, device="cpu"))
    assert "poisoned labels of client" in problem


def test_scores_of_other_samples(monkeypatch: Patch) -> None:
    def see(original: Any, self: Threat, client: int, round: int, scores: Any) -> Any:
        return original(self, client, round, np.roll(scores, 1, axis=0))

    wrapped(monkeypatch, Threat, "see", see)
    assert "poisoned labels of client" in red(SCORED)


@pytest.mark.parametrize("how", ENGINES, ids=str)
@pytest.mark.parametrize("kept", ["all", "half", "of one client"])
def test_labels_that_stay(monkeypatch: Patch, how: dict[str, Any], kept: str) -> None:
    def labels_of(original: Any, self: Threat, client: int, round: int) -> Any:
        made = original(self, client, round).copy()
        clean = self.labels[self.parts[client]]
        other = np.flatnonzero(made != clean)
        if kept != "of one client" or client in self.malicious[-1:]:
            stay = other[:: 2 if kept == "half" else 1]
            made[stay] = clean[stay]
        return made

    wrapped(monkeypatch, Threat, "labels_of", labels_of)
    assert "poisoned labels of client" in red(SCORED, **how)


def test_the_trigger_s_whole_on_every_client(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Dba, "poison", Backdoor.poison)
    assert "other poisoned images of client" in red(PARTED)


@pytest.mark.parametrize("shift", [1, 4])
def test_the_part_of_another_client(monkeypatch: Patch, shift: int) -> None:
    def other(original: Any, self: Dba, samples: Samples, draw: Draw) -> Samples:
        place = draw.place + shift if shift < 4 else 0  # 4: all have the first part
        return original(self, samples, dataclasses.replace(draw, place=place))

    wrapped(monkeypatch, Dba, "poison", other)
    assert "other poisoned images of client" in red(PARTED)


def test_parts_with_a_gap(monkeypatch: Patch) -> None:
    wrapped(monkeypatch, Dba, "cut", lambda cut, self, shape: [p[1:] for p in cut(self, shape)])
    assert "other poisoned images of client" in red(PARTED)


def test_a_probe_of_one_part(monkeypatch: Patch) -> None:
    def partly(self: Dba, test: Samples) -> Samples:
        assert test.images is not None
        others = test.labels != self.target
        few = Samples(test.labels[others], test.images[others])
        return self.poison(few, Draw(10, 0, np.random.default_rng(0)))

    monkeypatch.setattr(Dba, "probe", partly)
    assert "was probed with another set" in red(PARTED)


@pytest.mark.parametrize(
    ("trigger", "change"),
    [
        (PATCH, {"row": 2}), (PATCH, {"column": 3}), (PATCH, {"size": 3}),
        (PATCH, {"color": (249,)}), (Blended(), {"weight": 0.1}), (Blended(), {"pattern_seed": 1}),
    ],
    ids=str,
)  # fmt: skip
def test_another_trigger(monkeypatch: Patch, trigger: Any, change: dict[str, Any]) -> None:
    stamp = type(trigger).stamp
    monkeypatch.setattr(
        type(trigger), "stamp",
        lambda self, images: stamp(dataclasses.replace(self, **change), images),
    )  # fmt: skip
    message = red(attacked(Backdoor(target=3, trigger=trigger, **RATIO)))
    assert "other poisoned images of client" in message
    assert "was probed with another set than the triggered test images" in message


@pytest.mark.parametrize("kept", ["all", "half", "of one client"])
@pytest.mark.parametrize("scenario", [PARTED, NOISED], ids=["dba", "arnoise"])
def test_images_that_stay(monkeypatch: Patch, scenario: Any, kept: str) -> None:
    cls = type(scenario.parts.attack)

    def poison(original: Any, self: Any, samples: Samples, draw: Draw) -> Samples:
        made = original(self, samples, draw)
        if kept != "of one client" or draw.place == 0:
            step = 2 if kept == "half" else 1
            made.images[::step] = samples.images[::step]  # type: ignore[index]
        return made

    wrapped(monkeypatch, cls, "poison", poison)
    message = red(scenario)
    assert "other poisoned images of client" in message or "none of their images" in message


@pytest.mark.parametrize("bug", ["class", "size", "linf", "wrapped"])
def test_other_noise(monkeypatch: Patch, bug: str) -> None:
    def poison(original: Any, self: Any, samples: Samples, draw: Draw) -> Samples:
        if bug == "class":
            other = (samples.labels + 1) % draw.num_classes
            return dataclasses.replace(
                original(self, dataclasses.replace(samples, labels=other), draw),
                labels=samples.labels,
            )
        return original(dataclasses.replace(self, noise_norm=self.noise_norm * 1.1), samples, draw)

    if bug in ("class", "size"):
        wrapped(monkeypatch, ArNoise, "poison", poison)
    elif bug == "linf":
        monkeypatch.setattr(arnoise.np, "square", np.abs)  # another norm
    else:
        monkeypatch.setattr(arnoise.np, "clip", lambda values, low, high: values % 1)
    assert "other poisoned images of client" in red(NOISED)


def test_an_attack_that_does_not_end(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Until, "acts", lambda self, round: True)
    message = red(ENDED)
    assert "in round 3, the attack ends with round 2" in message
    message = red(attacked(Until(of=SignFlip(), last_round=2)))
    assert "which took part 2 times up to round 2" in message


def test_an_attack_that_ends_a_round_early(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Until, "acts", lambda self, round: round < self.last_round)
    assert "poisoned images of client" in red(ENDED)


@pytest.mark.parametrize("how", ENGINES, ids=str)
def test_copies_that_are_trained_on_after_the_end(monkeypatch: Patch, how: dict[str, Any]) -> None:
    monkeypatch.setattr(
        Threat, "samples_of", lambda self, client, round: self.pool.get(client, self.parts[client])
    )
    assert "in round 3, the attack ends with round 2" in red(ENDED, **how)


def test_labels_that_stay_poisoned_after_the_end(monkeypatch: Patch) -> None:
    monkeypatch.setattr(
        Threat, "labels_of", lambda self, client, round: self.labels[self.parts[client]]
    )
    assert "in round 3, the attack ends with round 2" in red(ENDED)


def test_an_update_attack_that_is_left_out_of_its_last_round(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Threat, "acts", lambda self, round: round == 1)
    message = red(attacked(Until(of=SignFlip(), last_round=2)))
    assert "has evidence of 1 of 2 attacked updates" in message


def test_local_work_that_goes_on(monkeypatch: Patch) -> None:
    scenario = attacked(Until(of="tests.attacks.examples:Overtrain(factor=2)", last_round=2))
    assert judged(scenario).errors == ()
    monkeypatch.setattr(Federation, "_work_of", lambda self, client, round: self._work)
    assert "did other local work than asked for: client" in red(scenario)
