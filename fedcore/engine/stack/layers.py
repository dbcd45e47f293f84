"""Stacked layers: each computes for all clients at once what its source computes for one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fedcore.engine.stack.context import Context, merge, split


class StackedLayer(nn.Module):
    """A layer of K clients. ``tensors`` are its weights and buffers by name, [K, *shape] each."""

    def __init__(self, source: Any, context: Context) -> None:
        super().__init__()
        self.context = context
        self.tensors: dict[str, torch.Tensor] = {}

    @classmethod
    def problem(cls, source: Any) -> str | None:
        """Why ``source`` cannot be stacked, None if it can."""
        return None


class Elementwise(StackedLayer):
    """A layer without weights that treats each value, or each sample's channels, alike."""

    def __init__(self, source: Any, context: Context) -> None:
        super().__init__(source, context)
        self.source = source

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.source(x)
        return result


class Maps(Elementwise):
    """A pooling layer: it treats each map [height, width] alike."""

    @classmethod
    def problem(cls, source: Any) -> str | None:
        return "it returns indices" if getattr(source, "return_indices", False) else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return split(self.source(merge(x)), x.shape[0])


class Flatten(StackedLayer):
    """nn.Flatten of each sample."""

    def __init__(self, source: Any, context: Context) -> None:
        super().__init__(source, context)
        self.end = source.end_dim

    @classmethod
    def problem(cls, source: Any) -> str | None:
        if source.start_dim == 1:
            return None
        return f"start_dim must be 1, got {source.start_dim}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2, self.end + (self.end >= 0))


class Linear(StackedLayer):
    """y_k = x_k W_k^T + b_k, all clients in one batched product."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.tensors["weight"]
        rows = x.reshape(len(x), -1, x.shape[-1])
        return affine(rows, weight, self.tensors.get("bias")).view(*x.shape[:-1], -1)


class Conv2d(StackedLayer):
    """Convolutions of K clients as one of K times the groups, or 1x1 ones as matrix products."""

    def __init__(self, source: Any, context: Context) -> None:
        super().__init__(source, context)
        self.stride, self.padding = source.stride, source.padding
        self.dilation, self.groups = source.dilation, source.groups
        no_padding = source.padding in ((0, 0), "valid", "same")
        self.pointwise = source.kernel_size == (1, 1) and source.groups == 1 and no_padding

    @classmethod
    def problem(cls, source: Any) -> str | None:
        if source.padding_mode == "zeros":
            return None
        return f"padding_mode must be 'zeros', got {source.padding_mode!r}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.tensors["weight"], self.tensors.get("bias")
        if self.pointwise:
            return self._pointwise(x, weight, bias)
        maps = F.conv2d(
            merge(x),
            weight.permute(0, 1, 3, 4, 2).flatten(0, 1).permute(0, 3, 1, 2),  # channels_last
            None if bias is None else bias.flatten(),
            self.stride,
            self.padding,
            self.dilation,
            len(x) * self.groups,
        )
        return split(maps, len(x))

    def _pointwise(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        if self.stride != (1, 1):
            x = x[..., :: self.stride[0], :: self.stride[1]]
        clients, batch, channels, height, width = x.shape
        # a view, not a copy, of maps whose channels come last: a product takes strided matrices
        pixels = x.permute(0, 1, 3, 4, 2).reshape(clients, -1, channels)
        made = affine(pixels, weight.flatten(2), bias)
        return made.view(clients, batch, height, width, -1).permute(0, 1, 4, 2, 3)


class Dropout(StackedLayer):
    """StreamDropout: every client draws from its own generator what it would draw alone."""

    def __init__(self, source: Any, context: Context) -> None:
        super().__init__(source, context)
        self.p = float(source.p)
        self.place = len(context.generators)
        context.generators.append(())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.p == 0:
            return x
        if self.p == 1:
            return x * 0
        return x * self.context.mask(self.place, 1 - self.p, x)


def affine(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """``rows`` [K, n, in] times ``weight`` [K, out, in] transposed, plus ``bias`` [K, out]."""
    transposed = weight.transpose(1, 2)
    if bias is None:
        return torch.bmm(rows, transposed)
    return torch.baddbmm(bias.unsqueeze(1), rows, transposed)
