"""Mixed precision on the CPU: passes in bfloat16, everything that lasts in float32.

Micikevicius et al., "Mixed Precision Training", ICLR 2018, with bfloat16 in the place of float16:
its range needs no scaling of the loss (Kalamkar et al. 2019). The solver steps float32 master
weights, and each step computes with a copy of them. Updates, aggregation and scores are float32.
"""

from __future__ import annotations

import copy

import torch

from fedcore.engine.sequential import SequentialEngine, Zeros
from fedcore.errors import FedcoreError
from fedcore.federation.federation import Federation
from fedcore.models.architecture import MODELS
from fedcore.models.dropout import StreamDropout
from fedcore.scenario import Scenario


class Bfloat16Engine(SequentialEngine):
    """The sequential engine with forward and backward passes in bfloat16.

    Bitwise repeatable on one machine, and another result than float32's. Raises FedcoreError
    where it would not pay: see `refuse_bfloat16`.
    """

    def __init__(
        self, federation: Federation, device: torch.device, *, zeros: Zeros = torch.zeros
    ) -> None:
        refuse_bfloat16(federation.scenario, device)
        super().__init__(federation, device, zeros=zeros)
        # a model of its own, so that scoring keeps the one in float32
        self._half_model = copy.deepcopy(self.model).to(torch.bfloat16).train()
        self._half, counters = self.layout.flatten(self._half_model.state_dict())
        spare = torch.empty(self.layout.num_parameters, dtype=torch.bfloat16)
        self.layout.bind(self._half_model, self._half, counters, spare)
        # released='head' lets nothing else move: what takes no gradient has none to ask for
        parameters = {n: p for n, p in self._half_model.named_parameters() if p.requires_grad}
        self._parameters = list(parameters.values())
        entries = {entry.name: entry for entry in self.layout.entries}
        self._slots = [entries[name].view(self._gradient) for name in parameters]
        self._dropouts = [m for m in self._half_model.modules() if isinstance(m, StreamDropout)]

    def _differentiate(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self._half.copy_(self._vector)
        loss = self.witness.loss(lambda x: self._half_model(x).float(), images, labels)
        # gradients straight into float32: adding them up in bfloat16 first took a quarter longer
        gradients = torch.autograd.grad(loss, self._parameters, materialize_grads=True)
        torch._foreach_copy_(self._slots, gradients)

    def _input_type(self, dtype: torch.dtype) -> torch.dtype:
        return torch.bfloat16

    def _images(self, samples: torch.Tensor) -> torch.Tensor:
        return super()._images(samples).to(torch.bfloat16)  # once, not at each step


def refuse_bfloat16(scenario: Scenario, device: torch.device) -> None:
    """FedcoreError unless bfloat16 is known to be faster for this model on this machine."""
    if device.type != "cpu" or not native_bfloat16():
        raise FedcoreError(
            "precision 'bfloat16' of the sequential engine needs a CPU that computes in it "
            "(AVX-512 BF16 or AMX), elsewhere it is slower than float32: leave precision at float32"
        )
    if scenario.privacy == "dpsgd":
        raise FedcoreError(
            "precision 'bfloat16' does not reach the steps of privacy='dpsgd', which Opacus takes: "
            "leave precision at float32"
        )
    if not MODELS[scenario.model].bfloat16 or scenario.norm not in (None, "none"):
        known = ", ".join(name for name in MODELS if MODELS[name].bfloat16)
        raise FedcoreError(
            f"precision 'bfloat16' is for {known} with norm='none', got {scenario.model} with "
            f"norm={scenario.norm!r}, which it does not make faster (MobileNetV2) or nobody has "
            "measured: leave precision at float32"
        )


def native_bfloat16() -> bool:
    """Whether this CPU has instructions that multiply bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
