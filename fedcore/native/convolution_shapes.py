"""Which convolutions the kernels compute, and the room that an image takes."""

from __future__ import annotations

import torch

from fedcore.native.compiler import Target

#: Floats of a vector, or of two or four where the processor's are shorter: a pixel of so many
#: channels fills one, three of at most 5 fit one. Filters come in multiples of it.
VECTOR = 16
MOST_FILTERS = 64


def definitions(target: Target) -> dict[str, int]:
    """The macros of convolution.h."""
    return {"LANES": target.lanes, "VECTOR": VECTOR, "MOST_FILTERS": MOST_FILTERS}


def computes(channels: int, filters: int) -> bool:
    """Whether there is a kernel for images of ``channels`` and for ``filters``."""
    few = 3 * channels <= VECTOR or channels == VECTOR
    return few and filters % VECTOR == 0 and filters <= MOST_FILTERS


def framed(shape: torch.Size) -> torch.Tensor:
    """Zeros for one image of ``shape`` [n, c, h, w] in a frame of one pixel, and a vector more."""
    _, c, h, w = shape
    return torch.zeros((h + 2) * (w + 2) * c + VECTOR)
