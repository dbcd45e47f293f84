"""The numbers in an array that somebody else sent: its bytes are parsed with nothing believed.

NumPy's reader allocates what a header claims before it looks for the bytes, and may unpickle. Here
size, shape and type are compared with what must come before anything is made.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import Final

import numpy as np
from flwr.app import Array

_HEADER: Final = 10_000  # bytes of a header, as NumPy's own limit
_KINDS: Final = "fiu"
_WIDEST: Final = 16  # bytes of a number: long double


class ArraysError(ValueError):
    """Arrays that are not a model of the expected layout."""


def numbers(name: str, array: Array, shape: tuple[int, ...]) -> np.ndarray:
    """The values of ``array``, which must have ``shape``: floats or integers in native byte order.

    Any integer or float type of NumPy's is taken, long double as float64, in C or Fortran order.
    Booleans, complex numbers, texts, dates, records and objects are refused, and so are arrays of
    another kind than NumPy's. Raises ArraysError, before it allocates more than the message holds.
    """
    data = array.data
    if array.stype != "numpy.ndarray" or not isinstance(data, bytes):
        raise ArraysError(f"{name} cannot be read: it is of kind {array.stype!r:.40}")
    size = math.prod(shape)
    if len(data) > _HEADER + _WIDEST * size:
        raise ArraysError(f"{name} has {len(data)} bytes, too many for shape {shape}")
    file = io.BytesIO(data)
    try:
        found, fortran, dtype = _header(file)
    except Exception as error:  # a hostile sender chooses the bytes that are parsed here
        raise ArraysError(f"{name} cannot be read: {type(error).__name__}") from error
    if found != shape:
        raise ArraysError(f"{name} has shape {found!s:.80}, must be {shape}")
    if dtype.kind not in _KINDS or dtype.itemsize > _WIDEST:
        raise ArraysError(f"{name} holds {dtype!s:.40}, not numbers")
    if len(data) - file.tell() != size * dtype.itemsize:
        raise ArraysError(
            f"{name} cannot be read: {len(data) - file.tell()} bytes for {size} numbers of "
            f"{dtype.itemsize}"
        )
    value = np.frombuffer(data, dtype, offset=file.tell())
    value = value.reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "f" and dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # what is beyond float64 is infinite
            return value.astype(np.float64)
    return value.astype(dtype.newbyteorder("="), copy=False)


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError("another version of the format")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of Python 2's headers, which nobody writes any more
        found: tuple[tuple[int, ...], bool, np.dtype] = readers[version](
            file, max_header_size=_HEADER
        )
    return found
