"""Second-best flip: the best class but y, of the model that the round begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedcore.attacks.attack import Draw, Samples
from fedcore.attacks.data.secondbest import SecondBest
from fedcore.engine.execution import Execution
from fedcore.engine.interface import ENGINES
from fedcore.errors import AttackError, ScenarioError
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.streams import Purpose, stream

NAN, INF = np.nan, np.inf
CLASSES = 4
SCORES = arrays(
    np.float64, (5, CLASSES), elements=st.sampled_from([0.0, 1.0, -2.0, 0.5, NAN, INF, -INF])
)


def flipped(labels: Any, scores: Any) -> list[int]:
    labels, scores = np.array(labels), np.array(scores, np.float64)
    draw = Draw(scores.shape[1], 0, np.random.default_rng(0), scores=scores)
    made = SecondBest().poison(Samples(labels), draw)
    assert made.images is None
    assert made.labels.dtype == np.int64
    return made.labels.tolist()


def test_by_hand() -> None:
    scores = [[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.1, 0.9, 0.5]]
    # where the model errs, its best class is the label, and not that of index 1 in its order
    assert flipped([1, 2, 0], scores) == [2, 1, 1]
    assert flipped([0, 1], [[1, 1, 1], [1, 1, 1]]) == [1, 0]  # of equal ones the lowest
    assert flipped([1, 1], [[NAN, 3, NAN], [NAN, 3, -INF]]) == [0, 0]  # never y


@given(st.lists(st.integers(0, CLASSES - 1), min_size=5, max_size=5), SCORES)
def test_it_is_never_y_and_no_other_class_but_y_scores_more(labels: Any, scores: Any) -> None:
    made = flipped(labels, scores)
    assert made == SecondBest().labels_due(np.array(labels), scores).tolist()
    plain = np.where(np.isnan(scores), -INF, scores)
    for y, new, row in zip(labels, made, plain, strict=True):
        assert new != y
        assert row[new] == max(np.delete(row, y))


def test_two_classes_are_the_other_one() -> None:
    assert flipped([0, 1, 1], [[5, 1], [5, 1], [1, 5]]) == [1, 0, 0]
    assert SecondBest().data_problems(1, (8, 8, 1)) != []


def scenario(**changes: Any) -> Scenario:
    fields = {"dataset": "synthetic:300", "model": "mlp", "rounds": 3, **changes}
    return Scenario(
        num_clients=6, fraction_train=1.0, attack="secondbest", malicious_fraction=0.5,
        poison_ratio=0.5, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["sequential", "stacked"])
def test_labels_are_those_of_a_forward_pass_of_the_round_in_evaluation_mode(name: str) -> None:
    """Dropout off and running statistics on, for the samples that the round's stream selects."""
    chosen = scenario(model="cnn", norm="batch")
    cpu = torch.device("cpu")
    federation = Federation.prepare(chosen, 0, None, cpu)
    engine = ENGINES[name](federation, Execution(name, "cpu", "float64"))
    state = engine.initial_state()
    generator = torch.Generator().manual_seed(0)
    for round in (1, 2):
        state.vector += 0.05 * torch.rand(
            state.vector.shape, generator=generator, dtype=torch.float64
        )
        engine.train(state, round, (0, 1, 2, 3, 4, 5))
        model = federation.initial_model().double().eval()
        model.load_state_dict(engine.layout.state_dict(state.vector, state.counters))
        for client in federation.threat.malicious.tolist():
            part = federation.parts[client]
            images = federation.transform(federation.train_images[torch.from_numpy(part)])
            with torch.no_grad():
                scores = model(images.double()).numpy()
            clean = federation.dataset.train.labels.numpy()[part]
            scores[np.arange(len(part)), clean] = -INF
            selection = stream(0, Purpose.POISONED_SAMPLES, round=round, client=client)
            taken = selection.permutation(np.arange(len(part)))[: round_half(0.5 * len(part))]
            expected = clean.copy()
            expected[taken] = scores.argmax(axis=1)[taken]
            drawn = federation.threat.labels_of(client, round)
            assert np.array_equal(drawn, expected)
    for poison in federation.threat.audit():
        assert poison.draws == 2
        assert poison.changed == poison.poisoned == 2 * round_half(0.5 * poison.samples)


def round_half(value: float) -> int:
    return int(value + 0.5)


def test_the_record_says_what_the_labels_had_to_be() -> None:
    record = run(scenario(), device="cpu")
    evidence = record.audit.training
    assert evidence is not None
    labels = dict(zip(evidence.clients, evidence.labels, strict=True))
    assert [client for client, _ in evidence.due] == list(record.audit.malicious)
    assert dict(evidence.due).items() <= labels.items()
    assert all(poison.draws == 3 for poison in record.audit.poison)
    calm = run(scenario().clean_twin(), device="cpu")
    assert calm.audit.training.due == ()  # type: ignore[union-attr]


def test_a_client_that_trains_again_in_a_process_draws_again() -> None:
    federation = Federation.prepare(scenario(), 0, None, torch.device("cpu"))
    engine = ENGINES["sequential"](federation, Execution("sequential", "cpu"))
    client = int(federation.threat.malicious[0])
    state, first = engine.initial_state(), []
    for sign in (1, -1):
        state.vector *= sign
        engine.train(state, 1, (client,))
        first.append(federation.threat.labels_of(client, 1).tolist())
    assert first[0] != first[1]


def test_engines_without_scores_and_dpsgd_are_refused() -> None:
    federation = Federation.prepare(scenario(), 0, None, torch.device("cpu"))
    client = int(federation.threat.malicious[0])
    with pytest.raises(AttackError, match="this engine does not work out: choose --engine sequ"):
        federation.threat.labels_of(client, 1)
    with pytest.raises(ScenarioError, match="privacy='dpsgd' samples single examples"):
        scenario(privacy="dpsgd", noise_multiplier=1.0)


def test_it_draws_anew_always() -> None:
    with pytest.raises(ScenarioError, match="redraw"):
        scenario(redraw=False)
