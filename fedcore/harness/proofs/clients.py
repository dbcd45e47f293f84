"""Accuracy by client, worked out a second time from the data set and the recalls of a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from fedcore.harness.proofs.draws import Indices
from fedcore.records.record import Record

_DIGITS = 1e-5  # relative; a record holds six digits


def client_problems(record: Record, parts: Sequence[Indices], labels: Indices) -> Iterator[str]:
    """The first client whose accuracy in ``record`` is not that of its training samples.

    ``parts`` are those by client, ``labels`` [n] the data set's. Records of before have none.
    """
    stated = record.audit.client_accuracy
    if not stated:
        return
    recall = record.recall[-1]
    for client, part in enumerate(parts):
        right = whole = 0.0
        for label, count in Counter(labels[part].tolist()).items():
            share = recall[label]
            if share is not None:
                right += count * share
                whole += count
        due = right / whole if whole else None
        shown = stated[client]
        if (due is None) != (shown is None) or (
            due is not None and shown is not None and abs(due - shown) > _DIGITS * max(due, 1e-9)
        ):
            yield (
                f"gives client {client} an accuracy of {shown}, recalls and training samples give "
                f"{due}"
            )
            return
