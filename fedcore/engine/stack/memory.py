"""How many clients fit: an estimate, corrected by halving when memory runs out after all."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from fedcore.exchange.layout import Layout
from fedcore.federation.federation import Federation

#: Bytes that training may take on the CPU where nothing else is said.
CPU_BUDGET: Final = 2 << 30
# Share of a GPU's free memory that training may take: evaluation and fragments need the rest.
_CUDA_SHARE = 0.7
# An activation is there as such, as its gradient, and as a layer's copy in another order.
_ACTIVATION_COPIES = 3
# Weights, updates, gradients, anchor or its scratch, and up to two moments of a solver.
_VECTORS = 6
# Many kernels count elements in 32 bits.
_LARGEST_TENSOR = 2**31 - 1


def most_clients(
    model: nn.Module, layout: Layout, federation: Federation, budget: int | None = None
) -> int:
    """Clients to train at once within ``budget`` bytes, at least 1.

    None is 70 % of a GPU's free memory, or `CPU_BUDGET`. ``model`` is on the device that is meant.
    """
    first = next(model.parameters())
    if budget is None:
        budget = default_budget(first.device)
    total, largest = _activations(model, federation)
    batch = federation.scenario.batch_size + 1
    values = _VECTORS * layout.size + _ACTIVATION_COPIES * batch * total
    fitting = budget // (values * first.element_size())
    return int(max(1, min(fitting, _LARGEST_TENSOR // (batch * largest))))


def default_budget(device: torch.device) -> int:
    """Bytes that training may take on ``device``."""
    if device.type != "cuda":
        return CPU_BUDGET
    free, _ = torch.cuda.mem_get_info(device)
    return int(_CUDA_SHARE * free)


@torch.no_grad()
def _activations(model: nn.Module, federation: Federation) -> tuple[int, int]:
    """(sum, largest) of the sizes of the layers' outputs for one sample."""
    sizes: list[int] = []

    def note(_: nn.Module, __: Any, output: torch.Tensor) -> None:
        sizes.append(output.numel())

    leaves = [module for module in model.modules() if not list(module.children())]
    handles = [leaf.register_forward_hook(note) for leaf in leaves]
    first = next(model.parameters())
    image = federation.transform(federation.train_images[:1]).to(first.dtype)
    model.eval()
    try:
        model(image)
    finally:
        model.train()
        for handle in handles:
            handle.remove()
    return sum(sizes) + image.numel(), max(*sizes, image.numel())
