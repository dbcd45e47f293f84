from __future__ import annotations

import dataclasses
import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import StoreError
from fedcore.federation.threat import ClientPoison
from fedcore.records.checks import record_problems
from fedcore.records.provenance import Provenance
from fedcore.records.record import (
    RECORD_SCHEMA,
    Audit,
    Exclusion,
    Identity,
    Record,
    Timings,
    tail_mean,
)
from fedcore.scenario import Scenario

RECORD = Record(
    scenario=Scenario(
        rounds=4,
        num_clients=2,
        fraction_train=1.0,
        local_epochs=(1, 2),
        attack="targetedflip",
        source_class=0,
        target_class=1,
        malicious_fraction=0.5,
        poison_ratio=1.0,
    ),
    seed=3,
    engine="sequential",
    rounds=(1, 2, 3, 4),
    accuracy=(0.1, 1 / 3, 0.5, 0.7),
    loss=(2.3, 1.0, 0.5, None),
    recall=((0.1, None), (1 / 3, None), (0.5, None), (0.7, None)),
    asr=(0.0, 0.25, 0.5, 0.3),
    diverged=None,
    model_digest="0123456789abcdef",
    audit=Audit(
        samples=(5, 6),
        epochs=(1, 2),
        cohorts=((0, 1), (0, 1), (0, 1), (0, 1)),
        malicious=(0,),
        malicious_per_round=(1, 1, 1, 1),
        poison=(ClientPoison(0, 5, 3, 3, 2, 1),),
        identity=Identity(4, 3),
        unseen="written by hand",
    ),
    timings=Timings(0.1, 0.2, 0.3, 0.4),
    provenance=Provenance(
        commit=None,
        dirty=None,
        code="c0de000000000000",
        foreign=(("attack", "f0e1000000000000"),),
        versions=(("numpy", "2"), ("torch", "2.13")),
        python="3.11",
        torch="2.13",
        numpy="2",
        device="cpu",
        machine="x",
        kernels="none",
        data="da7a000000000000",
        data_notes=("a note",),
        weights=None,
        date="2025-01-01T00:00:00+00:00",
        class_names=("cat", "dog"),
    ),
)
#: Diverged in round 3: from there on at chance, which is 1/2 here, without a loss.
DIVERGED = dataclasses.replace(
    RECORD,
    accuracy=(0.1, 1 / 3, 0.5, 0.5),
    loss=(2.3, 1.0, None, None),
    recall=((0.1, None), (1 / 3, None), (0.5, 0.5), (0.5, 0.5)),
    asr=(0.0, 0.25, 0.5, 0.5),
    diverged=3,
)


def test_json_restores_an_equal_record() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD
    assert Record.from_json(RECORD.to_json(indent=1)) == RECORD
    assert Record.from_json(DIVERGED.to_json()) == DIVERGED


def test_json_carries_what_a_reader_wants_first() -> None:
    values = json.loads(RECORD.to_json())
    assert list(values)[:3] == ["schema", "tail_accuracy", "id"]
    assert values["schema"] == RECORD_SCHEMA
    assert values["id"] == RECORD.scenario.id
    assert set(values) == {"schema", "tail_accuracy", "id", "checksum"} | {
        field.name for field in dataclasses.fields(Record)
    }


def test_numbers_that_json_has_not_are_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        dataclasses.replace(RECORD, loss=(float("nan"),)).to_json()


def test_tail_by_hand() -> None:
    assert RECORD.tail_accuracy == pytest.approx(0.6)  # 30 % of 4 is 1.2: two rounds
    assert RECORD.tail_asr == pytest.approx(0.4)
    assert dataclasses.replace(RECORD, asr=None).tail_asr is None
    assert RECORD.audit.samples_changed == 2


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
    """RECORD's JSON with other values, and the checksum that goes with them."""
    values = {**json.loads(RECORD.to_json()), **changes}
    values.pop("checksum")
    values["checksum"] = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
    return json.dumps(values)


def test_the_checksum_is_of_all_else() -> None:
    assert damaged() == RECORD.to_json()
    values = json.loads(RECORD.to_json())
    values["timings"]["train"] = 0.0
    with pytest.raises(StoreError, match="checksum does not fit"):
        Record.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", RECORD.to_json()[:-40]])
def test_what_is_no_record_is_refused(text) -> None:
    with pytest.raises(StoreError, match="this is not a record"):
        Record.from_json(text)


def test_another_schema_is_refused_with_advice() -> None:
    with pytest.raises(StoreError, match=r"schema 99 cannot be read.*reads 2.*run again"):
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
    for name in set(values) - {"schema"}:
        with pytest.raises(StoreError, match="damaged"):
            Record.from_json(json.dumps({k: v for k, v in values.items() if k != name}))


@pytest.mark.parametrize("text", [
    '{"schema": 2, "schema": 2}', '{"schema": NaN}', "[" * 100_000,
    '{"schema": ' + "9" * 5000 + "}",
])  # fmt: skip
def test_what_json_leaves_open_is_refused(text) -> None:
    with pytest.raises(StoreError, match="not a record"):
        Record.from_json(text)


def audit(**changes) -> Record:
    return dataclasses.replace(RECORD, audit=dataclasses.replace(RECORD.audit, **changes))


def made(**changes) -> Record:
    return dataclasses.replace(RECORD, provenance=dataclasses.replace(RECORD.provenance, **changes))


def other(**changes) -> Record:
    return dataclasses.replace(RECORD, **changes)


def poison(**changes) -> Record:
    return audit(poison=(dataclasses.replace(RECORD.audit.poison[0], **changes),))


#: Records that no run has, and what each breaks.
IMPOSSIBLE = [
    (other(accuracy=(0.1, 0.2, 0.3, 1.0001)), "accuracy must be in"),
    (other(accuracy=(0.1, 0.2, 0.3)), "accuracy must have 4 values, got 3"),
    (other(accuracy=(0.1, 1 / 3, 0.5, 1.0)), "accuracy must be a mean of the recalls"),
    (other(accuracy=(0.0, 1 / 3, 0.5, 0.7)), "accuracy must be a mean of the recalls"),
    (other(asr=(0.0, 0.25, 0.5, 0.4)), "asr must be <= 1 - the recall of class 0"),
    (other(loss=(-0.5, 1.0, 1.0, 1.0)), "loss must be >= 0"),
    (other(recall=((0.1, None),) * 3 + ((1.1, None),)), "recall must be in"),
    (other(recall=((0.1, None),) * 3 + ((0.1, 0.2),)), "recall must be null for"),
    (other(recall=((0.1, None),) * 3 + ((0.1,),)), "recall must have one value a class"),
    (other(recall=((None, None),) * 4), "recall must be null for"),
    (other(asr=None), "asr must be given"),
    (other(asr=(0.0, 0.0, 0.0, -0.1)), "asr must be in"),
    (other(rounds=(1, 2, 3, 5)), "evaluated rounds must be"),
    (other(seed=-1), "seed must be >= 0"),
    (other(model_digest="x" * 16), "model_digest must be"),
    (other(engine=""), "engine must be named"),
    (other(diverged=5), "diverged must be a round in"),
    (other(diverged=3), "must be at chance"),
    (other(timings=Timings(0.1, -0.1, 0.1, 0.1)), "timings.train must be >= 0"),
    (audit(samples=(5,)), "samples must have 2 values"),
    (audit(samples=(-5, 6)), "samples must be >= 0"),
    (audit(samples=(5, 0)), "a client without samples"),
    (audit(epochs=(1, 3)), "epochs must be in"),
    (audit(cohorts=((0, 1),) * 3), "cohorts of 3 rounds"),
    (audit(cohorts=((0, 1),) * 3 + ((0, 2),)), "a cohort must be 2 clients of 2"),
    (audit(cohorts=((0, 1),) * 3 + ((1, 0),)), "ascending"),
    (audit(cohorts=((0, 1),) * 3 + ((0,),)), "a cohort must be 2 clients"),
    (audit(malicious=(1,)), "malicious must be"),
    (audit(malicious_per_round=(1, 1, 1, 0)), "must count the malicious"),
    (audit(poison=()), "one entry for each malicious client"),
    (audit(identity=Identity(5, 3)), "identity.rounds_due must be in"),
    (audit(excluded=(Exclusion(5, 0, "late"),)), "excluded names client 0 of round 5"),
    (audit(excluded=(Exclusion(1, 2, "late"),)), "excluded names client 2 of round 1"),
    (poison(samples=6), "do not agree"),
    (poison(eligible=6), "other numbers of samples than poison_ratio"),
    (poison(poisoned=2), "other numbers of samples than poison_ratio"),
    (poison(changed=4), "do not agree"),
    (poison(draws=2), "other numbers of samples than poison_ratio"),
    (made(code="c0de"), "code must be 16"),
    (made(data="da7a"), "data must be 16"),
    (made(kernels="gcc"), "kernels must be 16"),
    (made(foreign=(("attack", ""),)), "foreign attack must be 16"),
    (made(weights="0123456789abcdef"), "weights must have a digest where"),
    (made(commit="0" * 40), "with dirty"),
    (made(commit="1", dirty=False), "commit must be 40"),
    (made(torch="2.14"), "versions must name torch"),
    (made(versions=(("torch", "2.13"), ("numpy", "2"))), "sorted by name"),
    (made(machine=""), "machine must be named"),
    (made(date="yesterday"), "date must be of the form"),
]


@pytest.mark.parametrize(("record", "rule"), IMPOSSIBLE)
def test_what_no_run_has_is_damage(record, rule) -> None:
    assert record_problems(RECORD) == []
    with pytest.raises(StoreError, match=f"damaged: .*{re.escape(rule)}"):
        Record.from_json(record.to_json())


def test_a_scenario_of_astronomic_numbers_is_refused_at_once() -> None:
    content = json.loads(RECORD.to_json())
    content["scenario"] |= {"num_clients": 10**15, "rounds": 10**15}
    with pytest.raises(StoreError):
        Record.from_json(json.dumps(content))


def test_the_numbers_that_a_digest_cannot_stand_for_may_be_recorded() -> None:
    for record in (made(code="changed"), made(foreign=(("attack", "unknown"),))):
        assert Record.from_json(record.to_json()) == record
    incomplete = made(kernels="0123456789abcdef-incomplete")
    assert Record.from_json(incomplete.to_json()) == incomplete
