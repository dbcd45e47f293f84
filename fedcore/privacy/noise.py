"""Sources of normal noise: a seeded one for simulation, the operating system's for deployment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from fedcore.streams import Purpose, torch_stream


class NoiseSource(Protocol):
    """Standard normal numbers for one client in one round."""

    description: str

    def normal(self, size: int, *, round: int, client: int) -> torch.Tensor:
        """``size`` independent N(0, 1) numbers, [size] float64 on the CPU."""


class SeededNoise:
    """Noise from a stream of its own per (seed, round, client): a run repeats bit for bit.

    Whoever knows the seed can subtract the noise, so that this protects nobody: it is for
    simulation, and the statement of a run says so. Drawn on the CPU: the same on every device.
    """

    description = "seeded stream (simulation: reproducible, hence not secret)"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def normal(self, size: int, *, round: int, client: int) -> torch.Tensor:
        """See `NoiseSource`; equal arguments give equal numbers."""
        generator = torch_stream(self.seed, Purpose.PRIVACY_NOISE, round=round, client=client)
        return torch.randn(size, generator=generator, dtype=torch.float64)


class SecureNoise:
    """Noise from the operating system's generator of secrets: never the same twice.

    Each number is the sum of four normal draws, halved: a single draw in floating point lets an
    observer tell which inputs were possible (Mironov 2012); sums of several make that
    impractical (Holohan & Braghin 2021), they do not exclude it.
    """

    description = "operating system's generator, sums of four draws"

    def normal(self, size: int, *, round: int = -1, client: int = -1) -> torch.Tensor:
        """See `NoiseSource`; round and client do not matter."""
        return torch.from_numpy(_normal(4 * size).reshape(4, size).sum(axis=0) / 2)


@dataclass
class Generators:
    """What the clients of a network say they drew from: ``secret`` and ``seeded`` count replies."""

    secret: int = 0
    seeded: int = 0

    def hear(self, secret: bool) -> None:
        """Count a reply."""
        self.secret += secret
        self.seeded += not secret

    @property
    def description(self) -> str:
        """The generators in words; of a mixture how many replies came from each."""
        if not self.secret:
            return SeededNoise.description if self.seeded else "no client has replied"
        if not self.seeded:
            return SecureNoise.description
        return (
            f"{SecureNoise.description}, in {self.secret} replies; {SeededNoise.description}, in "
            f"{self.seeded}"
        )


def secret_uniform(size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """``size`` numbers in [0, 1), multiples of 2^-53, from the operating system's generator."""
    words = np.frombuffer(os.urandom(8 * size), dtype=np.uint64) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


def _normal(size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Box and Muller (1958) on 53-bit uniform numbers in (0, 1]."""
    pairs = (size + 1) // 2
    uniform = secret_uniform(2 * pairs) + 2.0**-53
    radius = np.sqrt(-2 * np.log(uniform[:pairs]))
    angle = 2 * np.pi * uniform[pairs:]
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))[:size]
