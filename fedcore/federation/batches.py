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


def begun_epochs(samples: int, steps: int, batch_size: int) -> int:
    """Epochs that ``steps`` steps begin, at least 1; the last one may be cut short."""
    batches = len(batch_bounds(samples, batch_size))
    return max(1, -(-steps // batches)) if batches else 1


def images_in(samples: int, steps: int, batch_size: int) -> int:
    """Images that ``steps`` steps of a client with ``samples`` train on, epoch after epoch."""
    bounds = batch_bounds(samples, batch_size)
    if not bounds:
        return 0
    whole, rest = divmod(int(steps), len(bounds))
    return whole * samples + (bounds[rest - 1][1] if rest else 0)
