"""How a reply is forged: the forms whose effect `docs.flower.hostile` tabulates."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord

CLIENTS = 8
SHAPES = {"weight": (4, 3), "bias": (3,), "running_var": (3,), "steps": ()}
Forge = Callable[[dict[str, Any], dict[str, Any]], None]


def _with(value: float) -> Forge:
    def forge(arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
        arrays["weight"] = arrays["weight"].copy()
        arrays["weight"][0, 0] = value

    return forge


def _array(name: str, value: Any) -> Forge:
    return lambda arrays, metrics: arrays.update({name: value})


def _all(name: str, value: float) -> Forge:
    return _array(name, np.full(SHAPES[name], value, np.float32))


def _metric(name: str, value: Any) -> Forge:
    return lambda arrays, metrics: metrics.update({name: value})


def _as(dtype: Any, order: str = "C") -> Forge:
    def forge(arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
        arrays["weight"] = np.asarray(arrays["weight"].astype(dtype), order=order)

    return forge


def _scaled(factor: float) -> Forge:
    def forge(arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
        for name in ("weight", "bias"):
            arrays[name] = np.float32(factor) * arrays[name]

    return forge


def raw(data: bytes, kind: str = "numpy.ndarray") -> Array:
    """An array of the bias's shape by its own word, which holds ``data``."""
    return Array("float32", SHAPES["bias"], kind, data)


def saved(value: Any, *, version: tuple[int, int] | None = None) -> bytes:
    """``value`` in NumPy's format; objects are pickled."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(value), version=version, allow_pickle=True)
    return file.getvalue()


def headed(text: str, data: bytes = b"") -> bytes:
    """An array of NumPy's format whose header is ``text``."""
    header = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


class Bomb:
    """Unpickled, it raises; whoever reads arrays must not get that far."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


#: How a reply is forged, by name; ``honest`` is the reference.
FORMS: dict[str, Forge] = {
    "honest": lambda arrays, metrics: None,
    "NaN": _with(np.nan),
    "inf": _with(np.inf),
    "3e38": _with(3e38),
    "shape": _array("bias", np.zeros(4, np.float32)),
    "(1,)": _array("bias", np.zeros(1, np.float32)),
    "missing": lambda arrays, metrics: arrays.pop("bias"),
    "extra": _array("more", np.zeros(3, np.float32)),
    "bytes": _array("bias", raw(b"no array")),
    "metric": _metric("more", 1),
    "n=0": _metric("num-examples", 0),
    "n=-8": _metric("num-examples", -8),
    "n=1e12": _metric("num-examples", 10**12),
    "n=NaN": _metric("num-examples", float("nan")),
    "n=2^63": _metric("num-examples", 2**63),
    "int max": _array("steps", np.array(2**63 - 1)),
    # types and bytes
    "bool": _array("bias", np.ones(3, np.bool_)),
    "complex": _array("bias", np.ones(3, np.complex64)),
    "text": _array("bias", np.array(["a", "b", "c"])),
    "date": _array("bias", np.zeros(3, "datetime64[s]")),
    "record": _array("bias", np.zeros(3, [("a", "<f4")])),
    "pickle": _array("bias", raw(saved(np.array([Bomb()] * 3, dtype=object)))),
    "kind": _array("bias", raw(saved(np.zeros(3, np.float32)), "pickle")),
    "cut": _array("bias", raw(saved(np.zeros(3, np.float32))[:-1])),
    "long": _array("bias", raw(saved(np.zeros(3, np.float32)) + b"\0" * 20_000)),
    "1e12 rows": _array(
        "bias", raw(headed("{'descr': '<f4', 'fortran_order': False, 'shape': (10**12,), }"))
    ),
    "1e11 rows": _array(
        "bias", raw(headed("{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,), }"))
    ),
    "1e300": _array("weight", np.full(SHAPES["weight"], 1e300)),
    "big-endian": _as(">f4"),
    "float16": _as(np.float16),
    "float64": _as(np.float64),
    "long double": _as(np.longdouble),
    "Fortran": _as(np.float32, "F"),
    # what a client says of its work
    "steps=0": _metric("steps", 0),
    "steps=1e5": _metric("steps", 10**5),
    "steps=1e9": _metric("steps", 10**9),
    "norm=1e-300": _metric("normalizer", 1e-300),
    "norm=1e9": _metric("normalizer", 1e9),
    "norm=-2": _metric("normalizer", -2.0),
    "no norm": lambda arrays, metrics: metrics.pop("normalizer"),
    "n=1e9": _metric("num-examples", 10**9),
    # finite, in form, and false
    "var=1e30": _all("running_var", 1e30),
    "var=-1e3": _all("running_var", -1e3),
    "x100": _scaled(100.0),
}

#: Forms that no check can tell from an honest reply: what they do is the strategy's affair.
FINITE = ("3e38", "var=1e30", "var=-1e3", "x100")
#: Forms that are taken as what they say in another way, by `fedcore.flower.strategy`.
TAKEN = (
    *("metric", "big-endian", "float16", "float64", "long double", "Fortran", "no norm"),
    "n=1e9",  # which counts as ten times the median
)


def _twice(replies: list[Message]) -> list[Message]:
    return [*replies, *replies[-1:] * 20]


def _no_arrays(replies: list[Message]) -> list[Message]:
    for key in list(replies[-1].content.array_records):
        del replies[-1].content[key]
    return replies


def _no_metrics(replies: list[Message]) -> list[Message]:
    for key in list(replies[-1].content.metric_records):
        del replies[-1].content[key]
    return replies


def _two_models(replies: list[Message]) -> list[Message]:
    (arrays,) = replies[-1].content.array_records.values()
    replies[-1].content["second"] = ArrayRecord(dict(arrays))
    return replies


def _two_facts(replies: list[Message]) -> list[Message]:
    replies[-1].content["second"] = MetricRecord({"num-examples": 10, "steps": 2})
    return replies


def _stranger(replies: list[Message]) -> list[Message]:
    replies[-1].metadata.__dict__["_src_node_id"] = 99
    return replies


#: Forms of the messages of a round, the hostile one last.
ENVELOPES: dict[str, Callable[[list[Message]], list[Message]]] = {
    "20 times": _twice,
    "stranger": _stranger,
    "no arrays": _no_arrays,
    "no metrics": _no_metrics,
    "two models": _two_models,
    "two metrics": _two_facts,
}
