"""What leaves a client: the coordinates that are clipped, noised and sent."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedcore.errors import PrivacyError
from fedcore.exchange.layout import Kind, Layout


def head_slice(layout: Layout) -> slice:
    """The coordinates of the head: weight and bias of the last linear layer.

    Raises PrivacyError for a model without one.
    """
    parameters = [e for e in layout.entries if e.kind is Kind.PARAMETER]
    weights = [i for i, e in enumerate(parameters) if len(e.shape) == 2]
    if not weights:
        raise PrivacyError(
            "released='head' needs a model with a linear layer, this one has none: choose another "
            "model, or released='whole'"
        )
    weight = parameters[weights[-1]]
    stop = weight.offset + weight.size
    owner = weight.name.rpartition(".")[0]
    for entry in parameters:
        if entry.offset == stop and entry.name.rpartition(".")[0] == owner:
            stop += entry.size  # its bias
    return slice(weight.offset, stop)


def trained_slice(released: str | None, layout: Layout) -> slice:
    """The parameters that a client may move: of the head, or all of them."""
    return head_slice(layout) if released == "head" else slice(0, layout.num_parameters)


@dataclass(frozen=True)
class Release:
    """The coordinates of an update [D] that are sent; all others reach the server as zero."""

    slices: tuple[slice, ...]
    dimension: int
    buffers: bool
    variances: tuple[slice, ...]
    description: str

    @classmethod
    def of(cls, layout: Layout, released: str, buffers: str) -> Release:
        """``released``: whole or head; ``buffers``: local, frozen or released. PrivacyError."""
        part = trained_slice(released, layout)
        slices, total = [part], layout.num_parameters
        floats = layout.size - layout.num_parameters
        sent = buffers == "released" and floats > 0
        if sent:
            slices.append(slice(layout.num_parameters, layout.size))
        count = part.stop - part.start
        text = f"the update of {count:,} of {total:,} parameters"
        if released == "head":
            text += " (the head; the others neither move nor are sent)"
        if floats:
            kept = {
                "local": "each client keeps its own, the server's stay as they began",
                "frozen": "as they began, in training too",
                "released": "clipped and noised with the parameters",
            }
            text += f"; {floats:,} numbers of buffers {buffers}: {kept[buffers]}"
        if layout.num_counters and sent:
            text += "; step counters in clear"
        variances = tuple(
            slice(e.offset, e.offset + e.size)
            for e in layout.entries
            if e.kind is Kind.BUFFER and e.name.rpartition(".")[2] == "running_var"
        )
        return cls(tuple(slices), count + floats * sent, sent, variances if sent else (), text)

    def take(self, updates: torch.Tensor) -> torch.Tensor:
        """What is sent of ``updates`` [K, D]: [K, dimension]."""
        return torch.cat([updates[:, part] for part in self.slices], dim=1)

    def put(self, rows: torch.Tensor, updates: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """``rows`` [K, dimension] at their places, zeros elsewhere, in the type of ``updates``.

        Running variances are kept from falling below zero around ``state`` [D]: what is done with
        a private release costs no privacy.
        """
        result = torch.zeros_like(updates)
        begin = 0
        for part in self.slices:
            size = part.stop - part.start
            result[:, part] = rows[:, begin : begin + size].to(updates)
            begin += size
        for part in self.variances:
            result[:, part] = torch.maximum(result[:, part], -state[part])
        return result
