"""What another process must import before it can read a job: modules that register components."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fedcore.components.registry import REGISTRIES
from fedcore.errors import FedcoreError, RegistrationError
from fedcore.records.provenance import chosen

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

T = TypeVar("T")


class ImportProblem(FedcoreError, ImportError):
    """A module that registers a component cannot be imported in this process."""


@dataclass(frozen=True)
class Imports:
    """Modules by name, and the folders of ``sys.path`` in which they were found.

    ``needed`` register what a run names; ``others`` whatever else is registered from outside
    fedcore, which components may look up by name.
    """

    needed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    def load(self) -> None:
        """Import them. Raises ImportProblem for one of ``needed`` that is not to be had."""
        sys.path += [place for place in self.path if place not in sys.path]
        for name in (*self.needed, *self.others):
            if name in sys.modules:
                continue
            try:
                importlib.import_module(name)
            except Exception as error:
                if name in self.needed:
                    raise ImportProblem(
                        f"{name}, which registers a component of this suite, cannot be imported "
                        f"in this process ({type(error).__name__}: {error}): install it here, or "
                        "put its folder into pytest's pythonpath"
                    ) from error


#: What a process must import for runs of fedcore's own components.
NOTHING = Imports()


def imports_of(scenarios: Iterable[Scenario], engine: str = "") -> Imports:
    """What a process must import for runs of ``scenarios`` on the engine labelled ``engine``."""
    needed = [
        name
        for scenario in scenarios
        for _, modules in components_from_outside(scenario, engine)
        for name in modules
    ]
    known = dict.fromkeys(needed)
    others = [name for name in _registered() if name not in known]
    return Imports(tuple(known), tuple(filter(_importable, others)), _path())


def _registered() -> list[str]:
    """The modules that have registered components from outside fedcore."""
    found: dict[str, None] = {}
    for registry in REGISTRIES.values():
        for name in registry:
            with contextlib.suppress(RegistrationError):  # a name of two packages is of neither
                entry = registry.entry(name)
                found |= dict.fromkeys(_outside(entry.component, entry.modules))
    return list(found)


class KnownImports:
    """`imports_of` single scenarios, worked out once for each choice of components."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Imports] = {}

    def of(self, scenario: Scenario, engine: str) -> Imports:
        """What a process must import for a run of ``scenario`` on ``engine``, a label."""
        parts = ((place, type(part)) for place, part in scenario.parts.everything())
        named = (scenario.dataset, scenario.strategy_spec, scenario.client_mods, engine)
        key = (*named, *parts)
        if key not in self._known:
            self._known[key] = imports_of([scenario], engine)
        return self._known[key]


def components_from_outside(
    scenario: Scenario, engine: str = ""
) -> list[tuple[str, tuple[str, ...]]]:
    """Each component of ``scenario`` that is not fedcore's own, as ``attack 'mine'``; its modules.

    The modules are those that register it.
    """
    found = []
    for place, component, modules in chosen(scenario, engine):
        outside = _outside(component, modules)
        name = getattr(component, "name", None) or getattr(scenario, place, "")
        if outside:
            found.append((f"{place} {name!r}", outside))
    return found


def _outside(component: Any, modules: Iterable[str]) -> tuple[str, ...]:
    home = getattr(component, "__module__", None) or type(component).__module__
    names = [home, *modules] if component is not None else list(modules)
    return tuple(
        dict.fromkeys(n for n in names if n.partition(".")[0] not in ("fedcore", "builtins"))
    )


def _importable(name: str) -> bool:
    return name != "__main__" and Path(getattr(sys.modules.get(name), "__file__", "")).name != (
        "conftest.py"
    )


def _path() -> tuple[str, ...]:
    """The folders of ``sys.path`` but those of Python itself, which others have their own of."""
    own = {str(Path(place).resolve()) for place in sysconfig.get_paths().values()}
    own |= {str(Path(place) / "lib-dynload") for place in own}
    places = [str(Path(place).resolve()) for place in sys.path]
    return tuple(p for p in dict.fromkeys(places) if p not in own and Path(p).is_dir())


@dataclass(frozen=True)
class Parcel(Generic[T]):
    """A pickled object with the imports that reading it needs."""

    imports: Imports
    content: bytes

    @classmethod
    def of(cls, content: T, imports: Imports) -> Parcel[T]:
        """``content``, packed. Raises what pickle raises for an object that has no place."""
        return cls(imports, pickle.dumps(content))

    def open(self) -> T:
        """What was packed. Raises ImportProblem."""
        self.imports.load()
        content: T = pickle.loads(self.content)
        return content
