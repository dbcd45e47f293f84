"""What must hold in a record of its single clients: shares in each round, accuracies at the end."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedcore.records.detection import absence

if TYPE_CHECKING:
    from fedcore.records.record import Record

_DIGEST = re.compile("[0-9a-f]{16}")


def share_problems(record: Record) -> Iterator[str]:
    """Shares of clients that were not there, or that no step can have given."""
    audit = record.audit
    if not audit.shares:
        return
    if (reason := absence(record.scenario)) is not None:
        yield f"shares must be left out, as {reason}"
    if len(audit.shares) != len(audit.cohorts) or not any(audit.shares):
        yield f"shares must have {len(audit.cohorts)} rounds, of which one is known at least"
        return
    gone = [(each.round, each.client) for each in audit.excluded]
    for round, (cohort, shares) in enumerate(zip(audit.cohorts, audit.shares, strict=True), 1):
        if shares is None:
            continue
        given = sum((round, client) not in gone for client in cohort)
        if record.diverged is not None and round >= record.diverged:
            yield f"round {round} has shares after the run diverged"
        elif len(shares) != given:
            yield f"round {round} must have {given} shares, one a client, got {len(shares)}"
        elif not all(math.isfinite(share) and share >= 0 for share in shares):
            yield f"shares must be finite and >= 0, got {min(shares)} in round {round}"


def client_accuracy_problems(record: Record) -> Iterator[str]:
    """Accuracies by client that are no mean of the recalls of the final model."""
    values = record.audit.client_accuracy
    if not values:
        return
    if len(values) != record.scenario.num_clients:
        yield f"client_accuracy must have {record.scenario.num_clients} values, got {len(values)}"
        return
    recall = [value for value in record.recall[-1] if value is not None]
    low, high = min(recall, default=0.0) - 1e-5, max(recall, default=1.0) + 1e-5
    for client, value in enumerate(values):
        if value is not None and not (low <= value <= high and record.audit.samples[client]):
            yield f"client_accuracy of client {client} must be a mean of the recalls, got {value}"
            return


def skew_problems(record: Record) -> Iterator[str]:
    """Entries of changed images of clients that the partition cannot have made."""
    scenario, audit = record.scenario, record.audit
    clients = range(scenario.num_clients) if scenario.parts.partition.changes_images else ()
    if [each.client for each in audit.skew] != list(clients):
        yield "skew must have one entry a client where the partition changes images, else none"
        return
    for each in audit.skew:
        fits = each.samples == audit.samples[each.client] and 0 <= each.changed <= each.samples
        if not fits or not _DIGEST.fullmatch(each.images):
            yield f"the changed images of client {each.client} do not agree: {each}"
            return
