"""Which layer becomes which stacked layer. Exact types: a subclass may compute something else."""

from __future__ import annotations

from torch import nn

from fedcore.engine.stack import layers, norms
from fedcore.engine.stack.context import Context
from fedcore.engine.stack.layers import StackedLayer
from fedcore.errors import ModelError
from fedcore.models.dropout import StreamDropout

_ELEMENTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
)
_MAPS = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.ZeroPad2d,
)

LAYERS: dict[type[nn.Module], type[StackedLayer]] = {
    **dict.fromkeys(_ELEMENTWISE, layers.Elementwise),
    **dict.fromkeys(_MAPS, layers.Maps),
    nn.Flatten: layers.Flatten,
    nn.Linear: layers.Linear,
    nn.Conv2d: layers.Conv2d,
    nn.BatchNorm1d: norms.BatchNorm,
    nn.BatchNorm2d: norms.BatchNorm,
    nn.GroupNorm: norms.GroupNorm,
    nn.LayerNorm: norms.LayerNorm,
    StreamDropout: layers.Dropout,
}


def stacked_layer(source: nn.Module, path: str, context: Context) -> StackedLayer:
    """The stacked form of the layer ``source``; ModelError naming ``path`` if there is none."""
    rule = LAYERS.get(type(source))
    if rule is None:
        raise refusal(path, source, "there is no rule for this kind of layer")
    problem = rule.problem(source)
    if problem is not None:
        raise refusal(path, source, problem)
    return rule(source, context)


def refusal(path: str, source: nn.Module, reason: str) -> ModelError:
    """The error for a layer that cannot be stacked."""
    return ModelError(
        f"layer {path!r} ({type(source).__name__}) cannot be trained for many clients at once: "
        f"{reason}; use engine='sequential'"
    )
