"""What is declared by whom: parameters of all registered components, and who reads them."""

from __future__ import annotations

from collections.abc import Iterator, Set
from functools import lru_cache
from typing import Any

from fedcore.components.kinds import SINGLE
from fedcore.components.parameters import Spec
from fedcore.components.registry import REGISTRIES, Entry, Registry, changes
from fedcore.components.written import registered as registered
from fedcore.scenario.wire import MIRRORED


def registries() -> dict[str, Registry[Any]]:
    """The registry behind each component field of which a scenario has one."""
    return {kind: REGISTRIES[kind] for kind in SINGLE}


def parameters() -> dict[str, dict[str, Spec]]:
    """By name of a parameter its declaration in each kind of component that has it.

    Where components of one kind declare it differently, the first of them by name counts.
    """
    return _parameters(changes())


def parameter_names() -> Set[str]:
    """Names of all parameters of registered components that a scenario takes by their name."""
    return parameters().keys()


def readers_of(parameter: str) -> list[str]:
    """The components that read ``parameter``, as ``strategy krum``."""
    return [f"{kind} {entry.name}" for kind, entry in _reading(parameter)]


def packages_of(parameter: str) -> list[str]:
    """The packages beside fedcore whose components alone read ``parameter``; [] if ours do."""
    packages = {entry.package for _, entry in _reading(parameter)}
    return [] if "fedcore" in packages else sorted(packages)


def _reading(parameter: str) -> Iterator[tuple[str, Entry[Any]]]:
    """Kind and entry of each registered component that reads ``parameter``."""
    for kind, registry in registries().items():
        for entry in map(registry.entry, registry):
            if parameter in entry.part.specs():
                yield kind, entry


@lru_cache(maxsize=4)
def _parameters(state: object) -> dict[str, dict[str, Spec]]:
    declarations: dict[str, dict[str, Spec]] = {}
    for kind, registry in registries().items():
        for key in registry:
            entry = registry.entry(key)
            for name, spec in entry.part.specs().items():
                if name != entry.part.follows and name != MIRRORED:
                    declarations.setdefault(name, {}).setdefault(kind, spec)
    return declarations
