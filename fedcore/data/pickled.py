"""Reading a pickle of numbers and texts without running anything that it names.

A pickle is a program. Here its operations are checked against a list before any is carried out, and
the three names that a numpy array needs stand for objects that do nothing but keep what they are
given: no module is imported, no function of numpy is called, and arrays are views of bytes that lie
in the file.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any, Final

import numpy as np

from fedcore.errors import DataError

#: Operations that make numbers, texts, lists, dictionaries, and arrays.
_ALLOWED: Final = frozenset(
    (
        *("PROTO", "STOP", "MARK", "POP", "FRAME"),
        *("NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "LONG1", "BININT", "BININT1", "BININT2"),
        *("STRING", "SHORT_BINSTRING", "BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
        *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    )
)
_STORES: Final = ("PUT", "BINPUT", "LONG_BINPUT")  # at a place that the file names
_MOST_PLACES: Final = 1 << 20
_ARRAY, _MAKER, _TYPE = "array", "maker", "type"
_NAMES: Final = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy.core.multiarray", "_reconstruct"): _MAKER,
    ("numpy._core.multiarray", "_reconstruct"): _MAKER,
    ("numpy", "dtype"): _TYPE,
}


class _Array:
    """What an array is to be: bytes, shape and type, as its state says."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type(_Array):
    """A type of array elements, by the name that it was asked for with."""

    __slots__ = ("name",)

    def __init__(self, name: Any) -> None:
        super().__init__()
        self.name = name


class _Name:
    """What a name of `_NAMES` stands for."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a name has no state")

    def __call__(self, *arguments: Any) -> Any:
        if self.what == _MAKER:
            return _Array()
        if self.what == _TYPE and arguments:
            return _Type(arguments[0])
        raise pickle.UnpicklingError(f"numpy's {self.what} is not called")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _Name(_NAMES[module, name])


def read_pickle(content: bytes, where: str) -> Any:
    """The value of ``content``: dict, list, tuple, bytes, str, int, bool, None, arrays of uint8.

    Texts of Python 2 come as bytes. DataError, naming ``where``, for a pickle of anything else,
    and one that is damaged.
    """
    try:
        _check(content)
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        value = _plain(value, [len(content)])
    except Exception as error:  # of a damaged pickle come many types
        raise DataError(
            f"{where}: must be a pickle of numbers, texts and arrays of bytes alone, got "
            f"{type(error).__name__}: {error}; fetch the file again from its publisher"
        ) from error
    return value


def _check(content: bytes) -> None:
    """Raise for an operation that is not allowed; carries out none."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name not in _ALLOWED:
            raise pickle.UnpicklingError(f"it has the operation {operation.name}")
        if operation.name in _STORES and int(argument or 0) > _MOST_PLACES:
            raise pickle.UnpicklingError(f"it stores at place {argument}")


def _plain(value: Any, left: list[int]) -> Any:
    """``value`` with arrays in the place of what was kept for them.

    ``left`` is how many values there may still be, at first one a byte: a list that holds another
    twice, which holds another twice, and so on, would be copied for ever.
    """
    left[0] -= 1
    if left[0] < 0:
        raise pickle.UnpicklingError("it holds more values than bytes")
    if isinstance(value, dict):
        return {_plain(key, left): _plain(one, left) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(one, left) for one in value)
    if type(value) is _Array:
        return _array(value.state)
    if value is None or type(value) in (bool, int, bytes, str):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")


def _array(state: Any) -> Any:
    """The array whose state is (version, shape, type, in Fortran's order, bytes)."""
    if not isinstance(state, tuple) or len(state) != 5:
        raise pickle.UnpicklingError("an array has no state")
    _, shape, kind, fortran, content = state
    if type(kind) is not _Type or kind.name not in ("u1", b"u1", "|u1", b"|u1"):
        raise pickle.UnpicklingError("an array is not of uint8")
    whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not whole or type(content) is not bytes or len(content) != math.prod(shape):
        raise pickle.UnpicklingError("the bytes of an array do not fill its shape")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")
