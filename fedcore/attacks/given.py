"""What attacks are given: samples and what to draw from, local work, the updates of a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedcore.exchange.cohort import Memory
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    import torch

    from fedcore.exchange.cohort import ServerState
    from fedcore.strategies.aggregation import Aggregation
    from fedcore.strategies.strategy import Strategy

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Samples:
    """Samples of one client: ``labels`` [k] int64 and ``images`` [k, height, width, channels].

    Images are uint8, as the data set has them, before any resizing. They are None where nobody
    reads or changes them.
    """

    labels: Indices
    images: Images | None = None


@dataclass(frozen=True)
class Draw:
    """The circumstances of one poisoning: number of classes, client, and what to draw from.

    ``place`` is that of the client among the malicious ones, from 0, in the order in which they are
    drawn: a larger malicious fraction leaves it. ``seed`` is the run's, for the streams of what all
    malicious clients share. ``scores`` [k, C] are the logits of the samples, in their order, under
    the global model that the round begins with; None unless the attack ``needs_scores``.
    """

    num_classes: int
    client: int
    generator: Generator
    place: int = 0
    seed: int = 0
    scores: Scores | None = None


@dataclass(frozen=True)
class Work:
    """The local work of a client in a round: numbers only, so that every engine can stack it.

    ``steps``: how many steps there are, however many ``epochs`` these begin; None: whole epochs.
    ``radius``: after every ``every``-th step, and after the last, the parameters are projected onto
    the ball of this radius around the global ones; None: never. ``masked``: the share of the
    parameters, those that the last global update moved most, which the client leaves as they are.
    """

    epochs: int
    radius: float | None = None
    every: int = 1
    masked: float = 0.0
    steps: int | None = None

    @property
    def in_steps(self) -> bool:
        """Whether more than the number of steps is other than usual."""
        return self.radius is not None or self.masked > 0


@dataclass(frozen=True)
class Seen:
    """What the malicious clients of a round see before they send; all tensors are copies.

    ``own`` [m, P] are their honest updates, ``benign`` [K - m, P] those of the others, None unless
    the attack ``knows`` them. ``state`` is the global model that all trained from, with what
    the server remembers; ``server`` is what it will do with the updates, pre-aggregation and
    strategy. ``round`` counts from 1, ``clients`` is K, the size of the cohort. ``memory`` is the
    attackers' own and lasts for the run. ``others`` are the numbers of the benign clients, and
    ``tried`` gives the step [P] that the server would make of rows [m, P] in place of ``own``.
    """

    own: torch.Tensor
    benign: torch.Tensor | None
    state: ServerState
    server: Aggregation
    round: int
    clients: int
    generator: torch.Generator
    memory: Memory = field(default_factory=Memory)
    others: tuple[int, ...] = ()
    tried: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def strategy(self) -> Strategy:
        """The server's strategy."""
        return self.server.strategy

    @property
    def visible(self) -> torch.Tensor:
        """The updates from which an attacker estimates: the benign ones where it knows any."""
        return self.own if self.benign is None or not len(self.benign) else self.benign
