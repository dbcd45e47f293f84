"""One training step of many clients; and, on CUDA, its launches recorded once and replayed.

A step of a stacked network is a few hundred launches whatever the number of clients. A CUDA graph
replays them as one. It repeats the addresses and the numbers that it was recorded with, so that
whatever changes from step to step is copied to where the recorded step reads it: images, labels,
the weights of samples, and the masks of dropout, which are drawn before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F

from fedcore.engine.stack.context import Mask
from fedcore.engine.stack.network import StackedNetwork
from fedcore.errors import FedcoreError

Action = Callable[[], None]
#: Takes a step, which it need not carry out, and returns what repeats it.
Recorder = Callable[[Action], Action]

#: Recorded steps that are kept; those not used for longest are forgotten first.
MOST_GRAPHS: Final = 64


@dataclass(frozen=True)
class Batch:
    """What a step reads besides weights: of each client a batch, padded to the longest.

    ``images`` [batch, K, C, h, w]: then all clients' channels of a pixel can lie side by side;
    ``labels`` [K, batch]; the others as in `Context`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    sizes: tuple[int, ...]
    share: torch.Tensor | None
    counts: torch.Tensor | None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Those that are there, in one order."""
        found = (self.images, self.labels, self.share, self.counts)
        return tuple(tensor for tensor in found if tensor is not None)

    def clone(self) -> Batch:
        """A copy at addresses of its own."""
        copies = [None if t is None else t.clone() for t in (self.share, self.counts)]
        return Batch(self.images.clone(), self.labels.clone(), self.sizes, *copies)


@dataclass(frozen=True)
class _Recorded:
    batch: Batch
    masks: list[torch.Tensor]
    replay: Action


class Steps:
    """Writes the gradient of each client's mean loss over its batch to where ``network`` is bound.

    With ``record`` a kind of step is carried out as it is the first time, which readies whatever
    libraries start late, and recorded the second time; kinds differ in the clients at work, in
    the longest batch and in whether batches are padded. Raises FedcoreError if one cannot be.
    """

    def __init__(self, network: StackedNetwork, record: Recorder | None = None) -> None:
        self._network, self._record = network, record
        self._recorded: OrderedDict[Any, _Recorded] = OrderedDict()
        self._seen: dict[Any, list[Mask]] = {}
        #: Called with each batch before its step; never while a step is recorded.
        self.watch: Callable[[Batch], None] = unwatched

    def __call__(self, batch: Batch) -> None:
        kind = batch.images.shape, batch.share is None
        if self._record is None:
            self._differentiate(batch)
        elif kind not in self._seen:
            self._differentiate(batch)
            self._seen[kind] = list(self._network.context.drawn)
        else:
            if kind not in self._recorded:
                self._recorded[kind] = self._made(self._record, batch, self._seen[kind])
                if len(self._recorded) > MOST_GRAPHS:
                    self._recorded.popitem(last=False)
            self._recorded.move_to_end(kind)
            self.watch(batch)
            self._repeat(self._recorded[kind], self._seen[kind], batch)

    def forget(self) -> None:
        """Drop what is recorded: the weights that it reads lie there no more."""
        self._recorded.clear()

    def _made(self, record: Recorder, batch: Batch, masks: list[Mask]) -> _Recorded:
        own, room = batch.clone(), [mask.room(batch.images.device) for mask in masks]
        self._network.context.given = iter(room)
        try:
            replay = record(lambda: self._backward(own))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise FedcoreError(
                f"a training step of this network cannot be recorded ({error}): use "
                "engine='stacked'"
            ) from error
        finally:
            self._network.context.given = None
        return _Recorded(own, room, replay)

    def _repeat(self, recorded: _Recorded, masks: list[Mask], batch: Batch) -> None:
        for place, tensor in zip(recorded.batch.tensors, batch.tensors, strict=True):
            place.copy_(tensor)
        context = self._network.context
        context.sizes = batch.sizes
        for mask, room in zip(masks, recorded.masks, strict=True):
            context.draw(mask, room)
        recorded.replay()

    def _differentiate(self, batch: Batch) -> None:
        self.watch(batch)
        self._backward(batch)

    def _backward(self, batch: Batch) -> None:
        context = self._network.context
        context.sizes, context.share, context.counts = batch.sizes, batch.share, batch.counts
        context.drawn.clear()
        logits = self._network(batch.images.transpose(0, 1))
        losses = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none")
        if batch.share is None:
            self._network.backward(losses.sum() / len(batch.images))
        else:
            self._network.backward((losses * batch.share.flatten()).sum())


def unwatched(batch: Batch) -> None:
    """Nobody notes ``batch``."""


def cuda_graphs(device: torch.device) -> Recorder:
    """Records a step on ``device`` as a CUDA graph.

    All graphs take their scratch from one pool: they run one after the other, and none leaves a
    result there.
    """
    pool = torch.cuda.graph_pool_handle()

    def record(step: Action) -> Action:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=pool):
            step()
        replay: Action = graph.replay
        return replay

    return record
