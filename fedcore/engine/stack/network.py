"""A network for many clients, made from one for a single client by rewriting its traced graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from fedcore.engine.stack.context import Context
from fedcore.engine.stack.functions import FUNCTIONS, METHODS
from fedcore.engine.stack.layers import StackedLayer
from fedcore.engine.stack.rules import refusal, stacked_layer
from fedcore.errors import ModelError
from fedcore.exchange.layout import Kind, Layout
from fedcore.models.draws import refuse_draws
from fedcore.models.dropout import StreamDropout

if TYPE_CHECKING:
    from fedcore.engine.execution import Forward


class _Tracer(fx.Tracer):
    """Keeps the layers of torch.nn and ours whole, and looks into all other modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, StreamDropout) or super().is_leaf_module(m, module_qualified_name)


class StackedNetwork:
    """Maps images [K, batch, C, h, w] to logits [K, batch, classes], each client by its weights.

    Computes training passes of ``model`` and leaves it as it is. `bind` says whose weights; the
    caller sets ``context`` before each pass. Raises ModelError, naming the layer or the call, for
    a model that holds something for which there is no rule. ``cast`` may wrap the forward, to
    compute in another precision.
    """

    def __init__(
        self, model: nn.Module, layout: Layout, cast: Callable[[Forward], Forward] = lambda f: f
    ) -> None:
        self.layout = layout
        self.context = Context()
        self._layers: dict[str, StackedLayer] = {}
        self._parameters: list[torch.Tensor] = []
        self._places: list[torch.Tensor] = []
        self._gradients = torch.empty(0)
        self._forward = cast(fx.GraphModule(self._layers, self._rewritten(model)))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return self._forward(images)

    def bind(self, vectors: torch.Tensor, counters: torch.Tensor, gradients: torch.Tensor) -> None:
        """Compute with these clients: ``vectors`` [K, D], ``counters`` [K, I].

        `backward` writes ``gradients`` [K, P]; running statistics are written in place.
        """
        self._parameters, self._places, self._gradients = [], [], gradients
        for e in self.layout.entries:
            path, _, name = e.name.rpartition(".")
            if path not in self._layers:
                continue
            # .data: writing statistics must not pass for a change of the weights beside them
            tensor = e.view(counters if e.kind is Kind.COUNTER else vectors).data
            if e.kind is Kind.PARAMETER:
                self._parameters.append(tensor.requires_grad_())
                self._places.append(e.view(gradients))
            self._layers[path].tensors[name] = tensor

    def backward(self, loss: torch.Tensor) -> None:
        """Write the gradient of ``loss``, a sum over clients, to where `bind` has said."""
        self._gradients.zero_()  # of what the forward does not use: solvers leave scratch there
        # into .grad autograd would accumulate as well, but it complains of rows that lie apart
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for place, gradient in zip(self._places, found, strict=True):
            if gradient is not None:
                place.copy_(gradient)

    def _rewritten(self, model: nn.Module) -> fx.Graph:
        try:
            # what is drawn now would be the same for all clients and all steps
            with refuse_draws("its forward draws random numbers"):
                graph = _Tracer().trace(model)
        except Exception as error:  # whatever a forward does with values that are not there yet
            raise ModelError(
                f"the forward of {type(model).__name__} cannot be traced "
                f"({type(error).__name__}: {error}): use engine='sequential'"
            ) from error
        for node in graph.nodes:
            if node.op == "call_module":
                self._add(model, node.target)
            elif node.op in ("call_function", "call_method"):
                node.target = _function(node)
                node.op = "call_function"
            elif node.op == "get_attr":
                raise _refused(node, "its forward uses a tensor that belongs to no layer")
        return graph

    def _add(self, model: nn.Module, path: str) -> None:
        if path not in self._layers:
            layer = model.get_submodule(path)
            self._layers[path] = stacked_layer(layer, path, self.context)
            if not layer.training:
                raise refusal(path, layer, "it is in evaluation mode")


def _function(node: fx.Node) -> Any:
    rules: dict[Any, Any] = FUNCTIONS if node.op == "call_function" else METHODS
    if node.target not in rules:
        raise _refused(node, "there is no rule for this call in its forward")
    return rules[node.target]


def _refused(node: fx.Node, reason: str) -> ModelError:
    where = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = where[-1] if where else ("", None)
    name = getattr(node.target, "__name__", node.target)
    module = f"module {path!r} ({getattr(kind, '__name__', kind)})" if where else "the network"
    return ModelError(
        f"{module} cannot be trained for many clients at once: {reason} ({name}); use "
        "engine='sequential'"
    )
