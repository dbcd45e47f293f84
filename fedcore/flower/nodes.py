"""Which SuperNode holds which clients: nodes have random ids, clients are partitions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from logging import WARNING

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore import log

from fedcore.flower.node_keys import keys_of

_MOST = 1 << 31  # partitions that a node may speak of
_PATIENCE = 3  # questions that a node may leave unanswered


def held(config: Mapping[str, object], num_clients: int) -> tuple[int, ...]:
    """The clients of a node: ``partition-id``, or, of M < ``num_clients`` nodes, every M-th.

    ValueError where the node's config has no such partition.
    """
    first, nodes = _place(config, num_clients)
    return tuple(range(first, num_clients, nodes))


def _place(config: Mapping[str, object], num_clients: int) -> tuple[int, int]:
    """(partition, of how many) that ``config`` says; ValueError where it says none."""
    first = config.get("partition-id")
    nodes = config.get("num-partitions", num_clients)
    if (
        not (isinstance(first, int) and isinstance(nodes, int))
        or not 0 <= first < max(nodes, 1) <= _MOST
    ):
        raise ValueError(
            f"a SuperNode needs partition-id in [0, num-partitions), got {first!r} of {nodes!r}: "
            'start it with --node-config "partition-id=0 num-partitions=4"'
        )
    return first, nodes


class Nodes:
    """The nodes of a grid by the clients that each holds.

    ``keys`` are the partitions by the fingerprints of public keys (`node_keys.read_keys`): then a
    node holds that of its key, whatever it says. Without them a partition belongs for the whole run
    to the first node that claims it, of several at once to that of the lowest id: no other can take
    it over, but the first may be the wrong one. ``partitions`` is how many there are; None: as
    ``keys`` say, else as most nodes of the first round of questions do, which is for simulations,
    whose nodes have no reason to lie.

    A node whose claim does not fit, or that leaves three questions unanswered for ``timeout``
    seconds each, is left out by name, in ``refused``, and the others go on.
    """

    def __init__(
        self,
        num_clients: int,
        timeout: float | None = None,
        *,
        partitions: int | None = None,
        keys: Mapping[str, int] | None = None,
    ) -> None:
        self.num_clients, self.timeout = num_clients, timeout
        self.partitions = partitions if keys is None else len(keys)
        self.refused: dict[int, str] = {}
        self._keys = keys
        self._known: set[int] = set()
        self._node_of: dict[int, int] = {}  # by partition, for the whole run
        self._connected: set[int] = set()
        self._silent: Counter[int] = Counter()

    def refresh(self, grid: Grid) -> None:
        """Forget nodes that are gone, ask new ones whom they hold."""
        self._connected = set(grid.get_node_ids())
        self._known &= self._connected
        new = sorted(self._connected - self._known)
        if not new:
            return
        own = None if self._keys is None else keys_of(grid)
        questions = [Message(RecordDict(), node, MessageType.QUERY) for node in new]
        replies = grid.send_and_receive(questions, timeout=self.timeout)
        places: dict[int, tuple[int, int] | str] = {}
        for reply in sorted(replies, key=lambda reply: int(reply.metadata.src_node_id)):
            places.setdefault(int(reply.metadata.src_node_id), _said(reply, self.num_clients))
        if self.partitions is None:
            said = Counter(place[1] for place in places.values() if not isinstance(place, str))
            self.partitions = max(said, key=lambda number: (said[number], number), default=None)
        for node in new:
            place = places.get(node)
            if place is None:
                self._silent[node] += 1
                if self._silent[node] < _PATIENCE:
                    continue  # it may be slow: the next refresh asks again
                place = f"it left {_PATIENCE} questions unanswered"
            self._known.add(node)
            if not isinstance(place, str):
                key = None if own is None else own.get(node, "unknown")
                problem = self._problem(node, *place, key)
                if problem is None:
                    self._node_of[place[0]] = node
                    continue
                place = problem
            log(WARNING, "SuperNode %s is left out: %s", node, place)
            self.refused[node] = place

    def _problem(self, node: int, partition: int, of: int, key: str | None) -> str | None:
        """Why ``node``, which claims ``partition`` of so many, does not hold it; None: it does."""
        claim = f"it claims partition {partition} of {of}"
        if key is not None:
            assert self._keys is not None
            due = self._keys.get(key)
            if due is None:
                return f"{claim}, and its key {key} is not among node-keys"
            if due != partition:
                return f"{claim}, and its key {key} is that of partition {due}"
        if of != self.partitions:
            return (
                f"{claim}, and this run has {self.partitions} partitions: start it with "
                f"num-partitions={self.partitions}, or set the run config's num-partitions"
            )
        before = self._node_of.get(partition, node)
        if before != node and key is None:
            return f"{claim}, which SuperNode {before} holds in this run"
        others = [p for p, holder in self._node_of.items() if holder == node and p != partition]
        if others:
            return f"{claim}, and holds partition {others[0]} in this run"
        return None

    def wait(self, grid: Grid, wanted: int, seconds: float) -> int:
        """Wait until ``wanted`` clients are there, at most ``seconds``; how many there are."""
        end = time.monotonic() + seconds
        while True:
            self.refresh(grid)
            there = len(self._there())
            if there >= wanted or time.monotonic() >= end:
                return there
            time.sleep(0.5)

    def node_of(self, client: int) -> int | None:
        """The node that holds ``client``; None if there is none, or it is not connected."""
        if self.partitions is None:
            return None
        node = self._node_of.get(client % self.partitions)
        return node if node in self._connected else None

    @property
    def shared(self) -> bool:
        """Whether a node holds several clients."""
        there = self._there()
        return len(set(there.values())) < len(there)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a record says of nodes that were left out."""
        return tuple(f"SuperNode {node} was left out: {why}" for node, why in self.refused.items())

    def _there(self) -> dict[int, int]:
        """The connected node of each client that has one."""
        nodes = {client: self.node_of(client) for client in range(self.num_clients)}
        return {client: node for client, node in nodes.items() if node is not None}


def _said(reply: Message, num_clients: int) -> tuple[int, int] | str:
    """(partition, of how many) of a node's answer, or what is wrong with that."""
    if reply.has_error():
        return f"it does not say which partition it holds: {str(reply.error.reason)[-200:]}"
    for record in reply.content.metric_records.values():
        try:
            return _place(record, num_clients)
        except ValueError as error:
            return str(error)
    return "it does not say which partition it holds"
