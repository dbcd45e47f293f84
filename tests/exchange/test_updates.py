"""What the audit of updates measures, by hand, and what it finds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.exchange import updates
from fedcore.exchange.cohort import Cohort
from fedcore.exchange.updates import UpdateLog, signature_problems, update_problems
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run


def cohort(rows: Any, clients: tuple[int, ...] = (0, 2, 5)) -> Cohort:
    updates = torch.as_tensor(rows, dtype=torch.float64)
    size = len(updates)
    none = torch.zeros(size, 0, dtype=torch.int64)
    return Cohort(clients, updates, none, (1,) * size, (1,) * size, (None,) * size)


def test_measures_by_hand() -> None:
    log = UpdateLog([2])
    # of the last column, a buffer, nothing is measured
    log.sent(
        1, cohort([[0, 4, 9], [3, 0, 9], [0, 8, 9]]), cohort([[0, 4, 9], [0, 6, 9], [0, 8, 9]]), 2
    )
    (audit,) = log.audits()
    assert (audit.client, audit.participations, audit.alone) == (2, 1, 0)
    assert audit.change == pytest.approx([math.sqrt(45) / 3] * 2)
    assert audit.cosine == (0.0, 0.0)
    assert audit.ratio == (2.0, 2.0)
    assert audit.benign_cosine == (1.0, 1.0)  # their mean is (0, 6)
    assert audit.benign_ratio == (1.0, 1.0)


def test_spans_are_over_rounds_and_the_digest_knows_them() -> None:
    honest = cohort([[1.0, 0], [1, 0], [1, 0]])
    logs = [UpdateLog([2]), UpdateLog([2])]
    for log, factors in zip(logs, ((2.0, 4.0), (4.0, 2.0)), strict=True):
        for round, factor in enumerate(factors, 1):
            log.sent(round, honest, cohort([[1.0, 0], [factor, 0], [1, 0]]), 2)
    one, other = (log.audits()[0] for log in logs)
    assert one.ratio == other.ratio == (2.0, 4.0)
    assert one.change == (1.0, 2.0)  # the mean of 1 and 3
    assert one.participations == 2
    assert one.digest != other.digest


def test_a_change_of_somebody_else_is_noted_and_the_others_are_not() -> None:
    log = UpdateLog([2])
    log.sent(1, cohort([[1.0, 0], [1, 0], [1, 0]]), cohort([[1.0, 0], [1, 0], [2, 0]]), 2)
    assert [audit.client for audit in log.audits()] == [2, 5]
    assert log.audits()[0].change == (0.0, 0.0)


def test_nothing_is_measured_where_nobody_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "mean_of_rows", lambda *given: pytest.fail("nobody reads it"))
    log, honest = UpdateLog([7]), cohort([[1.0, 0], [1, 0], [1, 0]])
    log.sent(1, honest, honest, 2)
    assert log.audits() == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_leave_no_measure(bad: float) -> None:
    log = UpdateLog([2])
    log.sent(1, cohort([[1.0, 0], [1, 2], [1, 0]]), cohort([[1.0, 0], [bad, -bad], [1, 0]]), 2)
    (audit,) = log.audits()
    assert (audit.participations, audit.change, audit.cosine, audit.ratio) == (1, None, None, None)


def test_honest_rows_that_are_not_finite_are_nobodys_attack() -> None:
    log, rows = UpdateLog([2]), [[math.nan, math.inf], [1, 2], [1, 0]]
    log.sent(1, cohort(rows), cohort(rows), 2)
    assert [audit.client for audit in log.audits()] == [2]


def test_a_cohort_of_malicious_clients_is_counted() -> None:
    log = UpdateLog([0, 2, 5])
    log.sent(1, cohort([[1.0, 0]] * 3), cohort([[0.0, 1]] * 3), 2)
    assert [audit.alone for audit in log.audits()] == [1, 1, 1]
    assert log.audits()[0].benign_cosine is None


@given(st.floats(0.1, 10), st.integers(0, 100))
def test_the_honest_rows_are_read_only_in_every_type(factor: float, seed: int) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((3, 4)))
    for kind in (torch.float64, torch.float32):
        honest = cohort(rows)
        honest = dataclasses.replace(honest, updates=rows.to(kind).clone())
        sent = dataclasses.replace(
            honest, updates=honest.updates * torch.tensor([1, -factor, 1])[:, None].to(kind)
        )
        before = honest.updates.clone()
        log = UpdateLog([2])
        log.sent(1, honest, sent, 4)
        assert torch.equal(honest.updates, before)
        assert log.audits()[0].ratio == pytest.approx([factor] * 2, rel=1e-5)
        assert log.audits()[0].cosine == pytest.approx([-1.0] * 2, rel=1e-6)


RECORD = run(
    Scenario(
        dataset="synthetic:200", model="mlp", num_clients=6, fraction_train=0.5, rounds=4,
        attack="signflip", malicious_fraction=0.5,
    ),
    device="cpu",
)  # fmt: skip


def changed(**fields: Any) -> Record:
    first, *rest = RECORD.audit.updates
    audits = (dataclasses.replace(first, **fields), *rest)
    return dataclasses.replace(RECORD, audit=dataclasses.replace(RECORD.audit, updates=audits))


def test_problems_of_a_record() -> None:
    assert list(update_problems(RECORD)) == []
    client, count = RECORD.audit.updates[0].client, RECORD.audit.updates[0].participations
    assert list(update_problems(changed(participations=count - 1))) == [
        f"has evidence of {count - 1} of {count} attacked updates of client {client}"
    ]
    assert list(update_problems(changed(change=(0.0, 1.0)))) == [
        f"left an update of malicious client {client} as it was"
    ]
    benign = next(c for c in range(6) if c not in RECORD.audit.malicious)
    assert f"changed updates of clients [{benign}]" in next(update_problems(changed(client=benign)))
    assert list(signature_problems(RECORD, "cosine", -1.0)) == []
    assert list(signature_problems(changed(cosine=(-1.0, -0.99)), "cosine", -1.0)) == [
        f"sends updates of client {client} whose cosine is -1 to -0.99, the attack's is -1"
    ]
    assert list(signature_problems(changed(cosine=None), "cosine", -1.0)) == []


def test_records_of_older_attacks_are_written_as_before() -> None:
    flip = RECORD.scenario.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=0.5)
    values = run(flip, device="cpu").to_dict()
    assert "updates" not in values["audit"]
    assert not {"copies", "probed"} & set(values["audit"]["training"])
    assert not {"images", "images_changed"} & set(values["audit"]["poison"][0])
    assert "updates" in RECORD.to_dict()["audit"]
