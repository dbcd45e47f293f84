"""Until: an attack that ends, and honest work after it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from fedcore.attacks.attack import DataAttack
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.data.labelflip import LabelFlip
from fedcore.attacks.data.secondbest import SecondBest
from fedcore.attacks.until import Until
from fedcore.attacks.updates.scaled import Scaled
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.errors import AttackError, ScenarioError
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import run_lockstep
from fedcore.simulation.runner import run

CLEAN = Scenario(
    dataset="synthetic:300", model="mlp", num_clients=6, fraction_train=1.0, rounds=4,
    optimizer="sgd", local_epochs=(1, 2),
)  # fmt: skip
RATIO = {"poison_ratio": 0.5}
ATTACK: dict[str, Any] = {
    "backdoor": Backdoor(target=1, **RATIO),
    "redraw": LabelFlip(redraw=True, **RATIO),
    "scores": SecondBest(**RATIO),
    "update": SignFlip(),
    "both": Scaled(of=Backdoor(target=1, **RATIO), gamma=3.0),
    "work": "tests.attacks.examples:Overtrain(factor=3)",  # by its path: it is not registered
}


def attacked(of: Any, round: int = 2, **changes: Any) -> Scenario:
    return CLEAN.but(attack=Until(of=of, last_round=round), malicious_fraction=0.5, **changes)


def test_written_form_and_delegation() -> None:
    attack = attacked("scaled(of=backdoor(target=2, poison_ratio=0.5), gamma=3)").parts.attack
    assert isinstance(attack, Until)
    assert attack.data is attack.of.data
    assert attack.update is attack.of
    assert attack.success == attack.of.success
    assert [attack.acts(round) for round in (1, 2, 3)] == [True, True, False]
    assert attack.probe_attack == attack.of.probe_attack


@pytest.mark.parametrize("name", ["backdoor", "redraw", "scores", "update", "both"])
def test_up_to_its_end_a_run_is_the_attack_s_and_then_it_is_honest(name: str) -> None:
    of = ATTACK[name]
    record = run(attacked(of), device="cpu")
    whole = run(CLEAN.but(attack=of, malicious_fraction=0.5), device="cpu")
    assert record.accuracy[:2] == whole.accuracy[:2]
    assert record.loss[2] != whole.loss[2]
    evidence = record.audit.training
    assert evidence is not None
    rounds = {round for round, _, _ in (*evidence.changed, *evidence.copies)}
    data = isinstance(of, DataAttack) or name == "both"
    assert rounds == ({1, 2} if data else set())
    for update in record.audit.updates:
        assert update.participations == 2
    if name in ("redraw", "scores"):
        assert {poison.draws for poison in record.audit.poison} == {2}
    assert audit_problems(record) == training_problems(record) == []
    assert Record.from_json(record.to_json()) == record


def test_after_its_end_local_work_is_honest() -> None:
    of = ATTACK["work"]
    record = run(attacked(of), device="cpu")
    whole = run(CLEAN.but(attack=of, malicious_fraction=0.5), device="cpu")
    calm = run(CLEAN, device="cpu")
    assert record.audit.epochs == whole.audit.epochs != calm.audit.epochs
    steps = [r.audit.training.steps for r in (calm, record, whole)]  # type: ignore[union-attr]
    for client, (least, mine, most) in enumerate(zip(*steps, strict=True)):
        bad = client in record.audit.malicious
        assert mine == (least + most) // 2
        assert (least < most) == bad
    assert record.examples == sum(record.audit.training.images)  # type: ignore[union-attr]
    assert calm.examples < record.examples < whole.examples
    assert audit_problems(record) == training_problems(record) == []


@pytest.mark.parametrize("name", ["work", "scores", "both"])
def test_engines_agree(name: str) -> None:
    scenario = attacked(ATTACK[name])
    how: dict[str, Any] = {"device": "cpu", "precision": "float64"}
    first = run(scenario, engine="sequential", **how)
    forked = run(scenario, processes=2, **how)
    assert forked.model_digest == first.model_digest
    assert forked.audit == first.audit
    together = run_lockstep([(CLEAN, 0), (scenario, 0)], **how)[1]
    for record in (run(scenario, engine="stacked", **how), together):
        assert record.accuracy == first.accuracy
        assert record.loss == pytest.approx(first.loss, rel=1e-9)
        assert record.audit.poison == first.audit.poison
        assert audit_problems(record) == training_problems(record) == []
    pytest.importorskip("flwr")
    flower = run(scenario, engine="flower-grid", **how)
    assert flower.model_digest == first.model_digest
    assert flower.audit.training == first.audit.training


@pytest.mark.parametrize("strategy", ["fedavg", "fltrust(root_size=20)"])
@pytest.mark.parametrize("name", ["backdoor", "scores"])
def test_honest_images_are_those_that_a_partition_made(name: str, strategy: str) -> None:
    """Of clients whose own images stand behind the clean ones, in front of a server's root set."""
    skewed = {"partition": "featureskew", "strategy": strategy, "rounds": 3}
    record = run(attacked(ATTACK[name], **skewed), device="cpu")
    assert audit_problems(record) == training_problems(record) == []
    calm = run(CLEAN.but(**skewed), device="cpu")
    assert training_problems(calm) == []


def test_what_it_refuses() -> None:
    with pytest.raises(ScenarioError, match="round=4 ends nothing in rounds=4"):
        attacked(SignFlip(), round=4)
    with pytest.raises(ScenarioError, match=r"write until\(of=scaled\(of=...\), last_round=2\)"):
        CLEAN.but(attack=Scaled(of=Until(of=SignFlip(), last_round=2)), malicious_fraction=0.5)
    with pytest.raises(ScenarioError, match="poison_ratio=0 would change nothing"):
        attacked(Backdoor(target=1))
    with pytest.raises(ScenarioError, match="accounts for the same work in every round"):
        attacked(ATTACK["work"], privacy="localdp", epsilon=10.0)
    seldom = attacked(SignFlip(), round=1, num_clients=40, fraction_train=0.05)
    with pytest.raises(AttackError, match="takes part in any of the 1 rounds"):
        run(seldom.but(malicious_fraction=0.03), 1, device="cpu")


def test_the_audit_of_a_record_that_goes_on() -> None:
    record = run(attacked(ATTACK["both"]), device="cpu")
    evidence = record.audit.training
    assert evidence is not None
    client = record.audit.malicious[0]
    late = dataclasses.replace(evidence, changed=(*evidence.changed, (3, client, 1)))
    updates = tuple(dataclasses.replace(each, participations=3) for each in record.audit.updates)
    audit = dataclasses.replace(record.audit, training=late, updates=updates)
    problems = record.scenario.parts.attack.audit_problems(dataclasses.replace(record, audit=audit))
    assert f"has poisoned samples of client {client} in round 3, the attack ends with round 2" in (
        problems
    )
    assert f"attacked 3 updates of client {client}, which took part 2 times up to round 2" in (
        problems
    )


def test_samples_after_the_end_are_the_clean_ones() -> None:
    import torch

    from fedcore.federation.federation import Federation

    federation = Federation.prepare(attacked(ATTACK["backdoor"]), 0, None, torch.device("cpu"))
    threat, labels = federation.threat, federation.dataset.train.labels.numpy()
    for client in threat.malicious.tolist():
        part = federation.parts[client]
        assert np.array_equal(threat.samples_of(client, 3), part)
        assert np.array_equal(threat.labels_of(client, 3), labels[part])
        assert not np.array_equal(threat.samples_of(client, 2), part)
