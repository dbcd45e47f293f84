"""Which SuperNode is which client: nodes have random ids, clients are partitions."""

from __future__ import annotations

import time

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid


class Nodes:
    """The nodes of a grid by the client that each says it is.

    A partition belongs to the first node that claims it as long as that is connected.
    """

    def __init__(self, num_clients: int, timeout: float | None = None) -> None:
        self.num_clients, self.timeout = num_clients, timeout
        self._client_of: dict[int, int] = {}
        self._node_of: dict[int, int] = {}

    def refresh(self, grid: Grid) -> None:
        """Forget nodes that are gone, ask new ones who they are."""
        connected = set(grid.get_node_ids())
        for node in set(self._client_of) - connected:
            self._node_of.pop(self._client_of.pop(node), None)
        new = sorted(connected - set(self._client_of))
        if not new:
            return
        questions = [Message(RecordDict(), node, MessageType.QUERY) for node in new]
        replies = grid.send_and_receive(questions, timeout=self.timeout)
        for reply in sorted(replies, key=lambda reply: int(reply.metadata.src_node_id)):
            client = _claimed(reply)
            if client is not None and 0 <= client < self.num_clients:
                self._claim(int(reply.metadata.src_node_id), client)

    def _claim(self, node: int, client: int) -> None:
        if client not in self._node_of:
            self._node_of[client], self._client_of[node] = node, client

    def wait(self, grid: Grid, wanted: int, seconds: float) -> int:
        """Wait until ``wanted`` clients are there, at most ``seconds``; how many there are."""
        end = time.monotonic() + seconds
        while True:
            self.refresh(grid)
            if len(self._node_of) >= wanted or time.monotonic() >= end:
                return len(self._node_of)
            time.sleep(1.0)

    def node_of(self, client: int) -> int | None:
        """The node that holds ``client``; None if there is none."""
        return self._node_of.get(client)

    def client_of(self, node: int) -> int | None:
        """The client that ``node`` holds; None if it is no client's."""
        return self._client_of.get(node)


def _claimed(reply: Message) -> int | None:
    if reply.has_error():
        return None
    for record in reply.content.metric_records.values():
        client = record.get("client")
        if isinstance(client, int):
            return client
    return None
