"""What clients note of their training, on its way to the server: a ConfigRecord of the reply.

It says nothing that a server which simulates its clients could not work out. Under differential
privacy it stays with the client, as digests of labels are no part of any statement; only a server
in the same process then has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict

from fedcore.exchange.cohort import Cohort
from fedcore.exchange.evidence import WIDTH, Row
from fedcore.flower.replies import sender
from fedcore.flower.task import Workshop

KEY = "fedcore.noted"
"""Name of the record in a reply, and of the list of integers in it."""
WANTED = "note-training"
"""Name in a training message's config: whether the reply is to carry the record."""
MISSING = "a reply says nothing of what its client trained on"
WITHHELD = "clients under differential privacy send nothing of what they trained on"


def leave(
    workshop: Workshop,
    round: int,
    client: int,
    cohort: Cohort,
    config: Mapping[str, Any],
    content: RecordDict,
) -> None:
    """Keep what was noted of ``client`` in this process, and add it to ``content`` if asked to."""
    if cohort.noted is None:
        return
    workshop.noted[round, client] = cohort.noted[0]
    if config.get(WANTED):
        content[KEY] = ConfigRecord({KEY: cohort.noted[0].tolist()})


def taken(workshop: Workshop, round: int, replies: Iterable[Message]) -> dict[int, Row]:
    """What was noted of each client in ``round``, here or in ``replies``, from which it is removed.

    Strategies of others then see the replies that they know.
    """
    found = {client: row for (made, client), row in workshop.noted.items() if made == round}
    workshop.noted.clear()
    for reply in replies:
        client = sender(reply)
        if client is None or KEY not in reply.content:
            continue
        row = reply.content.pop(KEY).get(KEY)
        if isinstance(row, list) and len(row) == WIDTH and all(type(v) is int for v in row):
            found[client] = np.array(row, np.int64)
    return found


def added(cohort: Cohort, noted: Mapping[int, Row]) -> Cohort:
    """``cohort`` with what was ``noted`` of its clients, where that is known of all."""
    if not cohort.clients or not all(client in noted for client in cohort.clients):
        return cohort
    rows = np.stack([noted[client] for client in cohort.clients])
    return dataclasses.replace(cohort, noted=rows)
