"""[3x3 convolution - max pooling - ReLU]: of a square's four pixels one is kept, with its place."""

from __future__ import annotations

from ctypes import c_int64

import torch

from fedcore.native.convolution_shapes import VECTOR, definitions, framed
from fedcore.native.functions import CFile, Functions

FILE = CFile(
    "convolution_forward", {"direct": "ppppppppiiiii", "winograd": "ppppppppiiiii"}, definitions
)

# Floats that the pass with 16 channels needs beside 256 a filter: tiles and their products.
_TILES = 2 * 16 * 12 * VECTOR


def convolve(
    functions: Functions, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """relu(max_pool2d(conv2d(images, weight, bias, padding=1), 2)) and the codes of its values.

    Both [n, h // 2, w // 2, filters]. ``images``: float32 [n, c, h, w] of any strides; ``weight``:
    [filters, c, 3, 3]. A code, uint8, is 0 to 3 for the pixel of the square that is passed on, 4
    where ReLU stops it. ``functions``: of this module's C file.
    """
    n, c, h, w = images.shape
    filters = len(weight)
    by_tap = weight.detach().permute(2, 3, 1, 0).contiguous()
    space = framed(images.shape)
    work = torch.empty(256 * filters + _TILES if c == VECTOR else 0)
    out = torch.empty(n, h // 2, w // 2, filters)
    code = torch.empty(out.shape, dtype=torch.uint8)
    functions["winograd" if c == VECTOR else "direct"](
        images.data_ptr(), (c_int64 * 4)(*images.stride()), by_tap.data_ptr(), bias.data_ptr(),
        space.data_ptr(), work.data_ptr(), out.data_ptr(), code.data_ptr(), n, c, h, w, filters,
    )  # fmt: skip
    return out, code
