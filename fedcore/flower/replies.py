"""Checks of what a client sent: nothing enters an aggregation that its sender could end it with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from flwr.app import Message, MetricRecord

from fedcore.errors import ScenarioError
from fedcore.exchange.cohort import ServerState
from fedcore.exchange.layout import Layout
from fedcore.flower.arrays import ArraysError, from_arrays
from fedcore.flower.releases import from_release
from fedcore.privacy.release import Release
from fedcore.scenario import Scenario

MOST_EXAMPLES = 10**9
"""Largest ``num-examples`` where nothing better is known."""


class ReplyError(ValueError):
    """A reply that must not be aggregated."""


@dataclass(frozen=True)
class ClientFacts:
    """What is said about a client's work; ``normalizer`` is None where the solver has none."""

    samples: int
    steps: int
    normalizer: float | None


@dataclass(frozen=True)
class Reply:
    """A checked reply: the client's model and the facts to aggregate it by.

    Where ``secret`` is not None it is a release: ``vector`` is an update, and ``secret`` says
    whether the client's noise is the operating system's, if the client tells the truth.
    """

    vector: torch.Tensor
    counters: torch.Tensor
    facts: ClientFacts
    secret: bool | None = None


def checked(
    message: Message,
    layout: Layout,
    state: ServerState,
    known: ClientFacts | None = None,
    release: Release | None = None,
) -> Reply:
    """The content of ``message``, a reply to the model ``state``.

    Under a mechanism, whose ``release`` is given, it must hold that and nothing more.

    Where the server knows the facts (``known``: it simulates the clients), what the client says
    must agree with them, and the server's own are used. Otherwise counts must be integers in
    [1, MOST_EXAMPLES] and normalizers positive and finite. Integer buffers count steps: they must
    lie in [0, sent + steps]. Raises ReplyError.
    """
    if message.has_error():
        raise ReplyError(f"error: {str(message.error.reason).strip()[-200:]}")
    arrays = list(message.content.array_records.values())
    metrics = list(message.content.metric_records.values())
    if len(arrays) != 1 or len(metrics) != 1:
        raise ReplyError(
            f"one ArrayRecord and one MetricRecord are needed, got {len(arrays)}, {len(metrics)}"
        )
    secret = None
    try:
        if release is None:
            vector, counters = from_arrays(layout, arrays[0], state.vector)
        else:
            vector, counters = from_release(release, layout, arrays[0], state)
            secret = _secret(metrics[0])
    except ArraysError as error:
        raise ReplyError(str(error)) from error
    moved = vector - state.vector if release is None else state.vector + vector
    if not bool(torch.isfinite(moved).all()):
        raise ReplyError("the update is beyond the range of its type")
    facts = _facts(metrics[0], known)
    if bool(((counters < 0) | (counters > state.counters + facts.steps)).any()):
        raise ReplyError(f"an integer buffer is outside [0, sent + {facts.steps} steps]")
    return Reply(vector, counters, facts, secret)


def sender(message: Message) -> int | None:
    """The client that ``message`` says it comes from; None where it says nothing."""
    if not message.has_error():
        for record in message.content.metric_records.values():
            client = record.get("client")
            if isinstance(client, int):
                return client
    return None


def matched(
    asked: Mapping[int, Sequence[int]], replies: Iterable[Message]
) -> tuple[dict[int, Message], list[int]]:
    """(the reply of each client, the clients that did not answer, ascending).

    ``asked`` are the clients asked for by node. A client is who the reply says it is where its node
    was asked for that one, else the first of its node that has not answered; who was not asked,
    or answers a second time, is ignored.
    """
    waiting = {node: list(clients) for node, clients in asked.items()}
    found: dict[int, Message] = {}
    for reply in replies:
        mine = waiting.get(int(reply.metadata.src_node_id), [])
        if not mine:
            continue
        said = sender(reply)
        client = said if said in mine else mine[0]
        mine.remove(client)
        found[client] = reply
    return found, sorted(client for clients in waiting.values() for client in clients)


def _facts(metrics: MetricRecord, known: ClientFacts | None) -> ClientFacts:
    said = ClientFacts(
        _count(metrics, "num-examples"), _count(metrics, "steps"), _normalizer(metrics)
    )
    if known is None:
        return said
    if (said.samples, said.steps) != (known.samples, known.steps):
        raise ReplyError(
            f"says {said.samples} examples in {said.steps} steps, has {known.samples} in "
            f"{known.steps}"
        )
    return known


def _count(metrics: MetricRecord, key: str) -> int:
    value = metrics.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_EXAMPLES:
        raise ReplyError(f"{key} must be an integer in [1, {MOST_EXAMPLES}], got {value!r}")
    return value


def _secret(metrics: MetricRecord) -> bool:
    value = metrics.get("secret-noise")
    if value not in (0, 1):
        raise ReplyError(f"secret-noise must be 0 or 1, got {value!r}")
    return bool(value)


def _normalizer(metrics: MetricRecord) -> float | None:
    value = metrics.get("normalizer")
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ReplyError(f"normalizer must be a positive finite number, got {value!r}")
    return float(value)


def quorum_problem(scenario: Scenario, clients: int) -> str | None:
    """Why the strategy of ``scenario`` cannot aggregate ``clients`` replies; None if it can."""
    if clients == 0:
        return "nobody is left"
    try:
        scenario.but(fraction_train=clients / scenario.num_clients)
    except ScenarioError as error:
        return "; ".join(error.problems)
    return None
