"""What a step that is not its own may be instead: the usual bugs, by name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fedcore.strategies.definitions import (
    FEDNOVA,
    Definition,
    Expected,
    Floats,
    View,
    fednova,
    linear,
    median_of,
)

FEDAVGS = "FedAvg's, the sample-weighted mean"


def suspect(
    view: View, expected: Expected, rounding: Floats, definition: Definition | None
) -> str | None:
    """What the step of ``view`` equals, in words that follow "equals"; None if it is no known one.

    ``expected`` is what it should be, ``rounding`` [s] is that of the weights that it was added to.
    ``definition`` is None where the step itself is as expected.
    """
    for name, other in _known(view, definition):
        if (np.abs(view.made - other.step) <= other.error + rounding).all():
            return name
    if definition is None:
        return None
    scale = float(view.made @ expected.step) / float(expected.step @ expected.step)
    error = max(1.0, abs(scale)) * expected.error + 2 * rounding
    if (np.abs(view.made - scale * expected.step) <= error + 1e-6 * abs(view.made).max()).all():
        return f"{scale:.4g} times that"
    return None


def _known(view: View, definition: Definition | None) -> Iterator[tuple[str, Expected]]:
    size = len(view.rows)
    yield FEDAVGS, view.plain
    yield "the unweighted mean", linear(view, np.full(size, 1 / size))
    yield "the median of every coordinate", median_of(view, (size - 1) // 2)
    yield "no step at all", linear(view, np.zeros(size))
    yield "the sum of the updates, not their mean", linear(view, np.ones(size))
    if view.sent is not None and definition is not None:
        unmixed = definition.function(view.sent)
        if unmixed.problem is None:
            yield "that on the updates as they were sent, without pre-aggregation", unmixed
    if definition is FEDNOVA:
        steps = np.asarray(view.steps, dtype=np.float64)
        yield "FedNova's by the square roots of the steps", fednova(view, np.sqrt(steps))
        yield "FedNova's by the numbers of steps", fednova(view, steps)
        if None not in view.normalizers:
            told = np.asarray(view.normalizers, dtype=np.float64)
            yield "FedNova's by the normalizers that the solver says", fednova(view, told)
