"""What a run carries from round to round, as plain values and arrays, and back into a new run.

Nothing is pickled: numbers, texts and containers become JSON, tensors become arrays, and a value of
one of fedcore's own data classes becomes its fields. Whatever else is met is refused by its name.
Objects that serve a run without belonging to it (scenario, components, engines, functions) are not
saved: the new run has its own, made from the same scenario and seed.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch

from fedcore.components.component import Component
from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort, Memory
from fedcore.exchange.layout import Layout
from fedcore.federation.federation import Federation
from fedcore.privacy.mechanism import Mechanism
from fedcore.privacy.release import Release
from fedcore.scenario import Scenario
from fedcore.simulation.identity_chain import ChainCheck
from fedcore.simulation.score_check import ScoreCheck
from fedcore.strategies.aggregation import Aggregation

Arrays = dict[str, np.ndarray[Any, Any]]

#: Classes whose objects a run is given, or begins anew in each round.
_SERVING: Final = (
    *(Scenario, Federation, Layout, Aggregation, Component, ChainCheck, Release, ScoreCheck),
    *(torch.device, torch.dtype, torch.nn.Module, type),
    *(types.FunctionType, types.MethodType, types.BuiltinFunctionType),
)
_SEQUENCES: Final[dict[str, type[Any]]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
}


class CarriedError(FedcoreError):
    """A part of a run that cannot be saved, or does not fit the run that is to go on from it."""


class Saved:
    """Collects arrays while values are turned into JSON."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}

    def of(self, value: Any, place: str) -> Any:
        """``value``, at ``place`` of the run, as JSON. Raises CarriedError, naming the place."""
        if value is None or isinstance(value, (bool, str)) or type(value) is int:
            return value
        if type(value) is float:
            return {"float": value.hex()}
        if isinstance(value, torch.Tensor):
            return {"tensor": self._array(value.detach().cpu().numpy())}
        if isinstance(value, (np.ndarray, np.generic)):
            if value.dtype.hasobject:
                raise CarriedError(f"{place} has objects in an array, which cannot be saved")
            kind = "array" if isinstance(value, np.ndarray) else "scalar"
            return {kind: self._array(np.asarray(value))}
        if isinstance(value, np.random.Generator):
            return {"generator": self.of(value.bit_generator.state, place)}
        if isinstance(value, Memory):
            own = {name: self.of(v, f"{place}.{name}") for name, v in vars(value).items()}
            return {"memory": self._pairs(value, place), "own": own}
        if type(value) is dict:
            return {"dict": self._pairs(value, place)}
        for name, sequence in _SEQUENCES.items():
            if type(value) is sequence:
                parts = sorted(value) if name in ("set", "frozenset") else value
                return {name: [self.of(part, f"{place}[{n}]") for n, part in enumerate(parts)]}
        return self._object(value, place)

    def _object(self, value: Any, place: str) -> Any:
        name = _name(type(value))
        if isinstance(value, Mechanism):
            return {"same": name, "run": self.of(value.run, f"{place}.run")}
        if isinstance(value, _SERVING):
            return {"same": name}
        if not type(value).__module__.startswith("fedcore.") or isinstance(value, Cohort):
            raise CarriedError(f"{place} is a {name}, whose state cannot be saved")
        own = {key: self.of(part, f"{place}.{key}") for key, part in fields_of(value)}
        return {"value" if dataclasses.is_dataclass(value) else "object": name, "own": own}

    def _pairs(self, value: Mapping[Any, Any], place: str) -> Any:
        return [[self.of(k, place), self.of(v, f"{place}[{k!r}]")] for k, v in value.items()]

    def _array(self, array: np.ndarray[Any, Any]) -> str:
        name = f"a{len(self.arrays)}"
        self.arrays[name] = array
        return name


class Restored:
    """Turns JSON and ``arrays`` back into values. ``device`` is where tensors belong."""

    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]], device: torch.device) -> None:
        self._arrays, self._device = arrays, device

    def of(self, saved: Any, fresh: Any, place: str) -> Any:
        """The value that was ``saved`` at ``place``; ``fresh`` is what a new run has there.

        Objects are not made but those of fedcore's data classes, without running any of their code;
        others, and generators, are changed in place. Raises CarriedError where the two do not fit.
        """
        if not isinstance(saved, dict):
            return saved
        (kind, content), *_ = saved.items()
        if kind == "float":
            return float.fromhex(content)
        if kind == "tensor":
            return torch.from_numpy(self._arrays[content].copy()).to(self._device)
        if kind == "array":
            return self._arrays[content].copy()
        if kind == "scalar":
            return self._arrays[content][()]
        if kind == "generator":
            self._require(isinstance(fresh, np.random.Generator), place)
            fresh.bit_generator.state = self.of(content, None, place)
            return fresh
        if kind == "memory":
            memory = Memory(dict(self._pairs(content, place)))
            vars(memory).update({k: self.of(v, None, place) for k, v in saved["own"].items()})
            return memory
        if kind == "dict":
            return dict(self._pairs(content, place, fresh if isinstance(fresh, dict) else None))
        if kind in _SEQUENCES:
            return _SEQUENCES[kind](self.of(part, None, place) for part in content)
        return self._object(kind, content, saved, fresh, place)

    def _object(self, kind: str, name: str, saved: Any, fresh: Any, place: str) -> Any:
        if kind == "value" and (fresh is None or _name(type(fresh)) != name):
            fresh = _empty(name, place)
        self._require(_name(type(fresh)) == name, place)
        if kind == "same":
            if "run" in saved:
                self.of(saved["run"], fresh.run, f"{place}.run")
            return fresh
        self._require(kind in ("value", "object"), place)
        before = dict(fields_of(fresh))
        for key, part in saved["own"].items():
            value = self.of(part, before.get(key), f"{place}.{key}")
            object.__setattr__(fresh, key, value)
        return fresh

    def _pairs(
        self, saved: Any, place: str, fresh: Mapping[Any, Any] | None = None
    ) -> Iterator[tuple[Any, Any]]:
        for key, value in saved:
            name = self.of(key, None, place)
            yield name, self.of(value, (fresh or {}).get(name), f"{place}[{name!r}]")

    @staticmethod
    def _require(fits: bool, place: str) -> None:
        if not fits:
            raise CarriedError(f"{place} is something else in this run")


def fields_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object by name, those of ``__slots__``, too."""
    for cls in type(value).__mro__:
        for name in getattr(cls, "__slots__", ()):
            if hasattr(value, name):
                yield name, getattr(value, name)
    yield from getattr(value, "__dict__", {}).items()


def _name(cls: type[Any]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _empty(name: str, place: str) -> Any:
    """An object of the data class ``name`` of fedcore, without its fields."""
    module, _, path = name.partition(":")
    cls: Any = sys.modules.get(module) if module.startswith("fedcore.") else None
    for part in path.split("."):
        cls = getattr(cls, part, None)
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise CarriedError(f"{place} is a {name}, which is no data class of fedcore")
    return cls.__new__(cls)
