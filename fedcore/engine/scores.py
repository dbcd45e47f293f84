"""Scores of a client's samples under the global model, for attacks that draw labels from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from fedcore.attacks.attack import Scores
from fedcore.data.dataset import Split
from fedcore.engine.evaluation import test_batches
from fedcore.engine.shared import Zeros

if TYPE_CHECKING:
    from fedcore.federation.federation import Federation


@torch.no_grad()
def logits(model: nn.Module, federation: Federation, client: int, dtype: torch.dtype) -> Scores:
    """The logits of the training samples of ``client``, [n, C], in the order of its part.

    ``model`` is in evaluation mode: without dropout, with running statistics.
    """
    part, images = federation.threat.clean_samples_of(client), federation.pool
    own = images.index_select(0, torch.from_numpy(part).to(images.device))
    split = Split(own, torch.empty(len(own), device=images.device))
    transform = federation.transform
    batches = test_batches(split, transform)
    made = [model(transform(own[batch]).to(dtype)).double().cpu() for batch in batches]
    result: Scores = torch.cat(made).numpy()
    return result


class ScoredLabels:
    """The labels that clients of a cohort have drawn from scores, shared by the processes of a run.

    ``zeros`` allocates what they share; without such an attack nothing is touched.
    """

    def __init__(self, federation: Federation, zeros: Zeros) -> None:
        self._federation = federation
        shape = federation.scenario.cohort_size, max(map(len, federation.parts))
        self._rows = zeros(shape, dtype=torch.int64, device="cpu")

    def draw(self, client: int, round: int, row: int, scores: Scores) -> None:
        """Have ``client``, in ``row`` of the cohort, draw its labels in ``round``."""
        labels = self._federation.threat.see(client, round, scores)
        self._rows[row, : len(labels)] = torch.from_numpy(labels)

    def note(self, round: int, clients: tuple[int, ...]) -> None:
        """Have the audit count what ``clients`` drew in ``round`` in other processes."""
        threat, parts = self._federation.threat, self._federation.parts
        for row, client in enumerate(clients):
            if threat.wants_scores(client, round):
                own = self._rows[row, : len(parts[client])]
                threat.learn(client, round, own.numpy().copy())
        threat.note(round, clients)
