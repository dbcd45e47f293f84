"""Tensors that a process shares with the processes it forks."""

from __future__ import annotations

import math
import mmap
from typing import Protocol

import torch


class Zeros(Protocol):
    """An allocator of zeros with the signature of `torch.zeros`."""

    def __call__(
        self, size: tuple[int, ...], *, dtype: torch.dtype, device: torch.device | str
    ) -> torch.Tensor:
        """Zeros of this shape."""


def shared_zeros(
    size: tuple[int, ...], *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Zeros in anonymous shared memory, aligned to pages; ``device`` must be the CPU.

    The memory has no name and no file: nothing is left behind however the processes end, and the
    size of /dev/shm, 64 MB in many containers, is no limit. Pages that are never touched take no
    memory. Raises ValueError for another device.
    """
    if torch.device(device).type != "cpu":
        raise ValueError(f"memory is shared between processes on the CPU only, got {device}")
    count = math.prod(size)
    if count == 0:
        return torch.zeros(size, dtype=dtype)
    # the tensor keeps the mapping alive
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype).view(size)
