from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedcore import Scenario, run
from fedcore.records.exposure import Shares, realised, shares_of
from fedcore.records.store import Run

BASE = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=8, fraction_train=0.5, rounds=4,
    partition="dirichlet", alpha=0.3, min_partition_size=2,
    attack="labelflip", malicious_fraction=0.25, poison_ratio=0.5,
)  # fmt: skip


def planted(**changes: Any) -> Any:
    """Clients of 10, 20, 30, 40 samples, of which the last is malicious and poisons 20."""
    audit = {
        "samples": (10, 20, 30, 40),
        "cohorts": ((0, 1), (1, 3), (2, 3)),
        "malicious": (3,),
        "poison": (SimpleNamespace(client=3, samples=40, eligible=40, poisoned=20, draws=1),),
        "excluded": (),
    }
    scenario = Scenario(
        num_clients=4, attack="labelflip", malicious_fraction=0.25, poison_ratio=0.5
    )
    return SimpleNamespace(scenario=scenario, audit=SimpleNamespace(**{**audit, **changes}))


def test_by_hand() -> None:
    # 30 + 60 + 70 samples took part, 40 + 40 of them malicious, 20 + 20 poisoned
    assert shares_of(planted()) == Shares(80 / 160, 40 / 160, whole=True)
    once = (SimpleNamespace(round=2, client=3),)  # its reply was left out
    assert shares_of(planted(excluded=once)) == Shares(40 / 120, 20 / 120, whole=True)
    some = (SimpleNamespace(client=3, samples=40, eligible=8, poisoned=4, draws=1),)
    assert shares_of(planted(poison=some)) == Shares(0.5, 8 / 160, whole=False)
    twice = (SimpleNamespace(client=3, samples=40, eligible=40, poisoned=40, draws=2),)
    assert shares_of(planted(poison=twice)) == shares_of(planted())  # drawn anew in each round


def test_what_an_old_record_lacks_is_not_made_up() -> None:
    assert shares_of(planted(samples=())) is None
    assert shares_of(planted(cohorts=())) is None


def test_is_that_of_the_labels_that_were_trained_on() -> None:
    record = run(BASE, seed=3)
    audit, trained, poisoned = record.audit, 0, 0
    counts = {client.client: client.poisoned for client in audit.poison}
    for cohort in audit.cohorts:
        trained += sum(audit.samples[client] for client in cohort)
        poisoned += sum(counts.get(client, 0) for client in cohort)
    found = shares_of(record)
    assert found.poisoned == pytest.approx(poisoned / trained)
    assert found.malicious > found.poisoned > 0
    both = realised(BASE, (3,), {Run(BASE, 3): record})
    assert both.nominal == 12.5
    assert both.nominal_malicious == 25
    assert both.poisoned == (100 * found.poisoned,)


def test_redrawn_labels_count_once_a_round() -> None:
    arm = BASE.but(attack="labelflip(redraw=True, poison_ratio=0.5)")
    fixed, anew = shares_of(run(BASE, seed=3)), shares_of(run(arm, seed=3))
    assert dataclasses.astuple(anew) == dataclasses.astuple(fixed)


@pytest.mark.parametrize(
    ("attack", "share", "nominal"),
    [
        ("signflip", 1.0, 25.0),
        ("until(of=labelflip(poison_ratio=0.5), last_round=2)", None, 6.25),
        ("targetedflip(source_class=0, target_class=1, poison_ratio=1.0)", None, None),
    ],
)
def test_attacks_of_other_kinds(attack, share, nominal) -> None:
    arm = BASE.clean_twin().but(attack=attack, malicious_fraction=0.25)
    record = run(arm, seed=3)
    found = realised(arm, (3,), {Run(arm, 3): record})
    assert found.nominal == nominal
    if share is not None:  # of an update all samples count
        assert found.poisoned == found.malicious
    else:
        assert found.poisoned < found.malicious
    if "until" in attack:
        held = poisoned = 0
        for round, cohort in enumerate(record.audit.cohorts, start=1):
            for client in record.audit.poison:
                if client.client in cohort:
                    held += client.samples
                    poisoned += client.poisoned if round <= 2 else 0
        assert found.poisoned[0] / found.malicious[0] == pytest.approx(poisoned / held)


def test_a_clean_arm_has_none() -> None:
    quiet = BASE.clean_twin()
    assert realised(quiet, (3,), {Run(quiet, 3): run(quiet, seed=3)}) is None


def test_over_many_draws_the_mean_is_nominal() -> None:
    """Cohorts and malicious sets as they are drawn, without training."""
    from fedcore.federation.threat import malicious_clients
    from fedcore.harness.proofs import draws

    arm = BASE.but(rounds=20, num_clients=20)
    labels, found = np.arange(2000) % 10, []
    for seed in range(60):
        parts = draws.parts(arm, seed, labels)
        cohorts, _ = draws.cohorts(arm, seed, parts)
        audit = SimpleNamespace(
            samples=tuple(map(len, parts)),
            cohorts=cohorts,
            malicious=tuple(malicious_clients(arm, seed).tolist()),
            poison=(),
            excluded=(),
        )
        found.append(shares_of(SimpleNamespace(scenario=arm, audit=audit)).malicious)
    error = np.std(found, ddof=1) / len(found) ** 0.5
    assert abs(np.mean(found) - 0.25) < 3 * error
