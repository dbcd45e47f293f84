"""Updates that are not finite: what is sent, and who survives them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from fedcore.attacks.updates.nonfinite import NonFinite
from fedcore.components.registry import REGISTRIES
from fedcore.exchange.cohort import Memory, ServerState
from fedcore.harness.proofs.audit import audit_problems
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.strategies.aggregation import Aggregation
from fedcore.testing.parts import cohort_of
from tests.attacks.updates.shown import sent

GIVEN = {"norm_bound": 1.0}
PLAIN = ("fedavg", "fedavgm", "fedprox", "fednova", "fedadam", "fedyogi", "fedbn", "scaffold")
PLAIN += ("feddyn", "flower")


@pytest.mark.parametrize(
    ("value", "is_it"), [("nan", math.isnan), ("inf", lambda x: x == math.inf),
                         ("neginf", lambda x: x == -math.inf)],
)  # fmt: skip
def test_what_is_sent(value: Any, is_it: Any) -> None:
    own = torch.arange(40.0).view(2, 20)
    assert all(map(is_it, sent(NonFinite(filler=value), None, own).flatten().tolist()))
    rows = sent(NonFinite(filler=value, spoiled_share=0.25), None, own)
    assert (~rows.isfinite()).sum(dim=1).tolist() == [5, 5]
    assert torch.equal(rows.where(rows.isfinite(), own.double()), own.double())
    assert not torch.equal(rows[0].isfinite(), rows[1].isfinite())
    one = sent(NonFinite(filler=value, spoiled_share=1e-6), None, own)
    assert (~one.isfinite()).sum(dim=1).tolist() == [1, 1]


@pytest.mark.parametrize("share", [1.0, 0.05])
@pytest.mark.parametrize("value", ["nan", "inf", "neginf"])
@pytest.mark.parametrize(
    "name", sorted(set(REGISTRIES["strategy"]) - set(PLAIN)),
)  # fmt: skip
def test_no_robust_rule_is_taken_by_it(name: str, value: str, share: float) -> None:
    cls = REGISTRIES["strategy"].entry(name).part
    if name == "flame":
        pytest.importorskip("sklearn")
    given = {key: bound for key, bound in GIVEN.items() if key in cls.specs()}
    part = cls(**given)
    if not vars(cls).get("definition"):
        pytest.skip("steps by no definition")
    cohort = cohort_of(12)
    rows = cohort.updates.clone()
    attack: Any = NonFinite(filler=value, spoiled_share=share)
    rows[:2] = sent(attack, None, rows[:2]).float()
    broken = dataclasses.replace(cohort, updates=rows)
    server = Aggregation(part)
    state = ServerState(torch.zeros(12), torch.zeros(0, dtype=torch.int64), Memory())
    step = server.aggregate(state, broken, 12, 1).vector
    assert step.isfinite().all()
    assert float(step.norm()) <= 1.01 * float(cohort.updates.norm(dim=1).max())


SMALL = Scenario(
    dataset="synthetic:160", model="mlp", num_clients=6, fraction_train=1.0, rounds=2,
    malicious_fraction=0.2, attack=NonFinite(),
)  # fmt: skip


def test_records_survive_it() -> None:
    lost = run(SMALL, device="cpu")
    assert lost.diverged == 1
    kept = run(SMALL.but(strategy="median"), device="cpu")
    assert kept.diverged is None
    for record in (lost, kept):
        assert audit_problems(record) == []
        assert type(record).from_json(record.to_json()) == record
