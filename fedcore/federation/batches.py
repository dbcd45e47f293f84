"""How a client's samples become batches: one rule for every engine."""

from __future__ import annotations


def batch_bounds(samples: int, batch_size: int) -> list[tuple[int, int]]:
    """(start, stop) of each batch of an epoch, in order.

    The last batch may be partial. A last batch of one sample joins the batch before it, because
    BatchNorm cannot train on a single value per channel; batch_size 1 is taken at its word.
    """
    starts = list(range(0, samples, batch_size))
    if len(starts) > 1 and batch_size > 1 and samples - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], samples], strict=False))


def local_steps(samples: int, epochs: int, batch_size: int) -> int:
    """Optimizer steps of a client that trains ``epochs`` over ``samples``, a step a batch."""
    return int(epochs) * len(batch_bounds(samples, batch_size))
