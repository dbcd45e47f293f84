"""Check of labels drawn from scores: they must be those of the model that the round began with.

The record keeps no models, so that nobody could work these labels out later. They are worked out
here a second time while the run is made, from a model, a pass and a choice of samples of their own,
and the record carries their digest, which the evidence of training is held against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fedcore.attacks.attack import DataAttack, Draw, Samples
from fedcore.exchange.fingerprints import Hashes, content, labelled, total
from fedcore.streams import Indices, Purpose, stream

if TYPE_CHECKING:
    from fedcore.attacks.attack import Scores
    from fedcore.exchange.cohort import ServerState
    from fedcore.exchange.layout import Layout
    from fedcore.federation.federation import Federation

#: How far a score may lie below the best one and still count as it, as a share of the largest.
_ROUNDING: Final = {"float64": 1e-9, "tf32": 1e-2, "bfloat16": 5e-2}
_SINGLE: Final = 1e-4
_BATCH: Final = 256
_NOBODY: Final = -1  # no label: a sample that had to change did not


class ScoreCheck:
    """The labels that malicious clients of a run must train on, round by round.

    The scores are worked out of one malicious client of each round, in turn: an attack that looks
    at another model does so for all. Of the others the labels that they drew count, where exactly
    the samples that are to be poisoned have other labels than their own. ``precision`` is that of
    `fedcore.engine.execution.PRECISIONS`, in which the engine computes.
    """

    def __init__(self, federation: Federation, layout: Layout, precision: str) -> None:
        self._federation, self._layout = federation, layout
        self._rounding = _ROUNDING.get(precision, _SINGLE)
        self._model: torch.nn.Module | None = None
        self._hashes: dict[int, Hashes] = {}

    def __deepcopy__(self, memo: Any) -> ScoreCheck:
        """Itself: nothing that a round changes decides on another one."""
        return self

    def digests(self, state: ServerState, round: int, clients: tuple[int, ...]) -> dict[int, int]:
        """Digest of the labels that each malicious one of ``clients`` must have had in ``round``.

        Of the pairs of image and label of its round, as `fedcore.exchange.evidence` has them;
        ``state`` is the model that the round began with.
        """
        threat = self._federation.threat
        malicious = set(threat.malicious.tolist())
        present = [client for client in clients if client in malicious]
        result = {}
        for place, client in enumerate(present):
            labels = threat.labels_of(client, round)
            if threat.acts(round):
                examined = place == round % len(present)
                labels = self._due(labels, round, client, state if examined else None)
            pairs = labelled(self._content(client), labels)
            epochs = self._federation.epochs_of(client, round)
            result[client] = int(total(pairs)) * epochs % 2**64
        return result

    def _due(self, drawn: Indices, round: int, client: int, state: ServerState | None) -> Indices:
        """The labels that ``client`` must have; ``drawn`` are those that it had."""
        federation = self._federation
        attack = federation.threat.attack
        assert attack is not None
        assert attack.data is not None
        data, part = attack.data, federation.parts[client]
        clean = federation.dataset.train.labels.numpy()[part]
        able = np.flatnonzero(data.eligible(clean))
        order = stream(federation.seed, Purpose.POISONED_SAMPLES, round=round, client=client)
        taken = order.permutation(able)[: int(np.floor(data.poison_ratio * len(able) + 0.5 + 1e-9))]
        due = clean.copy()
        mine, own = drawn[taken], clean[taken]
        if not data.may_keep_labels:
            mine = np.where(mine == own, _NOBODY, mine)
        if state is not None:
            seen = federation.threat.clean_samples_of(client)
            scores = self._scores(state, seen)[taken]
            mine = self._best(data, mine, own, scores, client)
        due[taken] = mine
        return due

    def _best(
        self, data: DataAttack, mine: Indices, own: Indices, scores: Scores, client: int
    ) -> Indices:
        """Labels by ``scores``; ``mine`` where they score the same within rounding."""
        best = data.labels_due(own, scores)
        if best is None:
            federation = self._federation
            draw = Draw(
                federation.dataset.num_classes, client, np.random.default_rng(0), scores=scores
            )
            best = data.poison(Samples(own), draw).labels
        rows = np.arange(len(own))
        with np.errstate(invalid="ignore"):
            short = scores[rows, best] - scores[rows, np.maximum(mine, 0)]
            close = np.abs(short) <= self._rounding * np.abs(scores).max(axis=1, initial=0)
        return np.where(close & (mine != _NOBODY), mine, best)

    @torch.no_grad()
    def _scores(self, state: ServerState, part: Indices) -> Scores:
        """The logits of the images ``part``, places in the pool, under ``state``, [n, C]."""
        federation = self._federation
        if self._model is None:
            self._model = federation.initial_model().to(state.vector.device, state.vector.dtype)
            self._model.eval()
        self._model.load_state_dict(self._layout.state_dict(state.vector, state.counters))
        made = []
        for start in range(0, len(part), _BATCH):
            some = torch.from_numpy(part[start : start + _BATCH])
            images = federation.pool[some.to(federation.pool.device)]
            made.append(self._model(federation.transform(images).to(state.vector.dtype)))
        result: Scores = torch.cat(made).double().cpu().numpy()
        return result

    def _content(self, client: int) -> Hashes:
        if client not in self._hashes:
            own = self._federation.threat.clean_samples_of(client)
            self._hashes[client] = content(self._federation.raw(torch.from_numpy(own)))
        return self._hashes[client]


def check_of(federation: Federation, layout: Layout, precision: str) -> ScoreCheck | None:
    """The check of a run whose attack draws labels from scores; None for any other."""
    attack = federation.threat.attack
    data = None if attack is None else attack.data
    needed = data is not None and data.needs_scores
    return ScoreCheck(federation, layout, precision) if needed else None
