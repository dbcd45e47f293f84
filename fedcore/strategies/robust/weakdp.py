"""Weak DP: clipped updates, and Gaussian noise that is too small for a promise of privacy."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory
from fedcore.strategies.definitions import Definition, Expected, View
from fedcore.strategies.robust.normclipping import NormClipping
from fedcore.strategies.robust_definitions import NORM_CLIPPING
from fedcore.strategies.strategy import STRATEGIES

#: Coordinates whose noise comes from one generator, so that some of it can be drawn again alone.
BLOCK: Final = 1 << 13


@STRATEGIES.register("weakdp", "clipped updates and small noise (Sun et al. 2019)")
class WeakDP(NormClipping):
    """x+ = x + sum_i p_i u_i min(1, M / ||u_i||) + s z, z ~ N(0, 1) of every coordinate.

    M = ``norm_bound``, s = ``noise_std``; s = 0 is norm clipping. The noise is added once, to the
    aggregate (public suites differ in that), and is s sqrt(P) long: 0.3 for the default and 100,000
    parameters. BackFed's default s, 0.025, is 8 there. It promises no privacy, and no budget counts
    it: see the privacy mechanisms for that. The noise is of the run's seed and the round, in
    float32: the same in every engine, on every device and in every precision. Buffers get none. An
    update that is not finite counts as zero.
    Source: Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019,
    weak differential privacy.
    """

    definition = Definition(
        "the sample-weighted mean of clipped updates and the round's noise",
        lambda view: _noisy(view),
    )
    adds_noise = True
    noise_std: float = param(
        "standard deviation of the noise in every coordinate", default=0.001, low=0, token="noise"
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        step = super().step(updates, cohort, memory)
        if self.noise_std == 0:
            return step
        noise = gaussian_noise(Memory.of(memory), len(step)).to(step)
        return step.add_(noise, alpha=self.noise_std)


def gaussian_noise(memory: Memory, size: int) -> torch.Tensor:
    """``size`` standard normal numbers of the run and the round, float32 on the CPU."""
    noise = np.empty(size, dtype=np.float32)
    for block, start in enumerate(range(0, size, BLOCK)):
        part = noise[start : start + BLOCK]
        memory.chance(block).standard_normal(dtype=np.float32, out=part)
    return torch.from_numpy(noise)


def _noisy(view: View) -> Expected:
    clipped = NORM_CLIPPING.function(view)
    noise = np.zeros(len(clipped.step))
    if view.strategy.noise_std:
        for block in np.unique(view.places // 8192):
            inside = view.places // 8192 == block
            end = min(8192 * (block + 1), view.size)
            drawn = view.chance(int(block)).standard_normal(end - 8192 * block, np.float32)
            noise[inside] = drawn[view.places[inside] - 8192 * block]
        noise *= view.strategy.noise_std
    error = clipped.error + view.unit * (np.abs(clipped.step) + np.abs(noise))
    return replace(clipped, step=clipped.step + noise, error=error)
