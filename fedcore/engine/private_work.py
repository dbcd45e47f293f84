"""What a mechanism changes in local training: which parameters move, and how steps are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from fedcore.privacy.dpsgd import DpSgdSteps
from fedcore.privacy.release import trained_slice

if TYPE_CHECKING:
    from fedcore.exchange.layout import Layout
    from fedcore.scenario import Scenario


def restrict(model: nn.Module, layout: Layout, scenario: Scenario) -> slice:
    """The parameters that clients train, as a slice of the vector; all others get no gradient.

    Raises PrivacyError for ``released='head'`` on a model without a head.
    """
    trained = trained_slice(scenario.released, layout)
    parameters = dict(model.named_parameters())
    for entry in layout.entries:
        if entry.name in parameters:
            moves = trained.start <= entry.offset < trained.stop
            parameters[entry.name].requires_grad_(moves)
    return trained


def hold_norms(model: nn.Module, scenario: Scenario) -> None:
    """Of a model in training mode: under ``buffers='frozen'`` use running statistics, keep them."""
    if scenario.privacy is None or scenario.buffers != "frozen":
        return
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def private_steps(scenario: Scenario, model: nn.Module, layout: Layout) -> DpSgdSteps | None:
    """The steps of DP-SGD where the scenario asks for them. PrivacyError without Opacus."""
    return DpSgdSteps(scenario, model, layout) if scenario.parts.per_example else None
