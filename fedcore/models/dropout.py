"""Dropout (Srivastava et al. 2014) whose masks come from a stream of their own.

torch's layer draws from the global generator, so that its masks would depend on whatever drew
before it, such as another client in the same process.
"""

from __future__ import annotations

import torch
from torch import nn

from fedcore.errors import ModelError


class StreamDropout(nn.Module):
    """`nn.Dropout` with a generator that the caller gives to `seed`.

    ``p`` in [0, 1] is the probability that an element becomes 0; the others are scaled by
    1 / (1 - p). In evaluation, or with p = 0, it is the identity and draws nothing.
    Raises ValueError for another p.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability must be in [0, 1], got {p}")
        self.p = p
        self.generator: torch.Generator | None = None

    def seed(self, generator: torch.Generator) -> None:
        """Draw the masks from ``generator``, which must be on the device of the inputs."""
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` of any shape, masked; RuntimeError in training before the first `seed`."""
        if not self.training or self.p == 0:
            return x
        if self.generator is None:
            raise RuntimeError("StreamDropout has no generator to draw from: call seed() first")
        if self.p == 1:
            return x * 0  # the scale 1 / (1 - p) has no value
        # a contiguous mask whatever the strides of x: its bits do not depend on the memory format
        mask = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        mask.bernoulli_(1 - self.p, generator=self.generator).div_(1 - self.p)
        return x * mask

    def extra_repr(self) -> str:
        """What the printed network says of this layer."""
        return f"p={self.p}"


def adopt_streams(network: nn.Module) -> list[StreamDropout]:
    """Replace every `nn.Dropout` inside ``network`` in place; all its `StreamDropout` layers.

    The list is in the order of `nn.Module.modules`. Raises `ModelError` for a layer of another
    kind of dropout, which would draw from the global generator.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                replacement = StreamDropout(child.p)
                replacement.train(child.training)
                setattr(parent, name, replacement)
            elif isinstance(child, nn.modules.dropout._DropoutNd):
                raise ModelError(
                    f"layer {name!r} is a {type(child).__name__}, which draws from torch's global "
                    "generator: use nn.Dropout, which is replaced"
                )
    return [module for module in network.modules() if isinstance(module, StreamDropout)]
