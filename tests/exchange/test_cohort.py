"""Cohorts and the memory of a run."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from fedcore.exchange.cohort import Memory, Noted, ServerState


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, Memory.copy, lambda memory: pickle.loads(pickle.dumps(memory))]
)
def test_copies_of_a_memory_are_of_their_own_and_whole(copied) -> None:
    memory = Memory({"centre": torch.ones(2)})
    memory.noted, memory.tallies = Noted((1.0,)), {"steps": 1.0}
    memory.seed, memory.round = 3, 7
    other = copied(memory)
    assert (other.noted, other.tallies) == (memory.noted, memory.tallies)
    assert (other.seed, other.round) == (3, 7)
    other["centre"].add_(1)
    other["more"] = torch.zeros(1)
    other.noted, other.tallies["steps"] = None, 2.0
    assert memory["centre"].tolist() == [1.0, 1.0]
    assert (list(memory), memory.tallies) == (["centre"], {"steps": 1.0})
    assert memory.noted == Noted((1.0,))


def test_a_state_of_a_plain_dict_has_a_memory_of_its_tensors() -> None:
    tensors = {"centre": torch.ones(2)}
    state = ServerState(torch.zeros(2), torch.empty(0, dtype=torch.int64), tensors)  # type: ignore[arg-type]
    assert isinstance(state.memory, Memory)
    assert state.memory["centre"] is tensors["centre"]
    assert Memory.of(state.memory) is state.memory
