"""Registries: one decorator makes an algorithm known to scenarios, `fedcore list` and the errors.

A component declares which fields of `Scenario` it reads, with its defaults::

    @PARTITIONERS.register("dirichlet", "label skew, p_k ~ Dir(alpha)", alpha=REQUIRED)
    class Dirichlet(Partitioner): ...

The range and the meaning of a field stand once, in `fedcore.scenario`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from fedcore.errors import UnknownNameError
from fedcore.origin import sources

T = TypeVar("T")


class _Required:
    """Marks a parameter that has no default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered component: what it is, and the scenario fields it reads with their defaults."""

    name: str
    summary: str
    component: T
    parameters: Mapping[str, Any]


class Registry(Generic[T]):
    """Components of one kind by name; a second registration of a name is refused.

    ``package`` is imported module by module on first use, so that a new algorithm is one new
    file and nothing else.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, Entry[T]] = {}
        self._discovered = False

    def register(self, name: str, summary: str, **parameters: Any) -> Callable[[T], T]:
        """A decorator that registers its object as ``name``; ValueError if the name is taken."""

        def decorate(component: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            self._entries[name] = Entry(name, summary, component, dict(parameters))
            if not str(getattr(component, "__module__", "")).startswith("fedcore."):
                sources.watch_modules()
            return component

        return decorate

    def entry(self, name: str) -> Entry[T]:
        """The entry called ``name``; UnknownNameError offers the nearest known name."""
        self._discover()
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def __getitem__(self, name: str) -> T:
        return self.entry(name).component

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._entries))

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # first: the modules below may ask while they are imported
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
        except BaseException:
            self._discovered = False  # a registry that lacks some of its names must not look whole
            raise
