"""Normalisation of K clients at once: each with its own statistics, as if it were alone."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from fedcore.engine.stack.context import Context, merge, split
from fedcore.engine.stack.layers import StackedLayer


class BatchNorm(StackedLayer):
    """Batch normalisation (Ioffe and Szegedy 2015) over K * C channels.

    Padding enters no statistic. Running statistics and num_batches_tracked are each client's own.
    """

    def __init__(self, source: Any, context: Context) -> None:
        super().__init__(source, context)
        self.eps, self.momentum = float(source.eps), source.momentum

    @classmethod
    def problem(cls, source: Any) -> str | None:
        if source.momentum is None:
            return "momentum=None weighs a batch by how many a client has seen; set a number"
        return None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.tensors
        if "num_batches_tracked" in own:
            own["num_batches_tracked"].add_(1)
        share, counts = self.context.share, self.context.counts
        if share is not None and counts is not None:
            return self._masked(x, share, counts)
        running = [own[name] for name in ("running_mean", "running_var") if name in own]
        # copies: clients' rows lie apart in memory, and the kernel wants one row of K * C
        flat = [values.clone(memory_format=torch.contiguous_format).view(-1) for values in running]
        mean, variance = flat or (None, None)
        maps = F.batch_norm(
            merge(x),
            mean,
            variance,
            _flat(own.get("weight")),
            _flat(own.get("bias")),
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        for values, updated in zip(running, flat, strict=True):
            values.copy_(updated.view_as(values))
        return split(maps, len(x))

    def _masked(self, x: torch.Tensor, share: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        own = self.tensors
        pixels = x[0, 0, 0].numel()
        weights = (share / pixels).view(*share.shape, *[1] * (x.dim() - 2))
        normal: torch.Tensor
        normal, mean, variance = MaskedNorm.apply(x, weights, self.eps)  # type: ignore[no-untyped-call]
        if "running_mean" in own:
            values = counts * pixels
            unbiased = (values / (values - 1)).unsqueeze(1)
            own["running_mean"].lerp_(mean, self.momentum)
            own["running_var"].lerp_(variance * unbiased, self.momentum)
        if "weight" in own:
            result = per_channel(own["bias"], x) + normal * per_channel(own["weight"], x)
        else:
            result = normal.clone()  # the next layer may write into it, the gradient needs it
        return result.to(x.dtype)


class MaskedNorm(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) per client and channel, with weighted statistics.

    ``x`` is [K, batch, C, *space]; ``weights`` [K, batch, 1, ...] sum to 1 over a client's values
    of a channel and are 0 for padding, which is normalised with the others' statistics and has no
    say in them. Returns (result, mean [K, C], biased variance [K, C]); only the first has a
    gradient. Written by hand as autograd would keep five tensors of the size of ``x``, this one.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weights: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        dims = (1, *range(3, x.dim()))
        mean = (x * weights).sum(dims, keepdim=True)
        centred = x - mean
        variance = (centred * centred * weights).sum(dims, keepdim=True)
        scale = (variance + eps).rsqrt()
        normal = centred.mul_(scale)
        ctx.save_for_backward(normal, weights, scale)
        flat = x.shape[0], x.shape[2]
        mean, variance = mean.reshape(flat), variance.reshape(flat)
        ctx.mark_non_differentiable(mean, variance)
        return normal, mean, variance

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        normal, weights, scale = ctx.saved_tensors
        dims = (1, *range(3, normal.dim()))
        total = gradient.sum(dims, keepdim=True)
        along = (gradient * normal).sum(dims, keepdim=True)
        return scale * (gradient - weights * (total + normal * along)), None, None


class GroupNorm(StackedLayer):
    """Group normalisation (Wu and He 2018): each sample by itself, K times the groups."""

    def __init__(self, source: Any, context: Context) -> None:
        super().__init__(source, context)
        self.groups, self.eps = source.num_groups, source.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.tensors
        weight, bias = _flat(own.get("weight")), _flat(own.get("bias"))
        return split(F.group_norm(merge(x), len(x) * self.groups, weight, bias, self.eps), len(x))


class LayerNorm(StackedLayer):
    """Layer normalisation (Ba et al. 2016) over the last dimensions of each sample."""

    def __init__(self, source: Any, context: Context) -> None:
        super().__init__(source, context)
        self.shape, self.eps = source.normalized_shape, source.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normal = F.layer_norm(x, self.shape, eps=self.eps)
        middle = (1,) * (x.dim() - 1 - len(self.shape))
        for name, apply in (("weight", torch.mul), ("bias", torch.add)):
            if name in self.tensors:
                normal = apply(normal, self.tensors[name].view(len(x), *middle, *self.shape))
        return normal


def per_channel(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``values`` [K, C] in the shape that broadcasts over ``x`` [K, batch, C, *space]."""
    return values.view(len(values), 1, -1, *[1] * (x.dim() - 3))


def _flat(values: torch.Tensor | None) -> torch.Tensor | None:
    return None if values is None else values.flatten()
