from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.poisoning import ClientPoison
from fedcore.errors import StoreError
from fedcore.provenance import Provenance
from fedcore.record import SCHEMA, Audit, Identity, Record, Timings, tail_mean
from fedcore.scenario import Scenario

RECORD = Record(
    scenario=Scenario(
        rounds=4,
        local_epochs=(1, 2),
        attack="targetedflip",
        source_class=0,
        target_class=1,
        malicious_fraction=0.1,
        poison_ratio=1.0,
    ),
    seed=3,
    engine="sequential",
    rounds=(1, 2, 3, 4),
    accuracy=(0.1, 1 / 3, 0.5, 0.7),
    loss=(2.3, 1.0, None, None),
    recall=((0.1, None), (0.2, 1.0), (0.5, 0.5), (0.5, 0.5)),
    asr=(0.0, 0.25, 0.5, 1.0),
    diverged=3,
    model_digest="0123456789abcdef",
    audit=Audit(
        samples=(5, 6),
        epochs=(1, 2),
        cohorts=((0,), (0, 1), (1,), (0,)),
        malicious=(1,),
        malicious_per_round=(0, 1, 1, 0),
        poison=(ClientPoison(1, 6, 3, 3, 2, 1), ClientPoison(2, 6, 3, 3, 3, 1)),
        identity=Identity(4, 3, 2),
    ),
    timings=Timings(0.1, 0.2, 0.3, 0.4),
    provenance=Provenance(
        commit=None,
        dirty=None,
        code="c0de",
        python="3.11",
        torch="2.13",
        numpy="2",
        device="cpu",
        machine="x",
        data="da7a",
        data_notes=("a note",),
        weights=None,
        date="2025-01-01T00:00:00+00:00",
    ),
)


def test_json_restores_an_equal_record() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD
    assert Record.from_json(RECORD.to_json(indent=1)) == RECORD
    clean = dataclasses.replace(RECORD, asr=None, diverged=None)
    assert Record.from_json(clean.to_json()) == clean


def test_json_carries_what_a_reader_wants_first() -> None:
    values = json.loads(RECORD.to_json())
    assert list(values)[:3] == ["schema", "tail_accuracy", "id"]
    assert values["schema"] == SCHEMA
    assert values["id"] == RECORD.scenario.id
    assert set(values) == {"schema", "tail_accuracy", "id"} | {
        field.name for field in dataclasses.fields(Record)
    }


def test_numbers_that_json_has_not_are_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        dataclasses.replace(RECORD, loss=(float("nan"),)).to_json()


def test_tail_by_hand() -> None:
    assert RECORD.tail_accuracy == pytest.approx(0.6)  # 30 % of 4 is 1.2: two rounds
    assert RECORD.tail_asr == pytest.approx(0.75)
    assert dataclasses.replace(RECORD, asr=None).tail_asr is None
    assert RECORD.audit.samples_changed == 5


@pytest.mark.parametrize(
    ("length", "count"), [(1, 1), (2, 1), (3, 1), (4, 2), (10, 3), (11, 4), (20, 6), (100, 30)]
)
def test_tail_is_30_percent_rounded_up(length, count) -> None:
    values = (0.0,) * (length - count) + (1.0,) * count
    assert tail_mean(values) == 1.0
    if length > count:
        assert tail_mean((0.0,) * (length - count + 1) + (1.0,) * (count - 1)) < 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_tail_lies_between_the_extremes(values) -> None:
    assert min(values) - 1e-12 <= tail_mean(tuple(values)) <= max(values) + 1e-12


def damaged(**changes) -> str:
    return json.dumps({**json.loads(RECORD.to_json()), **changes})


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", RECORD.to_json()[:-40]])
def test_what_is_no_record_is_refused(text) -> None:
    with pytest.raises(StoreError, match="this is not a record"):
        Record.from_json(text)


def test_another_schema_is_refused_with_advice() -> None:
    with pytest.raises(StoreError, match=r"schema 99 cannot be read.*reads 1.*run again"):
        Record.from_json(damaged(schema=99))


@pytest.mark.parametrize(
    "changes",
    [
        {"audit": None},
        {"audit": {}},
        {"accuracy": 0.5},
        {"recall": [0.5]},
        {"timings": {"setup": 1.0}},
        {"provenance": {**json.loads(RECORD.to_json())["provenance"], "extra": 1}},
        {"scenario": {"strategy": "fednovo"}},
        {"scenario": {"no_field": 1}},
        {"scenario": None},
    ],
)
def test_damage_is_reported(changes) -> None:
    with pytest.raises(StoreError, match="this record is damaged"):
        Record.from_json(damaged(**changes))


def test_a_missing_part_is_damage() -> None:
    values = json.loads(RECORD.to_json())
    for name in set(values) - {"schema", "tail_accuracy", "id"}:
        with pytest.raises(StoreError, match="damaged"):
            Record.from_json(json.dumps({k: v for k, v in values.items() if k != name}))
