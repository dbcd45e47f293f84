"""Digests of images, labels, orders and models that cost next to nothing while a run trains.

Sums and products of 64-bit integers modulo 2^64: they tell apart what differs by mistake, not what
somebody has made alike on purpose.
"""

from __future__ import annotations

import math
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

Hashes = npt.NDArray[np.uint64]


def scatter(values: Any) -> Hashes:
    """A bijection of 64-bit integers that leaves no pattern (splitmix64, Steele et al. 2014)."""
    x = np.asarray(values).astype(np.uint64, copy=True)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x


def _weights(count: int, salt: int) -> Hashes:
    """``count`` odd 64-bit factors, always the same ones."""
    start = np.uint64(0x9E3779B97F4A7C15 ^ salt)
    return scatter(np.arange(1, count + 1, dtype=np.uint64) * start) | np.uint64(1)


_CHUNK: Final = 1 << 22  # bytes that are hashed at once: they stay in a cache


def content(images: torch.Tensor) -> Hashes:
    """A hash of each image's bytes, [n]; ``images`` [n, h, w, c] uint8 on the CPU."""
    flat = images.numpy().reshape(len(images), math.prod(images.shape[1:]))
    short = -flat.shape[1] % 8
    factors = torch.from_numpy(_weights((flat.shape[1] + short) // 8, 0).view(np.int64))
    result = np.empty(len(flat), np.uint64)
    step = max(1, _CHUNK // max(1, flat.shape[1]))
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        if short:
            part = np.pad(part, ((0, 0), (0, short)))
        lanes = torch.from_numpy(np.ascontiguousarray(part).view(np.int64))
        result[start : start + step] = (lanes * factors).sum(dim=1).numpy().view(np.uint64)
    return scatter(result ^ np.uint64(flat.shape[1]))


def model_hash(vector: torch.Tensor, counters: torch.Tensor) -> int:
    """A hash of a model's bytes, as a signed 64-bit integer that is not 0.

    A model in float64 has that of its float32 values: the initial one is drawn as these.
    """
    total = 0
    for salt, tensor in enumerate((vector, counters), start=1):
        plain = tensor.detach().contiguous().cpu()
        if plain.dtype is torch.float64:
            plain = plain.float()
        raw = plain.view(torch.uint8)
        if raw.storage_offset() % 8:  # no 64-bit integers begin there
            raw = raw.clone()
        count = len(raw) // 8 * 8
        lanes = raw[:count].view(torch.int64)
        total += salt * zlib.crc32(raw[count:].numpy().tobytes())
        total += int((lanes * _factors(len(lanes), salt)).sum())
    return int(scatter(total % 2**64 or 1).view(np.int64)) or 1


_kept: dict[tuple[int, int], torch.Tensor] = {}


def _factors(count: int, salt: int) -> torch.Tensor:
    """The weights of `model_hash`, kept for one size of model."""
    if (count, salt) not in _kept:
        if len(_kept) > 4:
            _kept.clear()
        _kept[count, salt] = torch.from_numpy(_weights(count, salt).view(np.int64))
    return _kept[count, salt]


_PLACES: list[Hashes] = [_weights(1 << 12, 2)]


def in_order(hashes: Hashes) -> np.uint64:
    """The digest of ``hashes`` [n] in their order."""
    if len(_PLACES[0]) < len(hashes):
        _PLACES[0] = _weights(2 * len(hashes), 2)
    return total(hashes * _PLACES[0][: len(hashes)])


def total(hashes: Hashes) -> np.uint64:
    """The sum of ``hashes`` [n]: a digest that knows no order."""
    return np.uint64(np.add.reduce(hashes, dtype=np.uint64))


def labelled(hashes: Hashes, labels: npt.NDArray[np.int64]) -> Hashes:
    """A hash of each pair of an image and a label, [n]."""
    marks = (labels.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD1B54A32D192ED03)
    return scatter(hashes ^ marks)


def turned(rounds: npt.ArrayLike, digests: npt.ArrayLike) -> Hashes:
    """What ``digests`` [n] of ``rounds`` (one, or [n]; from 1) add to those of a whole run.

    The digest of a run is their sum, which so knows what belongs to which round. As 64 bits: a
    negative integer is its two's complement.
    """
    moved = np.atleast_1d(np.asarray(rounds)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return scatter(np.asarray(digests).astype(np.uint64) + moved)


def short(value: int) -> str:
    """8 hexadecimal digits of a 64-bit digest."""
    return f"{(value ^ (value >> 32)) % 2**32:08x}"


def long(value: int) -> str:
    """16 hexadecimal digits of a 64-bit digest."""
    return f"{value % 2**64:016x}"


def bits(value: float) -> int:
    """The bits of a float64 as a signed integer."""
    return int(np.float64(value).view(np.int64))


def of_bits(values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The inverse of `bits`, of many."""
    return np.ascontiguousarray(values).view(np.float64)


def signed(value: np.uint64) -> int:
    """The same 64 bits as a signed integer, which JSON, torch and Flower carry."""
    return int(value.view(np.int64))
