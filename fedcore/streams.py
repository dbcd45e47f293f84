"""Random streams: every random choice has its own, derived from (seed, purpose, round, client).

Nothing in fedcore draws from a global generator. Two arms of one seed therefore share every
choice but those of the factor that differs, and a run depends neither on what ran before it nor
on the worker that runs it.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Generator = np.random.Generator
Indices = npt.NDArray[np.int64]


class Purpose(enum.IntEnum):
    """What a stream is for. The numbers are part of every stored result: append, never renumber."""

    PARTITION = 1
    INITIAL_WEIGHTS = 2
    COHORT = 3
    BATCH_ORDER = 4
    MALICIOUS_SET = 5
    POISONED_SAMPLES = 6
    NEW_LABELS = 7
    ATTACK_NOISE = 8
    PRIVACY_NOISE = 9
    LOCAL_EPOCHS = 10
    DROPOUT = 11
    VALIDATION_SPLIT = 12
    SYNTHETIC_DATA = 13
    BOOTSTRAP = 14
    IDENTITY_SAMPLE = 15
    PREAGGREGATION = 16
    UPDATE_ATTACK = 17
    SERVER_CHANCE = 19
    ROOT_SET = 20
    ABSENCES = 21
    FEATURE_SKEW = 22
    AR_COEFFICIENTS = 23
    BALANCED_SET = 24


def _entropy(seed: int, purpose: Purpose, round: int, client: int) -> np.random.SeedSequence:
    if seed < 0:
        raise ValueError(f"a seed must be >= 0, got {seed}")
    # SeedSequence takes no negative words: -1, "of no round or client", becomes 0.
    return np.random.SeedSequence((seed, int(purpose), round + 1, client + 1))


def stream(seed: int, purpose: Purpose, *, round: int = -1, client: int = -1) -> Generator:
    """A numpy generator (PCG64) of its own for this choice; -1 means "not of a round / client"."""
    return np.random.default_rng(_entropy(seed, purpose, round, client))


def torch_seed(seed: int, purpose: Purpose, *, round: int = -1, client: int = -1) -> int:
    """A 63-bit seed for a torch generator of this choice."""
    words = _entropy(seed, purpose, round, client).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def torch_stream(
    seed: int, purpose: Purpose, *, round: int = -1, client: int = -1, device: Any = "cpu"
) -> torch.Generator:
    """A torch generator of its own for this choice, on ``device``."""
    generator = torch.Generator(device=device)
    generator.manual_seed(torch_seed(seed, purpose, round=round, client=client))
    return generator
