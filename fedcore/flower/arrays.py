"""Models as Flower sends them: `Layout` <-> ArrayRecord, by the names of the state dict."""

from __future__ import annotations

import functools
import io
import math

import numpy as np
import torch
from flwr.app import Array, ArrayRecord

from fedcore.exchange.layout import Kind, Layout
from fedcore.flower.numbers import ArraysError as ArraysError
from fedcore.flower.numbers import numbers


def to_arrays(layout: Layout, vector: torch.Tensor, counters: torch.Tensor) -> ArrayRecord:
    """The model ``vector`` [D], ``counters`` [I] as arrays in the order of ``layout``."""
    return ArrayRecord(
        {
            name: Array(np.ascontiguousarray(tensor.cpu().numpy()).reshape(tensor.shape))
            for name, tensor in layout.state_dict(vector, counters).items()
        }
    )


def from_arrays(
    layout: Layout, arrays: ArrayRecord, like: torch.Tensor, *, finite: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(vector [D], counters [I])`` in the type and on the device of ``like``.

    Raises ArraysError for missing, extra, unreadable or wrongly shaped arrays, and, if ``finite``,
    for values that are not. Shapes must be equal, not only broadcast. Float buffers may come in
    any float type, and integer ones as floats too, as stock strategies average them: these are
    rounded.
    """
    expected = {e.name for e in layout.entries}
    if set(arrays) != expected:
        odd = sorted(map(str, set(arrays) ^ expected))
        raise ArraysError(f"arrays missing or unknown: {', '.join(odd[:5])}")
    vector = torch.empty(layout.size, dtype=like.dtype)
    counters = torch.empty(layout.num_counters, dtype=torch.int64)
    values = {}
    for e in layout.entries:
        usual = torch.int64 if e.kind is Kind.COUNTER else like.dtype
        value = values[e.name] = _read(e.name, arrays[e.name], e.shape, usual)
        if e.kind is Kind.COUNTER:
            e.view(counters).copy_(torch.from_numpy(_integers(e.name, value)))
        else:  # often the message's own bytes, which torch does not take
            with np.errstate(over="ignore"):  # what is beyond the type is infinite
                e.view(vector).numpy()[...] = value
    # once for the whole vector, by NumPy: array by array, or by torch, it takes far longer
    if finite and not np.isfinite(vector.numpy()).all():
        odd = [name for name, value in values.items() if not np.isfinite(value).all()]
        raise ArraysError(
            f"{odd[0]} is not finite" if odd else f"values beyond the range of {like.dtype}"
        )
    return vector.to(like.device), counters.to(like.device)


def read(name: str, array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """``array``, which must have ``shape`` and finite numbers, as a tensor of ``dtype``.

    Raises ArraysError.
    """
    value = _read(name, array, shape, dtype)
    if dtype == torch.int64:
        return torch.from_numpy(_integers(name, value).copy())
    result = torch.from_numpy(np.array(value)).to(dtype)
    if not bool(torch.isfinite(result).all()):
        raise ArraysError(f"{name} is not finite in {dtype}")
    return result


def _read(name: str, array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> np.ndarray:
    """The values of ``array``, of ``shape``; those of the usual ``dtype`` as they lie in it."""
    header, kind = _header(shape, dtype)
    size = len(header) + kind.itemsize * math.prod(shape)
    if (
        array.stype == "numpy.ndarray"
        and len(array.data) == size
        and array.data[: len(header)] == header
    ):
        return np.frombuffer(array.data, kind, offset=len(header)).reshape(shape)
    return numbers(name, array, shape)


@functools.lru_cache(maxsize=1024)
def _header(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[bytes, np.dtype]:
    """How such an array begins in NumPy's format, whose parser takes longer than a small layer."""
    values = torch.empty(0, dtype=dtype).numpy()
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
    )
    return file.getvalue(), values.dtype


def _integers(name: str, value: np.ndarray) -> np.ndarray:
    if not np.isfinite(value).all():
        raise ArraysError(f"{name} is not finite")
    # 2**53: beyond it a float is no exact integer, and no counter of steps gets there
    if (np.abs(value.astype(np.float64)) > 2.0**53).any():
        raise ArraysError(f"{name} counts beyond 2**53")
    return np.asarray(np.rint(value), dtype=np.int64)  # rint makes a scalar of shape ()
