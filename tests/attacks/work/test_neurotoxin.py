"""Neurotoxin: which parameters are masked, by hand, and what its audit finds."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from fedcore import Scenario, run
from fedcore.attacks.attack import Work
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.work.neurotoxin import Neurotoxin
from fedcore.attacks.work.pgd import Pgd
from fedcore.engine import local_rules
from fedcore.engine.local_rules import LocalRules, Mask
from fedcore.errors import AttackError, FedcoreError, ScenarioError
from fedcore.exchange.cohort import Cohort, Memory
from fedcore.exchange.worked import LAST, WorkLog
from fedcore.federation.federation import Federation
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.optimizers.local_rule import Participation

SMALL = Scenario(
    dataset="synthetic:160", model="mlp", num_clients=4, fraction_train=1.0, rounds=4,
    optimizer="momentum", weight_decay=1e-3, batch_size=16, malicious_fraction=0.5,
    attack=Neurotoxin(masked_share=0.05),
)  # fmt: skip


@pytest.mark.parametrize(
    ("share", "last", "masked"),
    [
        (0.4, [3, -1, 0, 2, -4], [0, 4]),
        (0.2, [3, -1, 0, 2, -4], [4]),
        (0.2, [3, -1, 0, 2, -3], [0, 4]),  # a tie
        (0.8, [3, 0, 0, 2, -3], [0, 3, 4]),  # what did not move is not masked
        (0.4, [0, 0, 0, 0, 0], []),  # round 1
    ],
)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_mask_by_hand(share: float, last: list[int], masked: list[int], kind: Any) -> None:
    anchor = torch.full((5,), 2.0, dtype=kind)
    mask = Mask(share, decays=True)
    told = {LAST: torch.tensor(last, dtype=kind)}
    mask.start(Participation(2, 0, 1, anchor, told, {}, False))
    gradient, weights = torch.full((5,), 7.0, dtype=kind), torch.full((5,), 2.0, dtype=kind)
    mask.before(weights, gradient)
    assert (gradient == 0).nonzero().flatten().tolist() == masked
    weights -= 1  # of which one part is decay, whatever the gradient is
    assert mask.after(weights) == bool(masked)
    assert (weights == 2).nonzero().flatten().tolist() == masked


def test_the_log_masks_the_same_by_itself() -> None:
    """Of the update (0, 3, 0, 4, 0) 0.8 of the length lies on the next place, none on the mask."""
    log = WorkLog([7], 0.4, 5)
    log.moved(torch.zeros(6), torch.tensor([3.0, -1.0, 0.0, 2.0, -4.0, 99.0]))
    update = torch.tensor([[0.0, 3.0, 0.0, 4.0, 0.0, 1.0]])
    empty = torch.zeros(1, 0, dtype=torch.int64)
    log.trained(Cohort((7,), update, empty, (1,), (1,), (None,)))
    (audit,) = log.audits()
    assert (audit.masks, audit.masked, audit.spared) == (1, (2.0, 2.0), (0.0, 0.0))
    assert audit.length == (5.0, 5.0)
    assert audit.beside == (1.0, 1.0)  # places 3 and 1
    log.trained(Cohort((7,), update.flip(1), empty, (1,), (1,), (None,)))
    assert log.audits()[0].spared[1] > 0


@pytest.fixture(scope="module")
def honest() -> Any:
    return run(SMALL, 0)


def test_masked_parameters_stay_and_the_audit_agrees(honest: Any) -> None:
    assert audit_problems(honest) == training_problems(honest) == []
    for each in honest.audit.work:
        assert (each.participations, each.masks) == (4, 3)  # no mask in round 1
        assert each.spared == (0.0, 0.0)
        assert each.beside[0] > 0
    assert run(SMALL, 0, processes=2).audit.work == honest.audit.work


def no_mask(self: Mask, weights: torch.Tensor, gradient: torch.Tensor) -> None:
    """Does nothing."""


def scaled_share(factor: float) -> Any:
    def started(self: Mask, work: Participation) -> None:
        self.share = 0.05 * factor
        START(self, work)

    return started


START = Mask.start


def stale(self: Memory, name: str, value: torch.Tensor) -> None:
    """Tell the update of the round before the last."""
    dict.__setitem__(self, name, self.get("older", value) if name == LAST else value)
    if name == LAST:
        dict.__setitem__(self, "older", value)


def first_client_only(self: LocalRules, client: int, round: int) -> Any:
    return OF(self, client, round) if client == min(self._malicious) else []


OF = LocalRules.of
BUGS = {
    "nothing": [(Mask, "before", no_mask), (Mask, "after", lambda self, weights: False)],
    "half": [(Mask, "start", scaled_share(0.5))],
    "double": [(Mask, "start", scaled_share(3.0))],
    "one client too few": [(LocalRules, "of", first_client_only)],
    "the round before": [(Memory, "__setitem__", stale)],
}


@pytest.mark.parametrize("bug", list(BUGS))
def test_a_planted_bug_is_found(monkeypatch: Any, bug: str) -> None:
    for where, name, value in BUGS[bug]:
        monkeypatch.setattr(where, name, value, raising=False)
    found = audit_problems(run(SMALL, 0))
    what = "masks more parameters" if bug == "double" else "moves masked parameters"
    assert any(what in text for text in found)


def test_evidence_of_too_few_is_found(honest: Any) -> None:
    fewer = dataclasses.replace(honest.audit, work=honest.audit.work[:-1])
    found = audit_problems(dataclasses.replace(honest, audit=fewer))
    assert any("evidence of 0 of 4 participations" in text for text in found)


def test_it_composes() -> None:
    door = Backdoor(target=1)
    work = Pgd(of=Neurotoxin(of=door, masked_share=0.1), radius=1.0)
    assert work.changed(Work(2)) == Work(2, radius=1.0, masked=0.1)
    assert (work.data, work.success) == (door, door)


def test_a_client_that_is_there_in_round_1_alone_has_nothing_to_mask_by() -> None:
    """Of 4 clients 2 take part, and 1 is malicious: seeds with and without it in round 2."""
    few = SMALL.but(fraction_train=0.5, malicious_fraction=0.25, rounds=2)
    masked = []
    for seed in range(8):
        cohorts = [prepared(few, seed).cohort(round) for round in (1, 2)]
        (client,) = prepared(few, seed).threat.malicious.tolist()
        if client in cohorts[1]:
            (audit,) = run(few, seed).audit.work
            masked.append(audit.masks)
        elif client in cohorts[0]:
            with pytest.raises(AttackError, match="takes part in any of the 1 rounds"):
                run(few, seed)
            masked.append(0)
    assert {0, 1} == set(masked)


def prepared(scenario: Scenario, seed: int) -> Federation:
    return Federation.prepare(scenario, seed, None, torch.device("cpu"))


def test_what_diverges_is_no_problem() -> None:
    record = run(SMALL.but(lr=1e6, optimizer="sgd"), 0)
    assert record.diverged is not None
    assert audit_problems(record) == []
    record = run(SMALL.but(lr=1e6, optimizer="sgd", attack=Pgd(radius=0.05)), 0)
    assert record.diverged is not None
    assert audit_problems(record) == []


def test_refusals() -> None:
    with pytest.raises(ScenarioError, match="needs the update of the round before"):
        SMALL.but(rounds=1)
    with pytest.raises(FedcoreError, match="choose --engine sequential"):
        run(SMALL, 0, engine="stacked")
    pytest.importorskip("flwr")
    with pytest.raises(FedcoreError, match="goes over Flower"):
        run(SMALL, 0, engine="flower-grid")


def test_clients_with_layers_of_their_own_are_audited_beyond_these() -> None:
    record = run(SMALL.but(strategy="fedbn", model="cnn", norm="batch", rounds=3), 0)
    assert audit_problems(record) == training_problems(record) == []
    assert [each.masks for each in record.audit.work] == [2, 2]
    assert [each.spared for each in record.audit.work] == [(0.0, 0.0)] * 2


def test_the_reference_engine_is_what_auto_means() -> None:
    assert local_rules.needs_reference_engine(SMALL)
    assert not local_rules.has_rules(SMALL.clean_twin())
