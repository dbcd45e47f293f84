"""Unmodified Flower strategies and mods: loaded by name, driven round by round, repeatable."""

from __future__ import annotations

import contextlib
import importlib
import random
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedcore.components.patience import impatient
from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout
from fedcore.flower.arrays import ArraysError, from_arrays
from fedcore.flower.assault import read, rewrite
from fedcore.flower.nodes import Nodes
from fedcore.flower.replies import ClientFacts, matched
from fedcore.records.record import Exclusion
from fedcore.scenario import Scenario
from fedcore.strategies.foreign import ReplyCohort, Spec, specs
from fedcore.streams import Purpose, torch_seed

_FIRST = 2  # what strategies are told as node ids: 2 + client, the same in every run


class Foreign:
    """Drives the Flower strategy of a scenario: a conductor of `GridEngine`.

    The strategy sees a grid whose nodes are the round's cohort, so that its own sampling with
    ``fraction_train=1`` takes all of them; what it draws from global generators is seeded for the
    round, and they are restored.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        layout: Layout,
        known: Callable[[int], ClientFacts],
        nodes: Nodes,
    ) -> None:
        assert scenario.strategy_spec is not None
        self.scenario, self.seed, self.layout = scenario, seed, layout
        self.known, self.nodes = known, nodes
        self.strategy = build(Spec.parse(scenario.strategy_spec))
        self.excluded: list[Exclusion] = []
        self._asked: dict[int, list[int]] = {}
        attack = scenario.parts.attack
        self._attacked = attack is not None and attack.update is not None
        self._state: ServerState | None = None

    @property
    def left_out(self) -> list[Exclusion]:
        """What the strategy itself reports as excluded, as `Hardened` does, by client."""
        found: Iterable[Exclusion] = getattr(self.strategy, "excluded", ())
        return [Exclusion(e.round, e.client - _FIRST, e.reason) for e in found]

    def messages(
        self,
        round: int,
        state: ServerState,
        clients: Iterable[int],
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
    ) -> list[Message]:
        """The strategy's own messages of ``round``, addressed to the nodes of the clients."""
        self.nodes.refresh(grid)
        self._state = state
        there = [client for client in clients if self.nodes.node_of(client) is not None]
        ours = set(config)  # before the strategy writes into it
        with self._at_work(round):
            view = _Cohort(grid, [_FIRST + client for client in there])
            chosen = list(self.strategy.configure_train(round, arrays, config, view))
            self._require_read(chosen, ours)
        self._asked, made = {}, []
        for message in sorted(chosen, key=lambda message: int(message.metadata.dst_node_id)):
            client = int(message.metadata.dst_node_id) - _FIRST
            node = self.nodes.node_of(client)
            assert node is not None, "strategies can only choose from the view"
            self._asked.setdefault(node, []).append(client)
            made.append(_addressed(message, node, client, round))
        return made

    def _require_read(self, chosen: Iterable[Message], ours: set[str]) -> None:
        """FedcoreError where the strategy asks of its clients what no mod of theirs reads."""
        told = {
            key
            for message in chosen
            for record in message.content.config_records.values()
            for key in record
        }
        unread = sorted(told - ours - {"server-round"})
        if unread and self.scenario.client_mods is None:
            raise FedcoreError(
                f"it tells its clients {', '.join(unread)}, which they do not read: say it in the "
                "scenario (such as mu), or attach a mod that reads it (client_mods)"
            )

    def collect(self, round: int, replies: Iterable[Message]) -> ReplyCohort:
        """The replies by client, for the strategy to aggregate; errors are excluded."""
        found, silent = matched(self._asked, replies)
        for client, reply in found.items():
            if reply.has_error():
                self.excluded.append(Exclusion(round, client, f"error: {reply.error.reason}"))
            reply.metadata.__dict__["_src_node_id"] = _FIRST + client
        self.excluded += [Exclusion(round, client, "no reply in time") for client in silent]
        clients = tuple(client for client in sorted(found) if not found[client].has_error())
        facts = [self.known(client) for client in clients]
        ordered = [found[client] for client in sorted(found)]
        updates = torch.empty(len(clients), 0)
        counters = torch.empty(len(clients), 0, dtype=torch.int64)
        if self._attacked and clients:
            assert self._state is not None
            answers = {client: found[client] for client in clients}
            updates, counters = read(self.scenario, self.layout, self._state, round, answers)

        def finish(state: ServerState, sent: Cohort) -> ServerState:
            rewrite(self.layout, state, found, updates, sent)
            return self._aggregate(round, ordered, state)

        return ReplyCohort(
            clients=clients,
            updates=updates,
            counters=counters,
            samples=tuple(f.samples for f in facts),
            steps=tuple(f.steps for f in facts),
            normalizers=tuple(f.normalizer for f in facts),
            finish=finish,
        )

    def _aggregate(self, round: int, replies: list[Message], state: ServerState) -> ServerState:
        with self._at_work(round):
            arrays, _ = self.strategy.aggregate_train(round, replies)
        if arrays is None:  # how a Flower strategy says that it skips the round
            return state
        try:
            vector, counters = from_arrays(self.layout, arrays, state.vector, finite=False)
        except ArraysError as error:
            raise FedcoreError(
                f"{self._name} returned no model in round {round}: {error}"
            ) from error
        return ServerState(vector, counters, state.memory)

    @property
    def _name(self) -> str:
        return f"the Flower strategy {self.scenario.strategy_spec}"

    @contextlib.contextmanager
    def _at_work(self, round: int) -> Iterator[None]:
        """Seeded global generators; an exception of the strategy becomes a FedcoreError."""
        with seeded(torch_seed(self.seed, Purpose.PRIVACY_NOISE, round=round)):
            try:
                yield
            except Exception as error:
                raise FedcoreError(
                    f"{self._name} failed in round {round}: {type(error).__name__}: {error}"
                ) from error


class _Cohort(Grid):  # type: ignore[misc]
    """A view of ``grid`` whose nodes are those of a round's cohort; nothing is sent through it."""

    def __init__(self, grid: Grid, node_ids: Sequence[int]) -> None:
        self._grid, self._node_ids = grid, list(node_ids)

    def get_node_ids(self) -> list[int]:
        return list(self._node_ids)

    @property
    def run(self) -> Any:
        return self._grid.run

    def set_run(self, run: Any) -> None:
        raise NotImplementedError("the run is the engine's")

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise FedcoreError("a strategy under test sends nothing by itself while it configures")

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return list(self._grid.pull_messages(message_ids))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


def _addressed(message: Message, node: int, client: int, round: int) -> Message:
    """``message`` for ``node``, told which client is meant and which round it is."""
    records = dict(message.content.items())
    names = [key for key, record in records.items() if isinstance(record, ConfigRecord)]
    config = ConfigRecord({"server-round": round, **(records[names[0]] if names else {})})
    config["client"] = client
    records[names[0] if names else "config"] = config
    return Message(RecordDict(records), node, MessageType.TRAIN, group_id=str(round))


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """The global generators of random, numpy and torch seeded, and restored afterwards.

    By the operating system where ``seed`` is None.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(None if seed is None else seed % 2**32)  # noqa: NPY002
    torch.manual_seed(secrets.randbits(64) if seed is None else seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def build(spec: Spec) -> Strategy:
    """The strategy that ``spec`` names; a keyword ``strategy`` may hold another spec (wrappers).

    Raises FedcoreError where it cannot be imported or made.
    """
    kwargs = dict(spec.kwargs)
    if isinstance(kwargs.get("strategy"), str):
        kwargs["strategy"] = build(Spec.parse(kwargs["strategy"]))
    thing = _find(spec)
    # looked at before it is called: any other class or function may do anything when it is
    if not isinstance(thing, type) or not all(
        callable(getattr(thing, name, None)) for name in ("configure_train", "aggregate_train")
    ):
        raise FedcoreError(
            f"{spec.module}:{spec.name} is no Flower strategy: it must be a class that has "
            "configure_train and aggregate_train (flwr.serverapp.strategy.Strategy)"
        )
    made: Strategy = _call(spec, kwargs)
    return made


def mods(text: str | None) -> list[Callable[..., Message]]:
    """The mods that ``client_mods`` names: classes are made, functions taken as they are."""
    found = []
    for spec in specs(text) if text is not None else ():
        thing = _find(spec)
        found.append(_call(spec, spec.kwargs) if isinstance(thing, type) else thing)
    return found


def _find(spec: Spec) -> Any:
    try:
        with impatient():
            return getattr(importlib.import_module(spec.module), spec.name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a module of others raises while it is imported
        own = isinstance(error, ImportError | AttributeError)
        text = error if own else f"{type(error).__name__}: {error}"
        raise FedcoreError(
            f"{spec.module}:{spec.name} cannot be imported ({text}): is it installed, or its "
            "folder on PYTHONPATH?"
        ) from error


def _call(spec: Spec, kwargs: dict[str, Any]) -> Any:
    thing = _find(spec)
    try:
        return thing(**kwargs)
    except Exception as error:  # whatever a foreign constructor raises
        raise FedcoreError(
            f"{spec.module}:{spec.name} cannot be made from {kwargs!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
