"""Checks of what a client sent: nothing enters an aggregation that its sender could end it with."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
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

MOST_STEPS = 10**6
"""Largest ``steps`` of a round: what follows from them is worked out step by step."""

FACTOR = 10
"""Times the median count of the round: the most that a client counts for where nobody knows."""


_LARGEST = 1e300
_NEAR = 2.0  # times the normalizer that the steps have: what a client may say


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
    *,
    normalizer: Callable[[int], float | None] | None = None,
    most: int = MOST_EXAMPLES,
) -> Reply:
    """The content of ``message``, a reply to the model ``state``.

    Under a mechanism, whose ``release`` is given, it must hold that and nothing more.

    Where the server knows the facts (``known``: it simulates the clients), what the client says
    must agree with them, and the server's own are used. Otherwise samples must be integers in
    [1, ``most``], steps in [1, MOST_STEPS], and normalizers positive, finite and near what
    ``normalizer`` gives for the steps: that is used, whether the reply has one or none. Integer
    buffers count steps: they must lie in [0, sent + steps]. Raises ReplyError.
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
    facts = _facts(metrics[0], known, normalizer, most)
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


def capped(replies: Mapping[int, Reply]) -> tuple[dict[int, Reply], dict[int, str]]:
    """``replies`` by client, none with more weight than ten medians; who is left out, and why.

    For counts that nobody but the clients knows. Samples above `FACTOR` times their median count as
    that; a client with more steps than that is left out, as its work would be normalised by them.
    """
    if not replies:
        return {}, {}
    samples = FACTOR * statistics.median(reply.facts.samples for reply in replies.values())
    steps = FACTOR * statistics.median(reply.facts.steps for reply in replies.values())
    kept, left = {}, {}
    for client, reply in replies.items():
        facts = reply.facts
        if facts.steps > steps:
            left[client] = f"says {facts.steps} steps, more than {FACTOR} times the median"
            continue
        if facts.samples > samples:
            facts = dataclasses.replace(facts, samples=max(1, int(samples)))
            reply = dataclasses.replace(reply, facts=facts)
        kept[client] = reply
    return kept, left


def _facts(
    metrics: MetricRecord,
    known: ClientFacts | None,
    normalizer: Callable[[int], float | None] | None,
    most: int,
) -> ClientFacts:
    said = ClientFacts(
        _count(metrics, "num-examples", most),
        _count(metrics, "steps", MOST_STEPS),
        _normalizer(metrics),
    )
    if known is None:
        return said if normalizer is None else _normalized(said, normalizer(said.steps))
    if (said.samples, said.steps) != (known.samples, known.steps):
        raise ReplyError(
            f"says {said.samples} examples in {said.steps} steps, has {known.samples} in "
            f"{known.steps}"
        )
    return known


def _normalized(said: ClientFacts, due: float | None) -> ClientFacts:
    """What a client said, with the normalizer ``due`` for its steps in the place of its own."""
    told = said.normalizer
    if None not in (told, due) and not due / _NEAR <= told <= due * _NEAR:  # type: ignore[operator]
        raise ReplyError(
            f"normalizer must be about {due:g}, that of {said.steps} steps, got {told:g}"
        )
    return dataclasses.replace(said, normalizer=due)


def _count(metrics: MetricRecord, key: str, most: int) -> int:
    value = metrics.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ReplyError(f"{key} must be an integer in [1, {most}], got {value!r:.60}")
    return value


def _secret(metrics: MetricRecord) -> bool:
    value = metrics.get("secret-noise")
    if value not in (0, 1):
        raise ReplyError(f"secret-noise must be 0 or 1, got {value!r:.60}")
    return bool(value)


def _normalizer(metrics: MetricRecord) -> float | None:
    value = metrics.get("normalizer")
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 < value < math.inf or value > _LARGEST:
        raise ReplyError(f"normalizer must be a positive finite number, got {value!r:.60}")
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
