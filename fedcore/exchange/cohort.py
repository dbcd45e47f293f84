"""What engines hand to strategies, and what a server keeps: the values that cross between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from fedcore.streams import Generator, Purpose, stream


@dataclass(frozen=True)
class Noted:
    """What a step says of itself, so that nobody has to compute it again.

    ``coefficients`` [K] are those of the updates in the step, or not 0 for those that were chosen;
    ``passes`` the shares of each iteration [K], where the step starts from the last one;
    ``settled`` says that iterations came to rest. ``by_samples``: the coefficients are multiples of
    the shares of the samples, and not of 1 / K. ``trust`` [K] is how a rule weighs clients that
    brings their updates to one length by coefficients, too; empty where these say it.
    """

    coefficients: tuple[float, ...] = ()
    passes: tuple[tuple[float, ...], ...] = ()
    settled: bool = True
    by_samples: bool = False
    trust: tuple[float, ...] = ()


class Memory(dict[str, torch.Tensor]):
    """What the server keeps over the rounds of one run: tensors by name.

    Strategies are values that serve every run; what belongs to one run stands here. ``noted`` is
    what the last step said of itself, ``tallies`` are numbers that a strategy counts for its
    remarks. Copies are of their own in all three. ``seed`` of the run, ``population``, the number
    of all its clients, and ``round`` are set before each step, for what a strategy draws or keeps.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor] | None = None) -> None:
        super().__init__(tensors or {})
        self.noted: Noted | None = None
        self.tallies: dict[str, float] = {}
        self.population: int | None = None
        self.seed, self.round = 0, 0

    def chance(self, part: int = -1) -> Generator:
        """A new generator for what the server draws in this round: each call gives the same one.

        It belongs to the run, the round and the ``part`` alone (from 0, where a draw has several),
        so that every engine and device draws alike, and a definition can draw again.
        """
        return stream(self.seed, Purpose.SERVER_CHANCE, round=self.round, client=part)

    @classmethod
    def of(cls, tensors: dict[str, torch.Tensor]) -> Memory:
        """``tensors`` itself if it is a Memory, else one of the same tensors.

        A step that is tried on a plain dict has nobody who reads its notes.
        """
        return tensors if isinstance(tensors, Memory) else cls(tensors)

    def copy(self) -> Memory:
        """A memory of copied tensors, for a step on trial."""
        copied = Memory({name: tensor.clone() for name, tensor in self.items()})
        copied.noted, copied.tallies = self.noted, dict(self.tallies)
        copied.population = self.population
        copied.seed, copied.round = self.seed, self.round
        return copied


@dataclass
class ServerState:
    """The global model: ``vector`` [D], ``counters`` [I] int64, and what the server remembers."""

    vector: torch.Tensor
    counters: torch.Tensor
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.memory = Memory.of(self.memory)


@dataclass(frozen=True)
class Cohort:
    """What the clients of one round sent, in ascending order of client.

    ``updates`` [K, D] are client models minus the global one, ``counters`` [K, I] the integer
    buffers. ``samples`` are training samples, ``steps`` local optimizer steps, ``normalizers``
    the sums of the coefficients of FedNova's a_i (None where the local solver has none). ``noted``
    [K, WIDTH] int64 is what a `fedcore.engine.witness.Witness` saw of each client's work; no
    strategy looks at it. ``mixing`` [R, K] is what a pre-aggregation says of its R rows: row r is
    sum_i mixing[r, i] times row i of the K that it was given; None where it says nothing.
    ``root`` [D] is the update that the server trained itself, where its strategy has it do so.
    """

    clients: tuple[int, ...]
    updates: torch.Tensor
    counters: torch.Tensor
    samples: tuple[int, ...]
    steps: tuple[int, ...]
    normalizers: tuple[float | None, ...]
    noted: npt.NDArray[np.int64] | None = field(
        default=None, kw_only=True, repr=False, compare=False
    )
    mixing: npt.NDArray[np.float64] | None = field(
        default=None, kw_only=True, repr=False, compare=False
    )
    root: torch.Tensor | None = field(default=None, kw_only=True, repr=False, compare=False)

    @property
    def weights(self) -> torch.Tensor:
        """p_i = n_i / sum n_j over the cohort, [K] float64 on the CPU."""
        samples = torch.tensor(self.samples, dtype=torch.float64)
        return samples / samples.sum()

    def restricted(self, num_parameters: int) -> Cohort:
        """This cohort without the float buffers behind the parameters of ``updates``; a view."""
        root = None if self.root is None else self.root[:num_parameters]
        return dataclasses.replace(self, updates=self.updates[:, :num_parameters], root=root)
