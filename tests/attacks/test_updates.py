"""Attacks on updates: what is sent, what attackers see, and where a scenario refuses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fedcore.attacks.attack import ATTACKS, LabelAttack, Seen, Work
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.data.targetedflip import TargetedFlip
from fedcore.attacks.updates.scaled import Scaled
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.components.parameters import param
from fedcore.errors import AttackError, ScenarioError
from fedcore.exchange.cohort import Cohort, Memory, ServerState
from fedcore.federation.threat import Threat
from fedcore.scenario import Scenario
from fedcore.simulation.assault import assaulted
from fedcore.simulation.runner import run
from fedcore.strategies.aggregation import Aggregation
from tests.attacks.examples import Opposed, Overtrain

OWN = torch.tensor([[1.0, -2.0], [0.0, 4.0]])


def seen(benign: Any = None, clients: int = 5) -> Seen:
    state = ServerState(torch.zeros(2), torch.zeros(0, dtype=torch.int64))
    server = Aggregation.of(Scenario(), 0)
    return Seen(OWN, benign, state, server, 1, clients, torch.Generator())


def test_sign_flip_and_scaled_by_hand() -> None:
    assert SignFlip(stretch=3.0).craft(seen()).tolist() == [[-3.0, 6.0], [0.0, -12.0]]
    assert Scaled(gamma=2.0).craft(seen()).tolist() == [[2.0, -4.0], [0.0, 8.0]]
    assert Scaled().craft(seen(clients=4)).tolist() == [[4.0, -8.0], [0.0, 16.0]]
    both = Scaled(of=SignFlip(stretch=2.0), gamma=5.0)
    assert both.craft(seen()).tolist() == [[-10.0, 20.0], [0.0, -40.0]]


def test_what_is_visible() -> None:
    benign = torch.tensor([[2.0, 2.0]])
    assert seen(benign).visible is benign
    assert seen().visible is OWN
    assert seen(torch.empty(0, 2)).visible is OWN


def test_a_composed_attack_hands_out_the_parts_of_the_other() -> None:
    door, flip = Backdoor(target=2, poison_ratio=0.5), TargetedFlip(source_class=1, target_class=2)
    assert (Scaled(of=door).data, Scaled(of=door).work) == (door, None)
    assert Scaled(of=door).success is door
    assert Scaled(of=flip).success is flip
    assert Scaled(of=Overtrain()).work == Overtrain()
    assert Scaled().success is None
    assert (Scaled(of=Opposed()).knows, Scaled(of=SignFlip()).knows) == ("benign", "own")
    assert Scaled(of=door).update == Scaled(of=door)


def attacked(attack: Any, clients: int = 4) -> tuple[Threat, Scenario]:
    scenario = Scenario(
        num_clients=clients, fraction_train=1.0, attack=attack, malicious_fraction=0.5
    )
    parts = [np.array([client]) for client in range(clients)]
    return Threat.prepare(scenario, 0, np.zeros(clients, np.int64), parts, 10), scenario


def cohort(clients: tuple[int, ...]) -> Cohort:
    size = len(clients)
    rows = torch.arange(4.0 * size).view(size, 4)
    ones = (1,) * size
    return Cohort(
        clients, rows, torch.zeros(size, 0, dtype=torch.int64), ones, ones, (None,) * size
    )


def sent_by(attack: Any, clients: tuple[int, ...]) -> tuple[Threat, Cohort, Cohort]:
    threat, scenario = attacked(attack)
    honest = cohort(clients)
    state = ServerState(torch.zeros(4), torch.zeros(0, dtype=torch.int64))
    server = Aggregation.of(scenario, 0)
    return threat, honest, assaulted(threat, honest, state, server, 1, 3)


def test_only_the_parameters_of_malicious_rows_change() -> None:
    threat, honest, sent = sent_by(SignFlip(), (0, 1, 2, 3))
    for row, client in enumerate(honest.clients):
        factor = -1 if client in threat.malicious else 1
        assert torch.equal(sent.updates[row, :3], factor * honest.updates[row, :3])
        assert sent.updates[row, 3] == honest.updates[row, 3]  # a float buffer
    assert torch.equal(honest.updates, cohort((0, 1, 2, 3)).updates)


def test_a_cohort_without_malicious_clients_is_left_alone() -> None:
    threat, _ = attacked(SignFlip())
    benign = tuple(c for c in range(4) if c not in threat.malicious)
    _, honest, sent = sent_by(SignFlip(), benign)
    assert torch.equal(sent.updates, honest.updates)


def test_attackers_without_benign_clients_fall_back_to_their_own() -> None:
    threat, _ = attacked(Opposed())
    bad = tuple(threat.malicious.tolist())
    _, honest, sent = sent_by(Opposed(eps=1.0), bad)
    expected = -honest.updates[:, :3].mean(dim=0)
    assert torch.equal(sent.updates[0, :3], expected)


class Repainting(Backdoor):
    """Asks for new images in every round, which nobody makes."""

    redraw: bool = param("draw the poison anew at every participation", default=True)


SAW: list[Any] = []


class Looks(Opposed):
    """Notes what it is shown."""

    def craft(self, seen: Seen) -> torch.Tensor:
        SAW.append(seen.benign)
        return super().craft(seen)


def test_benign_updates_are_seen_by_those_alone_who_know_them() -> None:
    SAW.clear()
    _, honest, _ = sent_by(Looks(knows="own"), (0, 1, 2, 3))
    threat, *_ = sent_by(Looks(), (0, 1, 2, 3))
    assert SAW[0] is None
    benign = [row for row, c in enumerate(honest.clients) if c not in threat.malicious]
    assert torch.equal(SAW[1], honest.updates[benign, :3])


class Vandal(Opposed):
    """Writes into all that it is shown."""

    def craft(self, seen: Seen) -> torch.Tensor:
        sent = super().craft(seen)
        shown = [seen.own, seen.benign, seen.state.vector, seen.state.counters]
        for tensor in [*shown, *seen.state.memory.values()]:
            if tensor is not None:
                tensor.fill_(7)
        return sent


def test_what_an_attack_writes_into_reaches_nobody() -> None:
    threat, scenario = attacked(Vandal())
    honest = cohort((0, 1, 2, 3))
    counters, memory = torch.ones(2, dtype=torch.int64), Memory({"momentum": torch.ones(3)})
    state = ServerState(torch.zeros(4), counters, memory)
    sent = assaulted(threat, honest, state, Aggregation.of(scenario, 0), 1, 3)
    assert torch.equal(honest.updates, cohort((0, 1, 2, 3)).updates)
    assert torch.equal(sent.updates, sent_by(Opposed(), (0, 1, 2, 3))[2].updates)
    assert not state.vector.any()
    assert state.counters.tolist() == [1, 1]
    assert state.memory["momentum"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ({"attack": SignFlip(), "poison_ratio": 0.5}, "poison_ratio=0.5 is read by none"),
        ({"attack": Scaled(gamma=1.0)}, "scaled with gamma=1 would change nothing"),
        ({"attack": "scaled(of=backdoor)"}, "attack 'backdoor' with poison_ratio=0 would change"),
        ({"attack": "signflip(stretch=0)"}, "stretch must be > 0, got 0"),
        ({"attack": "backdoor(trigger=sqare)", "poison_ratio": 0.5}, "Did you mean 'square'"),
        ({"attack": SignFlip(), "malicious_fraction": 0.0}, "malicious_fraction=0 would change"),
        ({"attack": Repainting(poison_ratio=0.5)}, "changes images, whose copies are made once"),
    ],
    ids=str,
)
def test_scenarios_that_are_refused(attack: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        Scenario(**{"malicious_fraction": 0.3, **attack})
    assert message in str(error.value)


def test_ids_have_a_poison_ratio_where_the_attack_reads_one() -> None:
    shares = {"malicious_fraction": 0.3}
    assert Scenario(attack="signflip", **shares).id == "fedavg-iid-signflip-mal30pct"
    stretched = Scenario(attack="signflip(stretch=2)", **shares).id
    assert stretched == "fedavg-iid-signflip-mal30pct-stretch2"
    door = Scenario(attack="backdoor", poison_ratio=0.5, **shares).id
    assert door == "fedavg-iid-backdoor0-mal30pct-poison50pct"


def test_an_attack_that_nobody_carries_out_is_an_error() -> None:
    scenario = Scenario(
        dataset="synthetic:200", model="mlp", num_clients=20, fraction_train=0.05, rounds=1,
        attack="signflip", malicious_fraction=0.05,
    )  # fmt: skip
    with pytest.raises(AttackError, match="none of the 1 malicious clients takes part in any"):
        run(scenario, 0, device="cpu")  # one of 20 clients takes part, and it is another one


@pytest.mark.parametrize("factor", [0, -1, 1.5])
def test_local_work_must_be_whole_epochs(monkeypatch: pytest.MonkeyPatch, factor: Any) -> None:
    threat, _ = attacked(Overtrain())
    monkeypatch.setattr(Overtrain, "changed", lambda self, base: Work(factor))
    with pytest.raises(AttackError, match=r"LocalWork\.changed must give an integer >= 1"):
        threat.local_work(np.ones(4, np.int64), None)


def test_local_work_that_changes_nobody_is_an_error() -> None:
    threat, _ = attacked(Overtrain(factor=1))
    with pytest.raises(AttackError, match="changes the local work of none of 2 malicious"):
        threat.local_work(np.ones(4, np.int64), None)


class Shift(LabelAttack):
    """Written as before attacks owned their parameters: classmethods that take a scenario."""

    @classmethod
    def eligible(cls, labels: Any, scenario: Any) -> Any:
        return labels != scenario.target_class

    @classmethod
    def relabel(cls, labels: Any, num_classes: int, scenario: Any, generator: Any) -> Any:
        return np.full(len(labels), scenario.target_class)

    @classmethod
    def data_problems(cls, scenario: Any, num_classes: int) -> list[str]:
        return [f"no class {scenario.target_class}"] * (scenario.target_class >= num_classes)

    @classmethod
    def success_classes(cls, scenario: Any) -> tuple[int, int]:
        return 0, scenario.target_class


def test_label_attacks_of_others_written_as_classmethods_go_on() -> None:
    if "shiftall" not in {name.rpartition("/")[2] for name in ATTACKS}:
        ATTACKS.register("shiftall", "all labels become one", target_class=4)(Shift)
    scenario = Scenario(
        dataset="synthetic:200", model="mlp", num_clients=4, fraction_train=1.0, rounds=1,
        attack=Shift(poison_ratio=0.5), malicious_fraction=0.5,
    )  # fmt: skip
    assert scenario.target_class == 4
    record = run(scenario, device="cpu")
    assert record.audit.samples_changed == sum(p.poisoned for p in record.audit.poison) > 0
    assert record.asr is not None
    with pytest.raises(AttackError, match="no class 11"):
        run(scenario.but(target_class=11), device="cpu")
