"""Accuracy of the final model for each client: on the classes that it has, in their shares.

Client i's accuracy is sum_y q_i(y) recall(y): q_i are the shares of the classes among its training
samples, with the labels of the data set, recall(y) is that of the final model on the test images of
class y. Training images are not scored. Where clients differ in their labels alone this is the
accuracy that is expected on new samples of the client. What a client has of its own beyond its
labels, such as images of another brightness or BatchNorm layers that it keeps, is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fedcore.records.record import Record

#: The share of clients whose mean is the accuracy of the worst; their number is rounded up.
WORST: Final = 0.1


@dataclass(frozen=True)
class Spread:
    """Accuracy over ``clients`` of them, each counted once: ``mean``, and that of the ``worst``."""

    clients: int
    mean: float
    worst: float


def client_accuracy(
    recall: Sequence[float | None],
    labels: npt.NDArray[np.int64],
    parts: Sequence[npt.NDArray[np.int64]],
) -> tuple[float | None, ...]:
    """The accuracy of each client, in [0, 1] to six digits.

    ``recall`` is by class, None for a class without test images, whose samples do not count;
    ``labels`` [n] are those of the data set and ``parts`` each client's places in it. None for a
    client that has no sample of a class with test images.
    """
    known = np.array([value is not None for value in recall])
    values = np.array([value or 0.0 for value in recall])
    result: list[float | None] = []
    for part in parts:
        counts = np.bincount(labels[part], minlength=len(values)) * known
        held = int(counts.sum())
        # six digits, as the recalls of two machines differ in the last bits of their sums
        result.append(float(f"{float(counts @ values) / held:.6g}") if held else None)
    return tuple(result)


def spread(values: Sequence[float | None], left_out: Sequence[int] = ()) -> Spread | None:
    """Mean and worst of ``values`` by client, without those ``left_out`` or without a value.

    The worst are the ceil(0.1 n) lowest. None where no client is left.
    """
    out = set(left_out)
    known = sorted(v for c, v in enumerate(values) if v is not None and c not in out)
    if not known:
        return None
    count = math.ceil(WORST * len(known) - 1e-9)
    return Spread(len(known), math.fsum(known) / len(known), math.fsum(known[:count]) / count)


def honest_spread(record: Record, malicious: Sequence[int] | None = None) -> Spread | None:
    """`spread` over the clients of ``record`` that are not ``malicious`` (None: in it).

    A clean twin is compared over the clients that are honest in the attacked arm.
    """
    out = record.audit.malicious if malicious is None else malicious
    return spread(record.audit.client_accuracy, out)
