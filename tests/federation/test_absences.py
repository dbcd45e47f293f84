"""Clients that drop out and come back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore import Scenario, run
from fedcore.errors import ScenarioError, StoreError
from fedcore.federation.absences import Absences
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.harness.suite.pairs import unpaired
from fedcore.records.record import Record
from fedcore.scenario.absent import transitions
from fedcore.simulation.lockstep import run_lockstep

BASE = Scenario(
    dataset="synthetic:300", model="mlp", num_clients=8, fraction_train=0.75, rounds=4, lr=0.1,
    absent_fraction=0.5, absent_rounds=3.0,
)  # fmt: skip
ATTACKED = BASE.but(attack="signflip", malicious_fraction=0.25)


def test_the_chain_by_hand() -> None:
    # leaves with q, comes back with 1/4: q * 0.8 = 0.2 / 4
    leaves, stays = transitions(BASE.but(absent_fraction=0.2, absent_rounds=4.0))
    assert (leaves, stays) == pytest.approx((0.0625, 0.75))
    assert transitions(BASE.but(absent_fraction=0.2, absent_rounds=None)) == (0.2, 0.2)
    # 1 / (1 - share) rounds in the mean is what independent rounds give
    same = transitions(BASE.but(absent_fraction=0.2, absent_rounds=1.25))
    assert same == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize(("share", "length"), [(0.3, 5.0), (0.3, None), (0.5, 1.0)])
def test_shares_and_spells_are_those_asked_for(share: float, length: float | None) -> None:
    scenario = BASE.but(absent_fraction=share, absent_rounds=length, rounds=4000)
    absences = Absences(scenario, 0)
    away = np.array([absences._chain(client) for client in range(40)])
    # a chain of spells of 5 has an effective number of draws of about a ninth
    assert abs(away.mean() - share) < 5 * np.sqrt(share * (1 - share) * 9 / away.size)
    assert abs(away[:, :10].mean() - share) < 0.12, "it begins in its long-run state"
    spells = [len(s) for row in away for s in "".join("x" if a else " " for a in row).split()]
    assert np.mean(spells) == pytest.approx(length or 1 / (1 - share), rel=0.05)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.05, 0.95), st.integers(1, 6))
def test_a_cohort_never_falls_below_who_is_waited_for(seed: int, share: float, least: int) -> None:
    absences = Absences(
        BASE.but(absent_fraction=share, absent_rounds=None, min_present=least), seed
    )
    drawn = 0, 1, 3, 4, 6, 7
    for round in range(1, 5):
        absent = absences.of(round, drawn)
        assert set(absent) <= set(drawn)
        assert list(absent) == sorted(absent)
        assert len(drawn) - len(absent) >= least
        away = [client for client in drawn if absences._chain(client)[round - 1]]
        assert len(absent) == min(len(away), len(drawn) - least), "nobody else is missed"


def test_absences_do_not_depend_on_the_horizon_or_on_who_else_is_drawn() -> None:
    short, long = Absences(BASE, 3), Absences(BASE.but(rounds=50), 3)
    everybody = tuple(range(8))
    for round in range(1, 5):
        absent = long.of(round, everybody)
        assert short.of(round, everybody) == absent
        some = {2, 5, *sorted({*everybody} - {*absent})[:1]}  # one of them answers
        assert set(long.of(round, tuple(sorted(some)))) == some & set(absent)


def test_a_run_names_who_was_absent_and_is_proven() -> None:
    record = run(ATTACKED, 0, device="cpu")
    audit = record.audit
    assert any(audit.absent)
    for cohort, absent in zip(audit.cohorts, audit.absent, strict=True):
        assert len(cohort) + len(absent) == 6
        assert not set(cohort).intersection(absent)
    assert training_problems(record) + audit_problems(record) == []
    assert Record.from_json(record.to_json()) == record
    twin = run(ATTACKED.clean_twin(), 0, device="cpu")
    assert twin.audit.absent == audit.absent
    assert unpaired(twin, record) == []
    plain = run(ATTACKED.but(absent_fraction=None, absent_rounds=None), 0, device="cpu")
    drawn = [tuple(sorted(c + a)) for c, a in zip(audit.cohorts, audit.absent, strict=True)]
    assert plain.audit.cohorts == tuple(drawn), "who is drawn does not depend on absences"
    assert plain.audit.absent == ()


def test_other_absences_than_those_of_the_seed_are_found() -> None:
    record = run(ATTACKED, 0, device="cpu")
    other = run(ATTACKED.but(absent_rounds=None), 0, device="cpu")
    audit = dataclasses.replace(other.audit)
    planted = dataclasses.replace(record, audit=audit)
    assert any("has other cohorts than its seed draws" in p for p in training_problems(planted))
    # an update that is dropped and not owned up to
    silent = dataclasses.replace(record.audit, absent=((),) * 4)
    with pytest.raises(StoreError, match="a cohort must be 6 clients of 8"):
        Record.from_json(dataclasses.replace(record, audit=silent).to_json())
    named = tuple(tuple(sorted({*a}))[:-1] for a in record.audit.absent)
    shorter = dataclasses.replace(record.audit, absent=named)
    text = training_problems(dataclasses.replace(record, audit=shorter))
    assert any("misses other clients than are absent under its seed" in p for p in text)


def test_engines_agree() -> None:
    how = {"device": "cpu", "precision": "float64"}
    one = run(ATTACKED, 1, engine="sequential", **how)
    assert run(ATTACKED, 1, processes=3, **how).model_digest == one.model_digest
    stacked = run(ATTACKED, 1, engine="stacked", **how)
    lockstep = run_lockstep([(ATTACKED, 2), (BASE, 1), (ATTACKED, 1)], **how)[2]
    for other in (stacked, lockstep):
        assert other.accuracy == one.accuracy
        assert other.audit.cohorts == one.audit.cohorts


def test_a_factor_of_the_size_of_the_cohort_follows_it() -> None:
    record = run(BASE.but(attack="scaled", malicious_fraction=0.25, min_present=2), 0, device="cpu")
    assert audit_problems(record) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"absent_fraction": None}, "absent_rounds=3.0 needs absent_fraction"),
        ({"absent_fraction": 0.8}, "lower absent_fraction to 0.75, or raise absent_rounds"),
        ({"min_present": 7}, "min_present=7 must be <= the cohort, 6"),
        ({"privacy": "localdp(epsilon=5.0)", "norm": "none"}, "accounts for cohorts of one size"),
        ({"strategy": "krum"}, "a cohort may have min_present=1 of 6 clients, and then: strategy"),
        ({"strategy": "krum", "min_present": 2}, "got 2 <= 2 .* raise min_present"),
        ({"preaggregation": "bucketing", "min_present": 2}, "leaves one row of a cohort of 2"),
        ({"absent_fraction": 1.0}, r"absent_fraction must be in \(0, 1\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(change: dict[str, object], message: str):
    with pytest.raises(ScenarioError, match=message):
        BASE.but(**change)


def test_enough_who_are_waited_for_meet_a_precondition() -> None:
    record = run(BASE.but(strategy="krum", min_present=3), 0, device="cpu")
    assert min(map(len, record.audit.cohorts)) == 3


def test_without_absences_names_and_hashes_are_those_of_before() -> None:
    assert Scenario().hash == "557d7b4f9d6cff52"
    assert not {"absent_fraction", "absent_rounds", "min_present"} & set(Scenario().to_dict())
