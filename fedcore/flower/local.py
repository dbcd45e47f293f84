"""A Grid whose nodes are in this process: unmodified strategies and mods, no runtime around them.

A client's messages are answered one after the other when they are pushed.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedcore.flower.client_app import app
from fedcore.flower.engine import GridEngine
from fedcore.flower.releases import GENERATOR
from fedcore.flower.task import Task

if TYPE_CHECKING:
    from fedcore.engine.execution import Execution
    from fedcore.federation.federation import Federation

_SERVER = 1
_FIRST_NODE = 2
_runs = itertools.count(1)


class LocalGrid(Grid):  # type: ignore[misc]
    """``clients`` nodes, node 2 + i holding partition i, that answer through ``app``.

    An exception in ``app`` becomes an error reply, as with a SuperNode. Messages and replies are
    copied on the way, as on a wire: strategies and mods may change what they are handed. Nodes are
    simulated, noise is seeded, unless ``node_config``, more of a node's own config, says otherwise.
    """

    def __init__(
        self, app: ClientApp, clients: int, node_config: Mapping[str, str | float] | None = None
    ) -> None:
        node_config = {GENERATOR: "seeded"} if node_config is None else node_config
        self.app = app
        self._run = Run.create_empty(next(_runs))
        self._ids = itertools.count(1)
        self._replies: dict[str, Message] = {}
        self.contexts = {
            _FIRST_NODE + client: Context(
                run_id=self._run.run_id,
                node_id=_FIRST_NODE + client,
                node_config={"partition-id": client, "num-partitions": clients, **node_config},
                state=RecordDict(),
                run_config={},
            )
            for client in range(clients)
        }
        # outside of a runtime nobody else says on whose behalf messages are made
        TaskIdentity.task_id, TaskIdentity.node_id = 1, _SERVER
        TaskIdentity.run_id = self._run.run_id

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Sequence[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        pushed = []
        for message in messages:
            name = f"message-{next(self._ids)}"
            message.metadata.__dict__["_message_id"] = name
            self._replies[name] = self._answer(message)
            pushed.append(name)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        sent = Message(_copied(message.content), metadata=message.metadata)
        try:
            reply = self.app(sent, self.contexts[node])
        except Exception as error:  # what a SuperNode does with it
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            reason = f"{type(error).__name__}: {error}"
            reply = Message(Error(code=code, reason=reason), reply_to=message)
        reply.metadata.__dict__["_message_id"] = f"reply-{next(self._ids)}"
        return reply


def _copied(content: RecordDict) -> RecordDict:
    """A copy to the depth of records: arrays are immutable bytes and may be shared."""
    return RecordDict({key: record.copy() for key, record in content.items()})


def quiet() -> None:
    """Have Flower log warnings only: the harness has lines of its own for what is usual."""
    logging.getLogger("flwr").setLevel(logging.WARNING)


def task_of(federation: Federation, execution: Execution) -> Task:
    """What the clients of ``federation`` are told, wherever they are on this machine."""
    return Task(
        federation.scenario,
        federation.seed,
        execution.precision,
        execution.torch_device.type,
        str(federation.data_dir),
        uuid.uuid4().hex,
    )


def engine(federation: Federation, execution: Execution) -> GridEngine:
    """The engine 'flower-grid'."""
    quiet()
    grid = LocalGrid(app, federation.scenario.num_clients)
    return GridEngine(federation, task_of(federation, execution), grid)
