"""Holm's correction with weights: one error for hypotheses that do not count alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def holm(p: Values, weights: Values) -> Values:
    """Give p after Holm's correction over the last axis, with ``weights`` [hypotheses] > 0.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979, section 4: the
    hypotheses are taken in the order of p / w, and each p is multiplied by the weight of those
    not yet rejected over its own. Equal weights give the usual m, m - 1, ... 1.
    """
    shares = np.broadcast_to(weights, p.shape)
    order = np.argsort(p / shares, axis=-1, kind="stable")
    sorted_w = np.take_along_axis(shares, order, axis=-1)
    left = np.cumsum(sorted_w[..., ::-1], axis=-1)[..., ::-1]
    stepped = np.take_along_axis(p, order, axis=-1) * left / sorted_w
    stepped = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    return adjusted
