"""Second-best label flip: y' is the class that the global model takes a sample for, other than y.

A label flip that follows the model, as the dynamic one of Shejwalkar, Houmansadr, Kairouz and
Ramage, "Back to the Drawing Board", 2022, does; theirs takes the least likely class. The entry of
index 1 in the order of the scores, which some suites take, is y itself wherever the model errs so.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedcore.attacks.attack import ATTACKS, DataAttack, Draw, Samples, Scores
from fedcore.streams import Indices


@ATTACKS.register("secondbest", "the class, other than y, that the global model scores best")
class SecondBest(DataAttack):
    """Every sample is eligible, and every poisoned one changes.

    A client draws at every participation: which samples are poisoned, and their labels by the
    scores of the global model that the round begins with. Of equal scores the lowest class counts,
    and a score that is not a number counts as the least.
    """

    needs_scores: ClassVar[bool] = True
    redraw = True

    def poison(self, samples: Samples, draw: Draw) -> Samples:
        """The class of the largest score over all but y; [k] int64."""
        assert draw.scores is not None
        scores = np.where(np.isnan(draw.scores), -np.inf, draw.scores)
        # the C - 1 columns of the other classes, so that y is none of them whatever the scores
        others = np.arange(draw.num_classes - 1)[None, :]
        columns = others + (others >= samples.labels[:, None])
        best = np.take_along_axis(scores, columns, axis=1).argmax(axis=1)
        return Samples(columns[np.arange(len(best)), best].astype(np.int64))

    def labels_due(self, labels: Indices, scores: Scores) -> Indices:
        """The first class in the descending order of scores that is not y; [k] int64."""
        order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), axis=1, kind="stable")
        return np.array(
            [next(c for c in row if c != y) for row, y in zip(order, labels, strict=True)],
            dtype=np.int64,
        )

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        """Fewer than two classes."""
        if num_classes < 2:
            return [f"secondbest needs at least 2 classes, got {num_classes}: use another data set"]
        return []
