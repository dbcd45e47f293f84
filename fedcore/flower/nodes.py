"""Which SuperNode holds which clients: nodes have random ids, clients are partitions."""

from __future__ import annotations

import time
from collections.abc import Mapping

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid


def held(config: Mapping[str, object], num_clients: int) -> tuple[int, ...]:
    """The clients of a node: ``partition-id``, or, of M < ``num_clients`` nodes, every M-th.

    ValueError where the node's config has no such partition.
    """
    first = config.get("partition-id")
    nodes = config.get("num-partitions", num_clients)
    if not isinstance(first, int) or not isinstance(nodes, int) or not 0 <= first < max(nodes, 1):
        raise ValueError(
            f"a SuperNode needs partition-id in [0, num-partitions), got {first!r} of {nodes!r}: "
            'start it with --node-config "partition-id=0 num-partitions=4"'
        )
    return tuple(range(first, num_clients, nodes))


class Nodes:
    """The nodes of a grid by the clients that each says it holds.

    A client belongs to the first node that claims it, as long as that is connected.
    """

    def __init__(self, num_clients: int, timeout: float | None = None) -> None:
        self.num_clients, self.timeout = num_clients, timeout
        self._known: set[int] = set()
        self._node_of: dict[int, int] = {}

    def refresh(self, grid: Grid) -> None:
        """Forget nodes that are gone, ask new ones whom they hold."""
        connected = set(grid.get_node_ids())
        self._known &= connected
        self._node_of = {c: node for c, node in self._node_of.items() if node in connected}
        new = sorted(connected - self._known)
        if not new:
            return
        questions = [Message(RecordDict(), node, MessageType.QUERY) for node in new]
        replies = grid.send_and_receive(questions, timeout=self.timeout)
        for reply in sorted(replies, key=lambda reply: int(reply.metadata.src_node_id)):
            node = int(reply.metadata.src_node_id)
            self._known.add(node)
            for client in _claimed(reply, self.num_clients):
                self._node_of.setdefault(client, node)

    def wait(self, grid: Grid, wanted: int, seconds: float) -> int:
        """Wait until ``wanted`` clients are there, at most ``seconds``; how many there are."""
        end = time.monotonic() + seconds
        while True:
            self.refresh(grid)
            if len(self._node_of) >= wanted or time.monotonic() >= end:
                return len(self._node_of)
            time.sleep(0.5)

    def node_of(self, client: int) -> int | None:
        """The node that holds ``client``; None if there is none."""
        return self._node_of.get(client)

    @property
    def shared(self) -> bool:
        """Whether a node holds several clients."""
        return len(set(self._node_of.values())) < len(self._node_of)


def _claimed(reply: Message, num_clients: int) -> tuple[int, ...]:
    if reply.has_error():
        return ()
    for record in reply.content.metric_records.values():
        try:
            return held(record, num_clients)
        except ValueError:
            return ()
    return ()
