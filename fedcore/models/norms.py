"""Normalisation layers by name: none, batch (Ioffe & Szegedy 2015) or group (Wu & He 2018)."""

from __future__ import annotations

from typing import Any

from torch import nn

from fedcore.components.parameters import param
from fedcore.errors import ModelError, unknown_name

_MOST_GROUPS = 32
_LEAST_CHANNELS = 4


def norm_parameter(default: str) -> Any:
    """The parameter ``norm`` of an architecture: none, batch or group."""
    return param(
        "normalisation layers", default=default, choices=("none", "batch", "group"), token="norm"
    )


def group_count(channels: int) -> int:
    """The largest divisor of ``channels`` <= 32 that leaves a group at least 4 channels, or 1.

    Wu & He (2018) use 32 groups, which must divide the channels. The lower bound keeps narrow
    layers from ending at one channel per group: that is instance normalisation, which turns a
    1x1 map, as small images give, into zeros.
    """
    most = min(_MOST_GROUPS, channels // _LEAST_CHANNELS)
    return next((groups for groups in range(most, 1, -1) if channels % groups == 0), 1)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation of ``channels`` in `group_count` groups: no batch statistics."""
    return nn.GroupNorm(group_count(channels), channels)


def norm_layers(norm: str, channels: int, *, spatial: bool) -> list[nn.Module]:
    """The layers that ``norm`` puts after one of ``channels`` outputs: a list of none or one.

    ``spatial`` says whether they see maps [batch, channels, h, w] or vectors [batch, channels].
    Raises `ModelError` for an unknown name.
    """
    if norm == "none":
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels) if spatial else nn.BatchNorm1d(channels)]
    if norm == "group":
        return [group_norm(channels)]
    raise ModelError(unknown_name("norm", norm, ("none", "batch", "group")))
