"""Balanced accuracy between guessing and no error, by hand."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario, run
from fedcore.harness.suite.skill import tail_skill
from fedcore.records.record import Record


@pytest.fixture(scope="module")
def record() -> Record:
    return run(
        Scenario(dataset="synthetic:100", model="mlp", num_clients=2, rounds=1), device="cpu"
    )


def skill(record: Record, *recall: tuple[float | None, ...]) -> float:
    rounds = tuple(range(1, len(recall) + 1))
    found = tail_skill(dataclasses.replace(record, rounds=rounds, recall=recall))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("recall", "expected"),
    [
        ((1.0, 1.0), 1.0),
        ((0.0, 1.0), 0.0),  # names one class for every image, whatever its share
        ((0.8, 0.6), 0.4),  # (0.7 - 0.5) / 0.5
        ((0.0, 0.0), -1.0),  # two classes exchanged
        ((0.0, 0.0, 0.0, 1.0), 0.0),
        ((1.0, 0.0, None), 0.0),  # a class that the test set does not hold
    ],
)
def test_by_hand(record: Record, recall: tuple[float | None, ...], expected: float) -> None:
    assert skill(record, recall) == pytest.approx(expected)


def test_a_single_class_has_no_skill_that_could_be_measured(record: Record) -> None:
    recall = ((0.9, None), (1.0, None))
    assert tail_skill(dataclasses.replace(record, rounds=(1, 2), recall=recall)) is None


def test_the_rounds_are_those_of_the_tail_accuracy(record: Record) -> None:
    early, late = (0.0, 1.0), (1.0, 1.0)
    assert skill(record, *[early] * 7, *[late] * 3) == 1.0
    assert skill(record, *[late] * 7, *[early] * 3) == 0.0


@given(st.integers(2, 12), st.integers(0, 11))
def test_a_constant_answer_has_no_skill(classes: int, named: int) -> None:
    from fedcore.harness.suite.skill import _skill

    recall = tuple(float(c == named % classes) for c in range(classes))
    assert _skill(recall) == pytest.approx(0, abs=1e-12)
