from __future__ import annotations

import pytest
import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.norms import group_count, group_norm, norm_layers


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(1, 1), (3, 1), (7, 1), (8, 2), (16, 4), (24, 6), (32, 8), (128, 32), (144, 24), (1280, 32)],
)
def test_group_count_of_known_widths(channels: int, groups: int) -> None:
    assert group_count(channels) == groups


def test_groups_divide_the_channels_within_the_bounds() -> None:
    for channels in range(1, 200):
        groups = group_count(channels)
        assert channels % groups == 0
        assert groups == 1 or (groups <= 32 and channels // groups >= 4)


def test_group_norm_keeps_the_information_of_a_one_pixel_map() -> None:
    maps = torch.arange(32.0).reshape(2, 16, 1, 1)
    assert group_norm(16)(maps).abs().min() > 0.1


def test_layers_fit_maps_and_vectors() -> None:
    for norm in ("batch", "group"):
        (maps,) = norm_layers(norm, 8, spatial=True)
        (vectors,) = norm_layers(norm, 8, spatial=False)
        assert maps(torch.randn(2, 8, 3, 3)).shape == (2, 8, 3, 3)
        assert vectors(torch.randn(2, 8)).shape == (2, 8)
    assert norm_layers("none", 8, spatial=True) == []
    assert isinstance(norm_layers("batch", 8, spatial=False)[0], nn.BatchNorm1d)


def test_unknown_norm_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"Did you mean 'batch'.*batch, group, none"):
        norm_layers("batchnorm", 8, spatial=True)
