"""Mimic: whom the attackers repeat, and that they keep to it."""

from __future__ import annotations

import pytest
import torch

from fedcore.attacks.updates.mimic import Mimic
from fedcore.exchange.cohort import Memory
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from tests.attacks.updates.shown import sent

# they vary along the first coordinate; client 7 or 2 stands out, whichever sign z has
BENIGN = torch.tensor([[-9.0, 1.0], [0.0, -1.0], [9.0, 0.0]]).double()
OTHERS = (2, 5, 7)


def test_the_direction_is_that_of_the_largest_variance() -> None:
    memory = Memory()
    row = sent(Mimic(warmup=5), BENIGN, malicious=2, memory=memory, others=OTHERS)
    direction = memory["direction"]
    assert abs(float(direction[0])) == pytest.approx(1, abs=0.1)
    assert float(direction.norm()) == pytest.approx(1)
    best = int((BENIGN @ direction).argmax())
    assert row.tolist() == [BENIGN[best].tolist()] * 2
    assert memory.tallies["target"] == OTHERS[best]


def test_ojas_rule_by_hand() -> None:
    memory = Memory({"direction": torch.tensor([1.0, 0.0]).double(),
                     "mean": torch.tensor([3.0, 0.0]).double()})  # fmt: skip
    memory.tallies["rounds"] = 1
    rows = torch.tensor([[1.0, 1.0], [-3.0, 3.0]]).double()  # mean (-1, 2)
    sent(Mimic(warmup=9), rows, memory=memory, others=(0, 1))
    # mu = (3, 0) / 2 + (-1, 2) / 2 = (1, 1); gaps (0, 0) and (-4, 2); c = -4 (-4, 2)
    assert memory["mean"].tolist() == [1.0, 1.0]
    moved = torch.tensor([16.0, -8.0]).double()
    expected = torch.tensor([1.0, 0.0]).double() + moved / moved.norm()
    assert torch.allclose(memory["direction"], expected / expected.norm())
    assert memory.tallies["rounds"] == 2


def test_the_client_of_the_last_warm_up_round_is_kept() -> None:
    memory, attack = Memory(), Mimic(warmup=1)
    first = sent(attack, BENIGN, memory=memory, others=OTHERS)
    target = memory.tallies["target"]
    place = OTHERS.index(int(target))
    turned = -BENIGN
    row = sent(attack, turned, memory=memory, others=OTHERS)
    assert torch.equal(row[0], turned[place])
    assert torch.equal(first[0], BENIGN[place])
    # in a round without it the next one along z stands in, and it comes back
    rest = [i for i in range(3) if i != place]
    row = sent(attack, BENIGN[rest], memory=memory, others=tuple(OTHERS[i] for i in rest))
    along = BENIGN[rest] @ memory["direction"]
    assert torch.equal(row[0], BENIGN[rest][int(along.argmax())])
    assert memory.tallies["target"] == target
    row = sent(attack, BENIGN, memory=memory, others=OTHERS)
    assert torch.equal(row[0], BENIGN[place])


def test_without_benign_clients_attackers_send_their_own() -> None:
    own = [[1.0, 2.0], [3.0, 4.0]]
    assert sent(Mimic(), torch.empty(0, 2), own).tolist() == own
    assert Mimic().sends_own(3, 3)
    assert not Mimic().sends_own(3, 2)


def test_what_attackers_remember_belongs_to_a_run() -> None:
    scenario = Scenario(
        dataset="synthetic:160", model="mlp", num_clients=6, fraction_train=1.0, rounds=3,
        attack=Mimic(warmup=2), malicious_fraction=0.34,
    )  # fmt: skip
    one, other = (run(scenario, seed, device="cpu") for seed in (0, 1))
    again = run(scenario, 0, device="cpu")
    assert one.model_digest == again.model_digest != other.model_digest
    assert one.audit.notes == again.audit.notes
    assert "after 2 rounds of warm-up" in one.audit.notes[0]
    short = run(scenario.but(rounds=1), 0, device="cpu")
    assert "had 1 rounds with benign clients, its warm-up takes 2" in short.audit.notes[0]
