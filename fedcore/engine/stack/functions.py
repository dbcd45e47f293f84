"""Calls in a network's forward, such as torch.flatten or a residual sum, for stacked tensors.

A stacked tensor has one dimension more, in front: positions of dimensions move by one. What would
reduce or rearrange the samples of a batch is refused: padded samples would take part.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from fedcore.engine.stack.context import merge, split
from fedcore.errors import ModelError

Function = Callable[..., Any]


def _dim(x: torch.Tensor, dim: int) -> int:
    """The stacked position of dimension ``dim`` of a sample batch."""
    position = dim % (x.dim() - 1)
    if position == 0:
        raise ModelError(
            "the network works along the batch dimension, which clients do not share: use "
            "engine='sequential'"
        )
    return position + 1


def _flatten(x: torch.Tensor, start_dim: int = 0, end_dim: int = -1) -> torch.Tensor:
    return x.flatten(_dim(x, start_dim), _dim(x, end_dim))


def _mean(x: torch.Tensor, dim: int | Sequence[int], keepdim: bool = False) -> torch.Tensor:
    dims = (dim,) if isinstance(dim, int) else dim
    return x.mean([_dim(x, d) for d in dims], keepdim=keepdim)


def _cat(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    return torch.cat(list(tensors), _dim(tensors[0], dim))


def _chunk(x: torch.Tensor, chunks: int, dim: int = 0) -> Any:
    return x.chunk(chunks, _dim(x, dim))


def _transpose(x: torch.Tensor, dim0: int, dim1: int) -> torch.Tensor:
    return x.transpose(_dim(x, dim0), _dim(x, dim1))


def _reshape(x: torch.Tensor, *shape: Any) -> torch.Tensor:
    sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if sizes[0] != x.shape[1] and sizes[0] != -1:
        raise ModelError(
            f"the network reshapes a batch of {x.shape[1]} samples to {tuple(sizes)}, which mixes "
            "samples: use engine='sequential'"
        )
    return x.reshape(len(x), x.shape[1], *sizes[1:])


def _size(x: torch.Tensor, dim: int | None = None) -> Any:
    return x.shape[1:] if dim is None else x.shape[1:][dim]


def _item(values: Any, index: Any) -> Any:
    if isinstance(values, torch.Tensor):
        raise ModelError("the network indexes a tensor: use engine='sequential'")
    return values[index]


def _same_rank(function: Function) -> Function:
    def call(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.dim() != b.dim():
            raise ModelError(
                f"the network combines tensors of {a.dim() - 1} and {b.dim() - 1} dimensions: use "
                "engine='sequential'"
            )
        return function(a, b, *args, **kwargs)

    return call


def _on_maps(function: Function) -> Function:
    def call(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return split(function(merge(x), *args, **kwargs), len(x))

    return call


_BINARY: tuple[Function, ...] = (
    operator.add,
    operator.iadd,
    operator.sub,
    operator.mul,
    operator.imul,
    operator.truediv,
    operator.floordiv,
    torch.add,
    torch.mul,
)
_UNARY: tuple[Function, ...] = (
    torch.relu,
    torch.sigmoid,
    torch.tanh,
    F.relu,
    F.relu6,
    F.leaky_relu,
    F.elu,
    F.gelu,
    F.silu,
    F.hardtanh,
    F.hardswish,
    F.hardsigmoid,
)
_POOLS: tuple[Function, ...] = (
    F.max_pool2d,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
)

#: By the function that a network calls.
FUNCTIONS: dict[Function, Function] = {
    **{function: _same_rank(function) for function in _BINARY},
    **{function: function for function in _UNARY},
    **{function: _on_maps(function) for function in _POOLS},
    operator.getitem: _item,
    torch.cat: _cat,
    torch.chunk: _chunk,
    torch.flatten: _flatten,
    torch.mean: _mean,
    torch.transpose: _transpose,
}

#: By the name of the tensor's method that a network calls.
METHODS: dict[str, Function] = {
    "add": _same_rank(torch.add),
    "chunk": _chunk,
    "contiguous": lambda x: x,
    "flatten": _flatten,
    "mean": _mean,
    "mul": _same_rank(torch.mul),
    "relu": torch.relu,
    "reshape": _reshape,
    "sigmoid": torch.sigmoid,
    "size": _size,
    "transpose": _transpose,
    "view": _reshape,
}
