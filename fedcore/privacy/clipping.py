"""Clipping of updates to a ball: the step that gives a release its sensitivity."""

from __future__ import annotations

import torch


def clip_rows(rows: torch.Tensor, norm: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``rows`` [K, n] scaled into the Euclidean ball of radius ``norm`` > 0.

    Returns the clipped rows in float64, which rows were longer than ``norm``, [K] bool, and which
    were not finite, [K] bool. Rows inside the ball, zero among them, stay as they are. A row that
    is not finite becomes zero: it has no direction to keep, and whoever sees the noisy release
    must not see more of it than of any other row. All in float64, where squares of finite float32
    numbers cannot overflow.
    """
    wide = rows.to(torch.float64)
    broken = ~torch.isfinite(wide).all(dim=1)
    wide = torch.where(broken[:, None], 0.0, wide)
    # the scale comes first: the norm of large float64 rows would overflow
    scale = wide.abs().amax(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    lengths = (wide / scale[:, None]).norm(dim=1) * scale
    long = lengths > norm
    factors = torch.where(long, norm / lengths, 1.0)
    factors = torch.where(torch.isfinite(lengths), factors, 0.0)
    return wide * factors[:, None], long, broken


def sensitivity(neighbours: str, norm: float) -> float:
    """How far apart two neighbouring releases of a clipped update can lie.

    ``replace``: any data instead of the client's, both ends of a diameter, 2 * norm.
    ``zero-out``: no update instead of the client's, 1 * norm.
    """
    return 2 * norm if neighbours == "replace" else norm
