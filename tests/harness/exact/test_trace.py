from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario, run
from fedcore.harness.exact.trace import Trace, absolute_or_relative, divergence

TRACE = Trace(1000, (1, 2, 3), (100, 900, 912), (2.3, 0.5, 0.4123), None, None, "aa")


def but(**changes: object) -> Trace:
    return dataclasses.replace(TRACE, **changes)


@pytest.mark.parametrize(
    ("now", "round", "text"),
    [
        (
            but(correct=(100, 900, 913)),
            3,
            "first in round 3: 912 -> 913 of 1000 correct (+0.10 pp)",
        ),
        (
            but(correct=(100, 880, 913), loss=(2.3, 0.75, 0.4)),
            2,
            "first in round 2: 900 -> 880 of 1000 correct (-2.00 pp), loss 0.5 -> 0.75 (+0.25)",
        ),
        (
            but(loss=(2.3, 0.5, math.nextafter(0.4123, 1))),
            3,
            "first in round 3: loss 0.4123 -> 0.4123 (+5.6e-17)",
        ),
        (but(loss=(2.3, None, None)), 2, "first in round 2: loss 0.5 -> none"),
        (but(asr=(0.0, 0.0, 0.0)), 1, "first in round 1: ASR - -> 0.00 %"),
        (but(model="bb"), None, "the final models differ (aa -> bb), and no score does"),
        (but(tested=999), None, "test images 1000 -> 999"),
        (but(rounds=(1, 2, 4)), None, "evaluated round 3 -> 4"),
        (
            Trace(1000, (1, 2), (100, 900), (2.3, 0.5), None, None, "aa"),
            None,
            "evaluated rounds 3 -> 2",
        ),
        (but(diverged=3), None, "diverged in round None -> 3"),
    ],
)
def test_where_two_runs_part(now: Trace, round: int | None, text: str) -> None:
    found = divergence(TRACE, now)
    assert found is not None
    assert (found.round, found.text) == (round, text)


def test_equal_runs_do_not_part() -> None:
    assert divergence(TRACE, but()) is None
    assert divergence(TRACE, TRACE.without_model()) is None  # of another machine


@pytest.mark.parametrize(
    ("before", "now", "equal"),
    [
        (0.5, 0.5 + 0.9e-6, True),
        (0.5, 0.5 + 1.1e-6, False),
        (0.0, 0.9e-6, True),
        (40.0, 40.0 + 3.9e-5, True),
        (40.0, 40.0 + 4.1e-5, False),
    ],
)
def test_the_tolerance_of_losses(before: float, now: float, equal: bool) -> None:
    assert absolute_or_relative(1e-6)(before, now) is equal
    old, new = (but(loss=(2.3, value, 0.4)) for value in (before, now))
    assert (divergence(old, new, absolute_or_relative(1e-6)) is None) is equal
    # one test image more is a difference, however near the losses are
    assert divergence(old, but(loss=old.loss, correct=(100, 901, 912)), lambda a, b: True)


def test_the_tail_is_that_of_the_record() -> None:
    scenario = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=7, eval_every=2)
    record = run(scenario, device="cpu")
    trace = Trace.of(record, 1000)
    assert trace.rounds == (2, 4, 6, 7)
    assert all(isinstance(count, int) for count in trace.correct)
    assert tuple(count / 1000 for count in trace.correct) == record.accuracy
    assert trace.tail == 100 * record.tail_accuracy
    assert Trace.from_dict(json.loads(json.dumps(trace.to_dict()))) == trace


def test_a_share_that_is_no_number_of_images_is_kept_as_it_is() -> None:
    # a diverged run scores chance: a third of 1000 images is no whole number of them
    record = run(Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=2))
    chance = dataclasses.replace(record, accuracy=(0.5, 1 / 3), loss=(1.0, None), diverged=2)
    trace = Trace.of(chance, 1000)
    assert trace.correct == (500, 1 / 3)
    again = Trace.from_dict(json.loads(json.dumps(trace.to_dict())))
    assert (again, again.loss, again.diverged) == (trace, (1.0, None), 2)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 1000), st.floats(0, 1, exclude_max=True)),
            st.none() | st.floats(0, 1e6),
        ),
        min_size=1,
    ),
    st.booleans(),
)
def test_any_trace_is_read_as_it_was_written(rows: list[tuple], targeted: bool) -> None:
    correct, loss = zip(*rows, strict=True)
    rounds = tuple(range(2, 2 * len(rows) + 2, 2))
    asr = tuple(0.25 for _ in rows) if targeted else None
    trace = Trace(1000, rounds, correct, loss, asr, None, "aa")
    again = Trace.from_dict(json.loads(json.dumps(trace.to_dict())))
    assert again == trace
    assert divergence(again, trace) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"correct": [100, 900, 1001]},
        {"correct": [100, 900, -1]},
        {"correct": [100, 900, 1.5]},
        {"correct": [100, 900, True]},
        {"correct": [100, 900]},
        {"loss": [1.0, 2.0, "3"]},
        {"asr": [0.5, 0.5, 1.5]},
        {"asr": [0.5]},
    ],
)
def test_what_no_run_can_score_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Trace.from_dict({**TRACE.to_dict(), **damage})
