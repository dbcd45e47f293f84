from __future__ import annotations

import dataclasses

import pytest

from fedcore import Scenario, run
from fedcore.attacks.data.labelflip import LabelFlip
from fedcore.attacks.until import Until
from fedcore.errors import StoreError
from fedcore.records.detection import Counts, First, absence, detections, pooled
from fedcore.records.record import Exclusion, Record
from fedcore.simulation.lockstep import run_lockstep
from tests.records.test_record import RECORD

SMALL = Scenario(
    dataset="synthetic:400",
    model="mlp",
    num_clients=6,
    fraction_train=5 / 6,
    rounds=3,
    lr=0.1,
    partition="dirichlet(alpha=1.0)",
    attack="signflip",
    malicious_fraction=0.34,
)


def record_with(shares: tuple[tuple[float, ...] | None, ...], **audit: object) -> Record:
    """Clients 0 and 1 of four are malicious; three take part in each of four rounds."""
    cohorts = (0, 1, 2), (0, 2, 3), (1, 2, 3), (0, 2, 3)
    changed = {"malicious": (0, 1), "cohorts": cohorts, "shares": shares, **audit}
    return dataclasses.replace(RECORD, audit=dataclasses.replace(RECORD.audit, **changed))


def test_by_hand() -> None:
    # round 1: both malicious take part, 0 is left out and 1 at 0.4; 2 is spared
    # round 2: 0 is spared, 2 left out, 3 spared; round 3: nobody says; round 4: 0 at 0.49, 2 at 0.5
    record = record_with(((0, 0.4, 2.6), (1.5, 0, 1.5), None, (0.49, 0.5, 2.01)))
    found = detections(record)
    assert found is not None
    out, down = found["left_out"], found["weighed_down"]
    assert out.counts == Counts(caught=1, missed=3, blamed=1, spared=4)
    assert (out.counts.precision, out.counts.recall) == (1 / 2, 1 / 4)
    assert out.counts.false_positive_rate == 1 / 5
    assert out.counts.base_rate == 4 / 9
    assert out.first == (First(0, 3, 1, 1), First(1, 1, None, None))
    # half of the plain share itself is not below it
    assert down.counts == Counts(caught=3, missed=1, blamed=1, spared=4)
    assert down.first == (First(0, 3, 1, 1), First(1, 1, 1, 1))


def test_rounds_without_a_malicious_client_do_not_count() -> None:
    shares = (0.0, 1.5, 1.5)
    found = detections(record_with((shares,) * 4, malicious=(1,)))
    assert found is not None  # client 1 is in rounds 1 and 3, second and first of its cohort
    assert found["left_out"].counts == Counts(caught=1, missed=1, blamed=1, spared=3)
    assert found["left_out"].first == (First(1, 2, 3, 2),)
    assert detections(record_with((shares,) * 4, malicious=())) is None


def test_rounds_after_the_attack_do_not_count() -> None:
    until = Until(of=LabelFlip(poison_ratio=1.0), last_round=2)
    scenario = RECORD.scenario.but(attack=until, malicious_fraction=0.5)
    record = dataclasses.replace(record_with(((0.0, 1.5, 1.5),) * 4), scenario=scenario)
    found = detections(record)
    assert found is not None  # 0 is left out in rounds 1 and 2, 1 is in round 1 alone
    assert found["left_out"].counts == Counts(caught=2, missed=1, blamed=0, spared=3)
    assert found["left_out"].first == (First(0, 2, 1, 1), First(1, 1, None, None))


def test_shares_are_of_those_whose_replies_were_taken() -> None:
    gone = (Exclusion(1, 1, "no reply in time"),)
    found = detections(record_with(((0.0, 2.0), None, None, None), excluded=gone))
    assert found is not None
    assert found["left_out"].counts == Counts(caught=1, missed=0, blamed=0, spared=1)
    assert found["left_out"].first == (First(0, 1, 1, 1),)


def test_rates_of_nobody_are_none() -> None:
    assert Counts(0, 2, 0, 3).precision is None
    assert Counts(0, 0, 1, 3).recall is None
    assert Counts(1, 1, 0, 0).false_positive_rate is None
    assert Counts().base_rate is None
    assert pooled([Counts(1, 2, 3, 4), Counts(10, 20, 30, 40)]) == Counts(11, 22, 33, 44)


def test_rules_that_keep_no_coefficients_have_no_detection() -> None:
    record = run(SMALL.but(strategy="median"), 0, device="cpu")
    assert record.audit.shares == ()
    assert detections(record) is None
    assert absence(record.scenario) is None


def test_behind_rows_that_mix_clients_there_is_none_and_it_says_so() -> None:
    scenario = SMALL.but(strategy="krum", preaggregation="bucketing(size=2)", fraction_train=1.0)
    record = run(scenario, 0, device="cpu")
    assert record.audit.shares == ()
    assert absence(scenario) == "the rows behind bucketing are not single clients"


@pytest.mark.parametrize("strategy", ["krum", "multikrum", "rfa", "normclipping(norm_bound=0.3)"])
def test_engines_note_the_same_shares(strategy: str) -> None:
    scenario = SMALL.but(strategy=strategy)
    one = run(scenario, 1, device="cpu", precision="float64", engine="sequential").audit.shares
    assert len(one) == 3
    assert all(shares is not None and len(shares) == 5 for shares in one)
    two = run(scenario, 1, device="cpu", precision="float64", processes=2).audit.shares
    assert two == one
    stacked = run(scenario, 1, device="cpu", precision="float64", engine="stacked").audit.shares
    runs = [(scenario, 2), (scenario, 1)]
    lockstep = run_lockstep(runs, device="cpu", precision="float64")[1].audit.shares
    for other in (stacked, lockstep):
        for a, b in zip(one, other, strict=True):
            assert a == pytest.approx(b, rel=1e-5)


def test_who_is_left_out_by_krum_is_who_it_says() -> None:
    record = run(SMALL.but(strategy="krum"), 1, device="cpu")
    for shares in record.audit.shares:
        assert shares is not None
        assert sorted(shares) == [0, 0, 0, 0, 5]
    found = detections(record)
    assert found is not None
    assert found["left_out"] == found["weighed_down"]
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": ((1.0, 1.0),)}, "shares must have 4 rounds"),
        ({"shares": (None,) * 4}, "shares must have 4 rounds"),
        ({"shares": ((1.0,), None, None, None)}, "round 1 must have 2 shares"),
        ({"shares": ((1.0, -1.0), None, None, None)}, "must be finite and >= 0"),
        ({"client_accuracy": (0.7,)}, "client_accuracy must have 2 values"),
        ({"client_accuracy": (0.7, 0.9)}, "client 1 must be a mean of the recalls"),
    ],
)
def test_entries_that_no_run_can_have_are_damage(change: dict[str, object], message: str) -> None:
    audit = dataclasses.replace(RECORD.audit, **change)
    with pytest.raises(StoreError, match=message):
        Record.from_json(dataclasses.replace(RECORD, audit=audit).to_json())
