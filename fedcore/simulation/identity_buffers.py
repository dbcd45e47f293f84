"""Identity check of what is no parameter: buffers follow the rule that the strategy names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from fedcore.errors import FedcoreError, unknown_name
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.simulation.identity_look import eps_of, unit_of
from fedcore.simulation.identity_sample import Sample, columns, host
from fedcore.strategies.definitions import Floats
from fedcore.streams import Generator

_FLOATS = {
    "mean": "weight float buffers (BatchNorm's running statistics) by samples",
    "median": "take the median of float buffers (BatchNorm's running statistics)",
}
_COUNTS = {"mean": "take the maximum", "median": "take the lower median"}


class BufferCheck:
    """Holds float buffers and counters to ``rule``, a name of a strategy's ``buffer_rule``.

    ``mean``: float buffers are the sample-weighted mean of all clients', counters the maximum.
    ``median``: both are the median, worked out here by sorting. That is so whatever the strategy
    does to parameters, and whatever stands in front of it. Buffers are looked at on a sample of
    their coordinates, drawn anew by ``generator``. FedcoreError for another ``rule``.
    """

    def __init__(self, generator: Generator, rule: str = "mean") -> None:
        if rule not in _DUE:
            raise FedcoreError(unknown_name("buffer_rule", rule, _DUE))
        self._sample, self._rule = Sample(generator), rule
        self._due: tuple[torch.Tensor, Floats, Floats] | None = None
        self._mean: Floats | None = None
        self._counters: torch.Tensor | None = None
        self._clients = 0

    def before(self, state: ServerState, cohort: Cohort, num_parameters: int) -> None:
        """Work out what `after` must find, from ``state`` and all that ``cohort`` sent."""
        self._due = self._counters = None
        self._clients = len(cohort.clients)
        if cohort.counters.numel():
            self._counters = _counts(self._rule, cohort.counters)
        count = cohort.updates.shape[1] - num_parameters
        if count == 0:
            return
        places = (self._sample.draw(count) + num_parameters).to(state.vector.device)
        rows, start = columns(cohort.updates, places), host(state.vector[places])
        samples = np.asarray(cohort.samples, dtype=np.float64)
        weights = samples / samples.sum()
        with np.errstate(all="ignore"):
            self._mean = start + weights @ rows
            moved, size = _DUE[self._rule](rows, weights)
            error = unit_of(cohort) * size
            error = error + eps_of(state) * (2 * np.abs(start) + np.abs(moved))
        self._due = places, start + moved, error + torch.finfo(state.vector.dtype).tiny

    def after(self, state: ServerState) -> str | None:
        """What is wrong with ``state``, in words that follow a strategy's name; None: nothing."""
        if self._due is not None:
            places, due, error = self._due
            made = host(state.vector[places])
            gap = np.abs(made - due)
            if (~(gap <= error) & np.isfinite(error)).any():
                text = (
                    f"does not {_FLOATS[self._rule]}: off by {np.nanmax(gap):.3g} on a cohort of "
                    f"{self._clients}"
                )
                assert self._mean is not None
                close = np.abs(made - self._mean) <= 1e-5 * np.abs(self._mean) + error
                if self._rule != "mean" and close.all():
                    text += "; it averages them, so that one client can take them over"
                return text
        if self._counters is not None and not torch.equal(state.counters, self._counters):
            first = int((state.counters != self._counters).nonzero()[0])
            return (
                f"does not {_COUNTS[self._rule]} of integer buffers: {int(state.counters[first])} "
                f"instead of {int(self._counters[first])}"
            )
        return None


def _averaged(rows: Floats, weights: Floats) -> tuple[Floats, Floats]:
    return weights @ rows, weights @ np.abs(rows)


def _middle(rows: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The median of each column, and the sizes of the numbers that it is made of."""
    rows = np.sort(np.where(np.isnan(rows), np.inf, rows), axis=0)
    low, high = rows[(len(rows) - 1) // 2], rows[len(rows) // 2]
    return low / 2 + high / 2, np.abs(low) + np.abs(high)


_DUE: dict[str, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    "mean": _averaged,
    "median": _middle,
}


def _counts(rule: str, counters: torch.Tensor) -> torch.Tensor:
    if rule == "mean":
        return counters.amax(dim=0)
    ranked = np.sort(counters.cpu().numpy(), axis=0)
    return torch.from_numpy(ranked[(len(ranked) - 1) // 2]).to(counters.device)
