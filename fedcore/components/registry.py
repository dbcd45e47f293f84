"""Registries: one decorator makes a component known to scenarios, `fedcore list` and the errors.

A component declares the parameters that it reads, see `fedcore.components.component`::

    @PARTITIONERS.register("dirichlet", "label skew, p_k ~ Dir(alpha)")
    class Dirichlet(Partitioner):
        alpha: float = param("Dirichlet concentration", low=0, open_low=True)

The registries of fedcore are in `fedcore.components.kinds`. They import what they hold on first
use, by name: that of a package of fedcore, and entry points of the group ``fedcore`` of others.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, TypeVar

from fedcore.components import packages
from fedcore.components.component import Component, redeclare
from fedcore.components.parameters import REQUIRED as REQUIRED
from fedcore.components.parameters import Spec
from fedcore.errors import RegistrationError, UnknownNameError, nearest
from fedcore.origin import sources

T = TypeVar("T")
C = TypeVar("C")

#: The registry of each kind, by the name of the kind.
REGISTRIES: dict[str, Registry[Any]] = {}


class _Entries(dict[str, Any]):
    """Entries by name; ``changes`` counts those of all registries."""

    changes = 0

    def __setitem__(self, name: str, entry: Any) -> None:
        _Entries.changes += 1
        super().__setitem__(name, entry)

    def __delitem__(self, name: str) -> None:
        _Entries.changes += 1
        super().__delitem__(name)

    def pop(self, name: str, *default: Any) -> Any:
        _Entries.changes += 1
        return super().pop(name, *default)


def changes() -> int:
    """How often components have been registered or taken back, for caches."""
    return _Entries.changes


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered component: what it is, and the defaults of its parameters by name.

    ``modules`` are those that registered it, which a class made by a factory does not name.
    ``part`` is the class whose objects a scenario holds, None of what it does not hold.
    """

    name: str
    summary: str
    component: T
    parameters: Mapping[str, Any]
    modules: tuple[str, ...] = ()
    part: Any = None

    @property
    def package(self) -> str:
        """The distribution that it comes from; a top-level module's name where that is in none."""
        return packages.distribution(_home(self.component, self.modules))


class Registry(Generic[T]):
    """Components of one kind by name; a second registration of a name is refused.

    ``package`` is imported module by module on first use, those of its sub-packages too, so that a
    new algorithm is one new file and nothing else. ``label`` is what messages call the kind.
    """

    def __init__(self, kind: str, package: str, label: str | None = None) -> None:
        self.kind = label or kind
        self.field = kind
        self._package = package
        self._entries = _Entries()
        self._twice: dict[str, str] = {}
        self._discovered = False
        REGISTRIES[kind] = self

    def register(self, name: str, summary: str, **defaults: Any) -> Callable[[C], C]:
        """A decorator that registers its object as ``name``, of a package as ``package/name``.

        Each of ``defaults`` declares a parameter that components of fedcore have, with another
        default. Raises RegistrationError, a ValueError, if the name is taken or a parameter is
        unknown.
        """
        modules = _registering(sys._getframe(1))

        def decorate(component: C) -> C:
            home = _home(component, modules)
            full = packages.qualified(name, home)
            self._refuse_taken(full, home)
            self._entries[full] = self._entry(full, summary, component, modules, defaults)
            if not all(where.startswith("fedcore.") for where in (*modules, home)):
                sources.watch_modules()
            return component

        return decorate

    def _refuse_taken(self, name: str, home: str) -> None:
        known = self._entries.get(name)
        if known is None:
            return
        there = _home(known.component, known.modules)
        text = f"{self.kind} {name!r} is registered already, by {there}"
        if there != home:
            text += f": {home} must choose another name"
        if packages.loading():
            self._twice[name] = (
                f"{self.kind} {name!r} is registered by two packages, {packages.described(there)} "
                f"and {packages.described(home)}: uninstall one, or have one choose another name"
            )
        raise RegistrationError(text)

    def _entry(
        self,
        name: str,
        summary: str,
        component: Any,
        modules: tuple[str, ...],
        defaults: Mapping[str, Any],
    ) -> Entry[Any]:
        """The entry of ``component``; a class that has a name already gives its own to a copy."""
        if not (isinstance(component, type) and issubclass(component, Component)):
            # of what a scenario does not hold, such as engines
            return Entry(name, summary, component, dict(defaults), modules)
        if component.__dict__.get("_registered"):
            body = {"__module__": component.__module__, "__qualname__": component.__qualname__}
            copied = ("definition",)
            body |= {key: component.__dict__[key] for key in copied if key in component.__dict__}
            component = type(component.__name__, (component,), body)
        component.kind, component.name, component.summary = self.field, name, summary
        component._registered = True
        if defaults:
            redeclare(component, {n: (self._known(n, component), d) for n, d in defaults.items()})
        _require_methods(self.kind, name, component)
        specs = component.specs().items()
        own = {field: spec.default for field, spec in specs if field != component.follows}
        return Entry(name, summary, component, own, modules, component)

    def _known(self, parameter: str, component: type[Component]) -> Spec:
        """The declaration that a keyword of `register` takes over."""
        if (spec := component.specs().get(parameter)) is not None:
            return spec
        self._discover_own()
        for entry in self._entries.values():
            if parameter in entry.part.specs():
                found: Spec = entry.part.specs()[parameter]
                return found
        raise RegistrationError(
            f"{self.kind} {component.name!r}: {parameter!r} is no parameter that components of "
            f"fedcore have; declare it in the class, as {parameter}: float = param('its meaning')"
        )

    def entry(self, name: str) -> Entry[T]:
        """The entry called ``name``, also an import path ``package.module:Class``.

        UnknownNameError offers the nearest known name, and names the entry points that cannot be
        loaded; RegistrationError for a name that two packages register or that begins with an entry
        point of both, or a path to nothing.
        """
        self._discover()
        if name in self._twice:
            raise RegistrationError(self._twice[name])
        if name in self._entries:
            found: Entry[T] = self._entries[name]
            return found
        if packages.is_path(name):
            return self._imported(name)
        if (problem := packages.disputed(name)) is not None:
            raise RegistrationError(problem)
        raise UnknownNameError(self.kind, name, self._entries, _notes(name))

    def _imported(self, path: str) -> Entry[T]:
        """The entry of the class at an import path, which is its name unless it has another."""
        component = packages.imported(self.kind, path)
        for entry in self._entries.values():
            if entry.component is component:
                known: Entry[T] = entry
                return known
        # not isinstance: what was imported may answer for its own class
        own = issubclass(type(component), type) and Component in type.mro(component)
        if own and component.kind in ("", self.field):
            module = path.partition(":")[0]
            made: Entry[T] = self._entry(path, component.summary or path, component, (module,), {})
            self._entries[path] = made
            sources.watch_modules()
            return made
        raise RegistrationError(
            f"{self.kind} {path!r} is no {self.kind}: name a class that is derived from the base "
            f"class of the kind, got {_named(component)}"
        )

    def __getitem__(self, name: str) -> T:
        return self.entry(name).component

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._entries))

    @property
    def _entries(self) -> _Entries:
        return self._known_entries

    @_entries.setter
    def _entries(self, entries: Mapping[str, Entry[Any]]) -> None:
        self._known_entries = _Entries(entries)
        _Entries.changes += 1

    def _discover(self) -> None:
        if not self._discovered:
            self._discover_own()
        packages.load_entry_points()

    def _discover_own(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # first: the modules below may ask while they are imported
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.walk_packages(package.__path__, f"{self._package}."):
                importlib.import_module(module.name)
        except BaseException:
            self._discovered = False  # a registry that lacks some of its names must not look whole
            raise


def _notes(name: str) -> tuple[str, ...]:
    """What may be wrong with a name that nobody has registered, beside its spelling."""
    if "." not in name or ":" in name or not name.replace(".", "").isidentifier():
        return packages.broken()
    module, _, last = name.rpartition(".")
    return (f"An import path is written {module}:{last}", *packages.broken())


def _require_methods(kind: str, name: str, component: type[Component]) -> None:
    """RegistrationError for a class that lacks a method that its base class leaves to it."""
    for method in dir(component):
        if getattr(getattr(component, method), "__isabstractmethod__", False):
            close = nearest(method, [key for key in vars(component) if key[:2] != "__"])
            hint = f"; is {close!r} meant for it?" if close else ""
            raise RegistrationError(
                f"{kind} {name!r}: class {component.__name__} must define the method "
                f"{method!r}{hint}"
            )


def _named(thing: object) -> str:
    """What an import path leads to; its own text may be of any length, or fail."""
    kind = type(thing)
    name = type.__dict__["__name__"].__get__(thing if issubclass(kind, type) else kind)
    return f"class {name}" if issubclass(kind, type) else f"an object of type {name}"


def _home(component: object, modules: tuple[str, ...]) -> str:
    """The module that a component belongs to."""
    return str(getattr(component, "__module__", None) or (modules[-1] if modules else ""))


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
