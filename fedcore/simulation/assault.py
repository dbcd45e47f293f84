"""An attack on updates in one round: the malicious rows of a cohort replaced by what they send."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from fedcore.attacks.attack import Seen
from fedcore.errors import AttackError
from fedcore.exchange.cohort import Cohort, Memory, ServerState
from fedcore.federation.threat import Threat
from fedcore.strategies.aggregation import Aggregation
from fedcore.streams import Purpose, torch_stream


def assaulted(
    threat: Threat,
    cohort: Cohort,
    state: ServerState,
    server: Aggregation,
    round: int,
    num_parameters: int,
    memory: Memory | None = None,
) -> Cohort:
    """``cohort`` as it is sent under the attack of ``threat`` in ``round``; itself if nobody does.

    ``state`` is what the cohort trained from, ``memory`` what the attackers remember. What the
    attack does not touch, and counters, stay those of honest work. Raises AttackError where it
    gives rows of another shape, type or device.
    """
    attack = None if threat.attack is None else threat.attack.update
    malicious = set(threat.malicious.tolist())
    rows = [row for row, client in enumerate(cohort.clients) if client in malicious]
    if attack is None or not rows:
        return cohort
    others = [row for row in range(len(cohort.clients)) if row not in set(rows)]
    updates = cohort.updates[:, :num_parameters]
    own = updates[rows]  # a list of rows gives a copy, so that nothing shown is what a run uses
    seen = Seen(
        own=own,
        benign=updates[others] if attack.knows == "benign" else None,
        state=ServerState(state.vector.clone(), state.counters.clone(), state.memory.copy()),
        server=server,
        round=round,
        clients=len(cohort.clients),
        generator=torch_stream(
            threat.seed, Purpose.UPDATE_ATTACK, round=round, device=updates.device
        ),
        memory=Memory() if memory is None else memory,
        others=tuple(cohort.clients[row] for row in others),
        tried=trial_step(server, cohort, state, round, num_parameters, malicious),
    )
    result = cohort.updates.clone()  # engines use the memory of the honest ones again
    name = threat.scenario.attack
    if "parameters" in attack.touches:
        result[rows, :num_parameters] = _fitting(attack.craft(seen), own, name, "craft")
    if "buffers" in attack.touches:
        buffers = cohort.updates[rows, num_parameters:]
        crafted = attack.craft_buffers(buffers.clone(), state.vector[num_parameters:].clone())
        result[rows, num_parameters:] = _fitting(crafted, buffers, name, "craft_buffers")
    return dataclasses.replace(cohort, updates=result)


def _fitting(sent: object, own: torch.Tensor, name: str | None, method: str) -> torch.Tensor:
    """What ``method`` of the attack called ``name`` gives in place of ``own``, if it can be."""
    if not isinstance(sent, torch.Tensor):
        raise AttackError(
            f"attack {name!r} must send a tensor, got {type(sent).__name__}: correct its {method} "
            "method"
        )
    form = tuple(sent.shape), sent.dtype, sent.device
    expected = tuple(own.shape), own.dtype, own.device
    if form != expected:
        raise AttackError(
            f"attack {name!r} must send {expected[1]} updates of shape {expected[0]} on "
            f"{expected[2]}, got {form[1]} of shape {form[0]} on {form[2]}: correct its {method} "
            "method"
        )
    return sent.detach()


def trial_step(
    server: Aggregation,
    cohort: Cohort,
    state: ServerState,
    round: int,
    num_parameters: int,
    malicious: set[int],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of rows [m, P]: the step [P] that ``server`` would make in ``round`` of these.

    They stand in for the rows of the ``malicious`` in ``cohort``. The step is made from copies, of
    parameters alone, with the server's own draws of the round.
    """
    cohort = dataclasses.replace(
        cohort.restricted(num_parameters), counters=cohort.counters[:, :0], noted=None
    )
    rows = [row for row, client in enumerate(cohort.clients) if client in malicious]
    room: list[torch.Tensor] = []  # one copy for all trials

    def tried(sent: torch.Tensor) -> torch.Tensor:
        if not room:
            room.append(cohort.updates.clone())
        updates = room[0]
        updates[rows] = sent
        before = state.vector[:num_parameters].clone()
        start = ServerState(before.clone(), state.counters[:0], state.memory.copy())
        trial = dataclasses.replace(cohort, updates=updates)
        return server.aggregate(start, trial, num_parameters, round).vector - before

    return tried
