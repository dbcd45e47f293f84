"""What an attack on data leaves behind: counts for the audit, and copies of images."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from fedcore.attacks.attack import Images
from fedcore.streams import Indices


@dataclass(frozen=True)
class ClientPoison:
    """What an attack did to one malicious client's data: the audit has one of each.

    ``poisoned``, ``changed`` and ``images_changed`` are sums over ``draws``; ``samples`` and
    ``eligible`` are the client's and the same in every draw. ``images`` is the order-free digest
    of the poisoned images, empty where the attack leaves images alone.
    """

    client: int
    samples: int  # training samples
    eligible: int  # of these, the ones that the attack may poison
    poisoned: int  # selected: round_half_up(poison_ratio * eligible) in each draw
    changed: int  # selected, and the new label differs from the old one
    draws: int  # 1, or under redraw the participations so far
    images_changed: int = field(default=0, metadata={"later": True})  # selected, other pixels
    images: str = field(default="", metadata={"later": True})


@dataclass(frozen=True)
class Copies:
    """Poisoned copies of training images, which lie behind the clean ones in the pool.

    ``images`` [q, height, width, channels] uint8, before any transform; ``origins`` [q] are the
    training samples that they stand for, -1: none. Copy i has number n + i, n the training samples.
    """

    images: torch.Tensor
    origins: Indices


@dataclass(frozen=True)
class Poisoned:
    """One draw of one client: labels by its part, places of the selected ones, their images."""

    labels: Indices
    places: Indices
    images: Images | None
    poison: ClientPoison
