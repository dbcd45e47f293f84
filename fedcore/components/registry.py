"""Registries: one decorator makes an algorithm known to scenarios, `fedcore list` and the errors.

A component declares which fields of `Scenario` it reads, with its defaults::

    @PARTITIONERS.register("dirichlet", "label skew, p_k ~ Dir(alpha)", alpha=REQUIRED)
    class Dirichlet(Partitioner): ...

The range and the meaning of a field stand once, in `fedcore.scenario`.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
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
    """A registered component: what it is, and the scenario fields it reads with their defaults.

    ``modules`` are those that registered it, which a class made by a factory does not name.
    """

    name: str
    summary: str
    component: T
    parameters: Mapping[str, Any]
    modules: tuple[str, ...] = ()


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
        modules = _registering(sys._getframe(1))

        def decorate(component: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            self._entries[name] = Entry(name, summary, component, dict(parameters), modules)
            made_in = (*modules, str(getattr(component, "__module__", "")))
            if not all(where.startswith("fedcore.") for where in made_in):
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


def _registering(frame: FrameType | None) -> tuple[str, ...]:
    """Modules whose code is at work from ``frame`` up to the one that is being imported.

    A factory, or a function that registers, says with its arguments what a component computes;
    who imports that module does not.
    """
    found: list[str] = []
    while frame is not None and not sources.installed(frame.f_code.co_filename):
        name = frame.f_globals.get("__name__")
        if not isinstance(name, str) or name.partition(".")[0] in sys.stdlib_module_names:
            break
        found.append(name)
        if frame.f_code.co_name == "<module>":
            break
        frame = frame.f_back
    return tuple(dict.fromkeys(found))
