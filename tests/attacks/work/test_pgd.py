"""Projected gradient descent: the projection by hand, and what its audit finds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario, run
from fedcore.attacks.attack import Work
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.attacks.work.pgd import Pgd
from fedcore.attacks.work.trainlonger import TrainLonger
from fedcore.engine.gauge import Gauge
from fedcore.engine.local_rules import Ball, LocalRules
from fedcore.engine.stack.balls import Balls
from fedcore.errors import FedcoreError, ScenarioError
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.optimizers.local_rule import Participation
from fedcore.simulation.lockstep import run_lockstep

RADIUS = 0.05
SMALL = Scenario(
    dataset="synthetic:160", model="mlp", num_clients=4, fraction_train=1.0, rounds=2,
    local_epochs=2, optimizer="momentum", batch_size=8, malicious_fraction=0.5,
    attack=Pgd(radius=RADIUS, project_every=3),
)  # fmt: skip


def begun(rule: Any, anchor: torch.Tensor, steps: int = 100) -> Any:
    rule.start(Participation(1, 0, steps, anchor, {}, {}, True))
    return rule


def test_the_projection_by_hand() -> None:
    """(4, 5) is 5 away from (1, 1): at radius 2.5 it is moved half of the way back."""
    anchor = torch.tensor([1.0, 1.0], dtype=torch.float64)
    weights = torch.tensor([4.0, 5.0], dtype=torch.float64)
    ball = begun(Ball(2.5, 1), anchor)
    assert ball.after(weights)
    assert weights.tolist() == [2.5, 3.0]
    assert not ball.after(weights), "what is inside stays"


def test_it_comes_every_so_many_steps_and_at_the_last() -> None:
    ball = begun(Ball(1.0, 3), torch.zeros(1), steps=5)
    moved = [ball.after(torch.tensor([9.0])) for _ in range(5)]
    assert moved == [False, False, True, False, True]


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=6), st.floats(0.01, 100))
def test_the_result_is_the_nearest_point_of_the_ball(values: list[float], radius: float) -> None:
    anchor = torch.arange(len(values), dtype=torch.float64)
    weights = torch.tensor(values, dtype=torch.float64)
    start = weights.clone()
    moved = begun(Ball(radius, 1), anchor).after(weights)
    distance = float((weights - anchor).norm())
    assert distance <= radius * (1 + 1e-9)
    assert moved == (float((start - anchor).norm()) > radius)
    # on the straight line from the anchor
    gap = float((start - anchor).norm()) - distance
    assert float((start - weights).norm()) == pytest.approx(gap, abs=1e-6)


def test_what_has_left_the_finite_numbers_is_left_alone() -> None:
    for value in (float("nan"), float("inf")):
        weights = torch.tensor([value, 1.0])
        begun(Ball(1.0, 1), torch.zeros(2)).after(weights)
        assert not torch.isfinite(weights).all()


def test_the_gauge_looks_before_and_after() -> None:
    gauge = Gauge(2)
    first, last = gauge.rules
    begun(first, torch.zeros(2, dtype=torch.float64), steps=3)
    for far, near in ((9.0, 9.0), (5.0, 2.0), (7.0, 3.0)):  # the first step is not looked at
        first.after(torch.tensor([far, 0.0]))
        last.after(torch.tensor([0.0, near]))
    assert (gauge.beyond, gauge.reach) == (7.0, 3.0)


def test_the_work_is_that_of_the_inner_attack_within_a_ball() -> None:
    longer = Pgd(of=TrainLonger(epoch_factor=3.0), radius=2.0, project_every=4)
    assert longer.changed(Work(2)) == Work(6, radius=2.0, every=4)
    door = Backdoor(target=1)
    assert (Pgd(of=door, radius=1.0).data, Pgd(of=door, radius=1.0).success) == (door, door)


@pytest.fixture(scope="module")
def honest() -> Any:
    return run(SMALL, 0)


def test_updates_stay_within_the_radius_and_the_audit_agrees(honest: Any) -> None:
    assert audit_problems(honest) == training_problems(honest) == []
    assert [each.client for each in honest.audit.work] == list(honest.audit.malicious)
    for each in honest.audit.work:
        assert each.participations == 2
        assert each.length[1] <= RADIUS * (1 + 1e-4)
        assert each.beyond[0] > RADIUS
        assert each.reach == pytest.approx((RADIUS, RADIUS), rel=1e-4)


def test_two_processes_and_flower_make_the_same_evidence(honest: Any) -> None:
    for how in ({"processes": 2}, {"engine": "flower-grid"}):
        if how.get("engine"):
            pytest.importorskip("flwr")
        again = run(SMALL, 0, **how)
        assert again.model_digest == honest.model_digest
        assert again.audit.work == honest.audit.work


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.01, "optimizer": "adam", "lr": 0.01}])
def test_stacked_clients_are_projected_row_by_row(changes: dict[str, Any]) -> None:
    scenario = SMALL.but(**changes, partition="dirichlet", alpha=0.5, min_partition_size=2)
    how = {"precision": "float64", "device": "cpu"}
    one = run(scenario, 0, engine="sequential", **how)
    other = run(scenario, 0, engine="stacked", **how)
    assert one.audit.epochs == other.audit.epochs
    assert other.loss == pytest.approx(one.loss, rel=1e-9)
    assert audit_problems(other) == training_problems(other) == []
    for first, second in zip(one.audit.work, other.audit.work, strict=True):
        assert second.beyond == pytest.approx(first.beyond, rel=1e-6)
        assert second.reach == pytest.approx(first.reach, rel=1e-6)


def test_runs_in_lockstep_have_balls_of_their_own() -> None:
    arms = [SMALL, SMALL.but(attack=Pgd(radius=0.02)), SMALL.clean_twin()]
    records = run_lockstep([(arm, 0) for arm in arms], device="cpu", precision="float64")
    assert [audit_problems(record) for record in records] == [[], [], []]
    assert [training_problems(record) for record in records] == [[], [], []]
    reached = [max(each.reach[1] for each in record.audit.work) for record in records[:2]]
    assert reached == pytest.approx([RADIUS, 0.02])
    assert records[2].audit.work == ()


def test_a_bug_planted_in_the_stacked_projection_is_found(monkeypatch: Any) -> None:
    project = Balls.project

    def one_too_few(self: Balls, weights: torch.Tensor, taken: int) -> bool:
        self.radius[0] = np.inf  # the first row, which is malicious or not
        self.radius[1] = np.inf
        return project(self, weights, taken)

    monkeypatch.setattr(Balls, "project", lambda self, weights, taken: False)
    found = audit_problems(run(SMALL, 0, engine="stacked", device="cpu"))
    assert any("the ball has radius" in text for text in found)
    monkeypatch.setattr(Balls, "project", one_too_few)
    all_malicious = SMALL.but(malicious_fraction=1.0)
    found = audit_problems(run(all_malicious, 0, engine="stacked", device="cpu"))
    assert any("the ball has radius" in text for text in found)


def idle(self: Ball, weights: torch.Tensor) -> bool:
    return False


def late(self: Ball, weights: torch.Tensor) -> bool:
    self._taken += 1
    self.every = self._steps  # at the end only
    self._taken -= 1
    return AFTER(self, weights)


def half(self: Ball, weights: torch.Tensor) -> bool:
    self.radius = RADIUS / 2
    return AFTER(self, weights)


AFTER = Ball.after


@pytest.mark.parametrize(
    ("planted", "finding"),
    [(idle, "the ball has radius"), (late, "is due"), (half, "is due")],
)
def test_a_planted_bug_is_found(monkeypatch: Any, planted: Any, finding: str) -> None:
    monkeypatch.setattr(Ball, "after", planted)
    assert any(finding in text for text in audit_problems(run(SMALL, 0)))


def test_one_client_too_few_is_found(monkeypatch: Any, honest: Any) -> None:
    of = LocalRules.of
    spared = honest.audit.malicious[0]
    monkeypatch.setattr(
        LocalRules, "of", lambda self, client, r: [] if client == spared else of(self, client, r)
    )
    found = audit_problems(run(SMALL, 0))
    assert any(f"updates of client {spared} of length" in text for text in found)
    fewer = dataclasses.replace(honest.audit, work=honest.audit.work[1:])
    found = audit_problems(dataclasses.replace(honest, audit=fewer))
    assert any(f"evidence of 0 of 2 participations of client {spared}" in text for text in found)


def test_a_radius_that_nobody_leaves_is_found() -> None:
    record = run(SMALL.but(attack=Pgd(radius=1e3)), 0)
    assert any("projects nothing" in text for text in audit_problems(record))


def test_refusals() -> None:
    with pytest.raises(ScenarioError, match="the other way round"):
        SMALL.but(attack=Pgd(of=SignFlip(), radius=1.0))
    with pytest.raises(ScenarioError, match="radius must be > 0"):
        Pgd(radius=0.0)
    own = SMALL.but(strategy="fedbn", model="cnn", norm="batch")  # who begin elsewhere
    with pytest.raises(FedcoreError, match="choose --engine sequential"):
        run(own, 0, engine="stacked")
    assert audit_problems(run(own, 0)) == []
