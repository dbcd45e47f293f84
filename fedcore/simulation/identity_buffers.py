"""Identity check of what is no parameter: every strategy averages it in the same way."""

from __future__ import annotations

import numpy as np
import torch

from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.simulation.identity_look import eps_of, unit_of
from fedcore.simulation.identity_sample import Sample, columns, host
from fedcore.strategies.definitions import Floats
from fedcore.streams import Generator


class BufferCheck:
    """Holds float buffers to the sample-weighted mean of all clients, and counters to the maximum.

    That is so whatever the strategy does to parameters, and whatever stands in front of it.
    Buffers are looked at on a sample of their coordinates, drawn anew by ``generator``.
    """

    def __init__(self, generator: Generator) -> None:
        self._sample = Sample(generator)
        self._due: tuple[torch.Tensor, Floats, Floats] | None = None
        self._counters: torch.Tensor | None = None
        self._clients = 0

    def before(self, state: ServerState, cohort: Cohort, num_parameters: int) -> None:
        """Work out what `after` must find, from ``state`` and all that ``cohort`` sent."""
        self._due = self._counters = None
        self._clients = len(cohort.clients)
        if cohort.counters.numel():
            self._counters = cohort.counters.amax(dim=0)
        count = cohort.updates.shape[1] - num_parameters
        if count == 0:
            return
        places = (self._sample.draw(count) + num_parameters).to(state.vector.device)
        rows, start = columns(cohort.updates, places), host(state.vector[places])
        samples = np.asarray(cohort.samples, dtype=np.float64)
        weights = samples / samples.sum()
        with np.errstate(all="ignore"):
            moved = weights @ rows
            error = unit_of(cohort) * (weights @ np.abs(rows))
            error = error + eps_of(state) * (2 * np.abs(start) + np.abs(moved))
        self._due = places, start + moved, error + torch.finfo(state.vector.dtype).tiny

    def after(self, state: ServerState) -> str | None:
        """What is wrong with ``state``, in words that follow a strategy's name; None: nothing."""
        if self._due is not None:
            places, due, error = self._due
            gap = np.abs(host(state.vector[places]) - due)
            if (~(gap <= error) & np.isfinite(error)).any():
                return (
                    "does not weight float buffers (BatchNorm's running statistics) by samples: "
                    f"off by {np.nanmax(gap):.3g} on a cohort of {self._clients}"
                )
        if self._counters is not None and not torch.equal(state.counters, self._counters):
            first = int((state.counters != self._counters).nonzero()[0])
            return (
                f"does not take the maximum of integer buffers: {int(state.counters[first])} "
                f"instead of {int(self._counters[first])}"
            )
        return None
