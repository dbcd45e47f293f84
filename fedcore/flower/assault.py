"""Attacks on updates over Flower: where they can act, and how replies are changed by them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from flwr.app import Message

from fedcore.attacks.attack import attack_of
from fedcore.errors import AttackError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout
from fedcore.flower.arrays import ArraysError, from_arrays, to_arrays
from fedcore.scenario import Scenario


def require_simulation(scenario: Scenario, deployed: str | None) -> None:
    """AttackError where an attack on updates cannot act: no server stands in for the attackers.

    ``deployed`` says where clients are their own, None in a simulation. Attacks on data and local
    work act in the client app, wherever that is.
    """
    attack = attack_of(scenario)
    update = None if attack is None else attack.update
    if update is None:
        return
    if deployed is not None:
        knows = (
            "nobody there sees the updates of the others"
            if update.knows == "benign"
            else "each client would send its own"
        )
        raise AttackError(
            f"attack {scenario.attack!r} makes up what malicious clients send, which the server of "
            f"a simulation does for them; {deployed}, {knows}: run it with fedcore run, or with "
            "the engine flower-grid or flower-ray"
        )
    if scenario.privacy is not None:
        raise AttackError(
            f"attack {scenario.attack!r} comes before privacy={scenario.privacy!r}, but clients "
            "over Flower make their releases themselves: name --engine sequential"
        )


def read(
    scenario: Scenario,
    layout: Layout,
    state: ServerState,
    round: int,
    replies: Mapping[int, Message],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Updates [K, D] and counters [K, I] of ``replies`` to the model ``state``, by client.

    Raises AttackError for a reply that holds no model: no attack could change it.
    """
    rows, counts = [], []
    for client, reply in replies.items():
        try:
            (arrays,) = reply.content.array_records.values()
            vector, counters = from_arrays(layout, arrays, state.vector, finite=False)
        except (ArraysError, ValueError) as error:
            raise AttackError(
                f"attack {scenario.attack!r} changes the models that clients send, but the reply "
                f"of client {client} in round {round} holds none ({error}): leave out the mods "
                "that replace it (client_mods)"
            ) from error
        rows.append(vector - state.vector)
        counts.append(counters)
    return torch.stack(rows), torch.stack(counts)


def rewrite(
    layout: Layout,
    state: ServerState,
    replies: Mapping[int, Message],
    updates: torch.Tensor,
    sent: Cohort,
) -> None:
    """Put what was ``sent`` into the ``replies`` of the clients whose row of ``updates`` differs.

    ``replies`` are by client; the others stay as they came, bit for bit.
    """
    for row, client in enumerate(sent.clients):
        if not torch.equal(sent.updates[row], updates[row]):
            content = replies[client].content
            (name,) = content.array_records
            vector = state.vector + sent.updates[row]
            content[name] = to_arrays(layout, vector, sent.counters[row])
