"""The model as one flat vector: parameters first, then float buffers; integer buffers beside it.

`Layout` says which slice is which tensor of the state dict, so that engines, strategies and
Flower's ArrayRecord speak of the same coordinates.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import torch
from torch import nn

from fedcore.errors import ModelError


class Kind(Enum):
    """What a slice of the vector is, which decides how it is aggregated."""

    PARAMETER = "parameter"
    BUFFER = "buffer"
    COUNTER = "counter"


@dataclass(frozen=True)
class Slice:
    """One tensor of the state dict. ``offset`` counts in the float vector, or in the counters."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    offset: int
    batch_norm: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def view(self, flat: torch.Tensor) -> torch.Tensor:
        """This tensor within ``flat`` [..., D]: a view [..., *shape].

        Kernels of convolutions lie in channels_last order, which is what the CPU's and the GPU's
        convolutions compute in: no copy at every step.
        """
        part = flat[..., self.offset : self.offset + self.size]
        if len(self.shape) != 4:
            return part.view((*flat.shape[:-1], *self.shape))
        outputs, inputs, height, width = self.shape
        return part.view((*flat.shape[:-1], outputs, height, width, inputs)).movedim(-1, -3)


@dataclass(frozen=True)
class Layout:
    """Names, shapes, kinds and places of a model's tensors."""

    entries: tuple[Slice, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Layout:
        """The layout of ``model``; ModelError if it mixes float types."""
        state = model.state_dict()
        parameters = {name for name, _ in model.named_parameters()}
        norms = {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in model.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            for name in module.state_dict()
        }
        if len({tensor.dtype for tensor in state.values() if tensor.is_floating_point()}) > 1:
            raise ModelError("the float tensors of a model must share one type; convert the model")
        names = [name for name in state if name in parameters]
        names += [name for name in state if name not in parameters]
        entries: list[Slice] = []
        ends = {True: 0, False: 0}
        for name in names:
            tensor = state[name]
            is_float = tensor.is_floating_point()
            kind = (
                Kind.PARAMETER if name in parameters else Kind.BUFFER if is_float else Kind.COUNTER
            )
            entries.append(Slice(name, tuple(tensor.shape), kind, ends[is_float], name in norms))
            ends[is_float] += tensor.numel()
        return cls(tuple(entries))

    @cached_property
    def num_parameters(self) -> int:
        """P: trainable coordinates; they come first."""
        return sum(e.size for e in self.entries if e.kind is Kind.PARAMETER)

    @cached_property
    def size(self) -> int:
        """D: parameters and float buffers."""
        return sum(e.size for e in self.entries if e.kind is not Kind.COUNTER)

    @cached_property
    def num_counters(self) -> int:
        """Integer buffers, beside the vector."""
        return sum(e.size for e in self.entries if e.kind is Kind.COUNTER)

    def batch_norm_indices(self) -> torch.Tensor:
        """Coordinates of the vector that belong to BatchNorm layers, [b] int64."""
        spans = [
            torch.arange(e.offset, e.offset + e.size)
            for e in self.entries
            if e.batch_norm and e.kind is not Kind.COUNTER
        ]
        return torch.cat(spans) if spans else torch.empty(0, dtype=torch.int64)

    def flatten(self, state: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """``(vector [D], counters [I] int64)`` holding copies of the tensors of a state dict.

        Raises ModelError for missing, extra or differently shaped tensors.
        """
        names = {e.name for e in self.entries}
        if names != set(state):
            odd = sorted(names ^ set(state))
            raise ModelError(f"tensors missing from or unknown to the model: {', '.join(odd[:5])}")
        floats = [t for t in state.values() if t.is_floating_point()]
        dtype = floats[0].dtype if floats else torch.float32
        device = next(iter(state.values())).device
        vector = torch.empty(self.size, dtype=dtype, device=device)
        counters = torch.empty(self.num_counters, dtype=torch.int64, device=device)
        for e in self.entries:
            if tuple(state[e.name].shape) != e.shape:
                raise ModelError(
                    f"{e.name} must have shape {e.shape}, got {tuple(state[e.name].shape)}"
                )
            e.view(counters if e.kind is Kind.COUNTER else vector).copy_(state[e.name])
        return vector, counters

    def state_dict(self, vector: torch.Tensor, counters: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of ``vector`` [D] and ``counters`` [I] by the names of the state dict."""
        return {
            e.name: e.view(counters if e.kind is Kind.COUNTER else vector) for e in self.entries
        }

    def bind(
        self, model: nn.Module, vector: torch.Tensor, counters: torch.Tensor, gradient: torch.Tensor
    ) -> None:
        """Make ``model`` live in the given memory: its tensors become views, in place.

        ``vector`` is [D], ``counters`` [I] int64, ``gradient`` [P]; backward passes then add into
        ``gradient``, and writing ``vector`` is loading a model.
        """
        owners = {
            f"{prefix}.{name}" if prefix else name: (module, name)
            for prefix, module in model.named_modules()
            for name in (*module._parameters, *module._buffers)
        }
        for e in self.entries:
            module, name = owners[e.name]
            if e.kind is Kind.PARAMETER:
                parameter = module._parameters[name]
                assert parameter is not None
                parameter.data = e.view(vector)
                parameter.grad = e.view(gradient)
            else:
                module._buffers[name] = e.view(counters if e.kind is Kind.COUNTER else vector)


def digest(vector: torch.Tensor, counters: torch.Tensor) -> str:
    """16 hexadecimal digits of the SHA-256 over the bytes of a model."""
    sha = hashlib.sha256(vector.detach().cpu().numpy().tobytes())
    sha.update(counters.detach().cpu().numpy().tobytes())
    return sha.hexdigest()[:16]
