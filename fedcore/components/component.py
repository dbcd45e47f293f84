"""Component: one choice of an experiment, a frozen value that owns its parameters.

A class is one file and one registration::

    @PARTITIONERS.register("dirichlet", "label skew: class proportions ~ Dir(alpha)")
    class Dirichlet(Partitioner):
        alpha: float = param("Dirichlet concentration", low=0, open_low=True)

``Dirichlet(alpha=0.1)`` is checked where it is made, equal to its equals, hashable, picklable, and
written ``dirichlet(alpha=0.1)``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import re
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from fedcore.components.annotations import AnnotationError
from fedcore.components.parameters import DECLARED, REQUIRED, Spec, param, spec_of
from fedcore.components.taken import refused
from fedcore.errors import ScenarioError

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

#: What `dataclasses.dataclass` writes into a class: what stands there before is the class's own.
_MADE = (
    *("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"),
    *("__match_args__", "__dataclass_fields__", "__dataclass_params__", "__replace__"),
)


# on the base class: mypy ignores the transform on a method that decorates
@dataclass_transform(
    frozen_default=True, kw_only_default=True, eq_default=True, field_specifiers=(param,)
)
class Component:
    """Base of data sets, models, partitioners, optimizers, strategies, attacks, mechanisms, ...

    Subclasses are frozen dataclasses with keyword arguments; annotate a class attribute that is no
    parameter as ClassVar. ``kind``, ``name`` and ``summary`` are those of the registration.
    ``named``: parameters whose values follow the name in an id, as in ``dirichlet0.1``.
    ``follows``: the parameter that follows the name after a colon, as in ``npz:PATH``; None: none.
    ``uses``: distributions, beside torch and numpy, whose version may change what it computes; of
    a component outside fedcore, those that its source imports count without being named here.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    named: ClassVar[tuple[str, ...]] = ()
    follows: ClassVar[str | None] = None
    _registered: ClassVar[bool] = False
    uses: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _declare(cls)

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name, spec in self.specs().items():
            value = spec.coerce(getattr(self, name))
            object.__setattr__(self, name, value)
            problems += spec.problems(name, value)
        if problems:
            raise ScenarioError(problems)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """By name where the class cannot be imported, or gets its name by being imported so."""
        cls = type(self)
        importable: Any = sys.modules.get(cls.__module__)
        for part in cls.__qualname__.split("."):
            importable = getattr(importable, part, None)
        if not cls.name or (importable is cls and ":" not in cls.name):
            return super().__reduce_ex__(protocol)
        return _registered, (cls.kind, cls.name, cls.__module__, self.parameters())

    def __str__(self) -> str:
        """As it may be written: what differs from the defaults, ``dirichlet(alpha=0.1)``."""
        specs = self.specs()
        own = {n: v for n, v in self.parameters().items() if v != specs[n].default}
        return written(self.called, {n: v for n, v in own.items() if n != self.follows})

    @classmethod
    def specs(cls) -> dict[str, Spec]:
        """The declaration of each parameter, by name, in the order of the class."""
        declared: dict[str, Spec] = _specs(cls)
        return declared

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """An object of ``values`` that have been checked already, with the other defaults."""
        part = object.__new__(cls)
        full = {name: values.get(name, spec.default) for name, spec in _specs(cls).items()}
        part.__dict__.update(full)
        return part

    @property
    def called(self) -> str:
        """The name as a scenario gives it: ``npz:PATH`` where a parameter ``follows``."""
        argument = None if self.follows is None else getattr(self, self.follows)
        return self.name if argument is None else f"{self.name}:{argument}"

    def parameters(self) -> dict[str, Any]:
        """The value of each parameter, by name."""
        return {name: self.__dict__[name] for name in _specs(type(self))}

    def flat(self) -> dict[str, Any]:
        """The canonical form: the kind with the name, and each parameter by its own name.

        Without what was declared later and is at its default.
        """
        return {self.kind: self.called, **_in_force(self, nones=True)}

    def spelled(self) -> str:
        """With every value that is in force, sorted: ``bucketing(size=2)``. What is hashed."""
        return written(self.called, dict(sorted(_in_force(self, nones=False).items())))

    def token(self) -> str:
        """The name in an id, with the values of ``named``: ``dirichlet0.1``, characters [a-z0-9.].

        A class that overrides it names there all that its own objects can differ in, but for
        parameters: these follow where they differ from their defaults.
        """
        values = [getattr(self, name) for name in self.named]
        rest = "" if None in values else squeeze(tuple(values))
        return squeeze(self.name) + rest

    def problems(self, scenario: Scenario) -> list[str]:
        """Preconditions that ``scenario`` breaks, each as a message; no data are at hand here."""
        return []


def unmade(value: object) -> str | None:
    """What to write where ``value`` is a class of components; None for anything else."""
    if not (isinstance(value, type) and issubclass(value, Component)):
        return None
    needed = [name for name, spec in value.specs().items() if spec.default is REQUIRED]
    words = ", ".join(f"{name}=..." for name in needed)
    return f"{value.__name__} is a class: write an object, {value.__name__}({words})"


def squeeze(value: object) -> str:
    """``value`` in the characters [a-z0-9.]: ``mobilenet_v2`` -> ``mobilenetv2``.

    Different numbers have different tokens; texts may share one.
    """
    if isinstance(value, float):
        short = f"{value:g}"
        text = short if float(short) == value else repr(value)
        return text.replace("-", "m").replace("+", "")
    if isinstance(value, tuple):
        return "to".join(squeeze(item) for item in value)
    return _letters(value.spelled() if isinstance(value, Component) else str(value))


def digested(field: str, text: str, name: str) -> str:
    """The token ``name`` with a digest of the ``text`` that it does not hold all of."""
    sha = hashlib.sha256(f"{field}={text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return ".".join(filter(None, (name, f"sha{sha}")))


@lru_cache(maxsize=4096)
def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", text.lower())


def written(name: str, values: Mapping[str, Any]) -> str:
    """``name(key=value, ...)``, which `fedcore.components.written` reads back."""
    words = [f"{key}={_word(value)}" for key, value in values.items()]
    return f"{name}({', '.join(words)})" if words else name


def _word(value: Any) -> str:
    if isinstance(value, Component):
        return value.spelled()
    if isinstance(value, tuple):
        items = [_word(item) for item in value]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    return repr(value)


def redeclare(cls: type[Component], specs: Mapping[str, tuple[Spec, Any]]) -> None:
    """Give ``cls`` parameters as these specs declare them, with another default each.

    REQUIRED as a default makes one that must be given.
    """
    for name, field in cls.__dict__["__dataclass_fields__"].items():
        if name in inspect.get_annotations(cls):
            setattr(cls, name, field)  # as it stood before the class was made a dataclass
    annotations = inspect.get_annotations(cls)
    for name, (spec, default) in specs.items():
        names = ("doc", "low", "high", "open_low", "open_high", "choices", "token", "shared")
        rules = {rule: getattr(spec, rule) for rule in names}
        given = {} if default is REQUIRED else {"default": default}
        setattr(cls, name, param(**rules, **given))
        annotations[name] = int | tuple[int, int] if spec.pair else spec.type
        if spec.optional and default is None:
            annotations[name] |= None
    cls.__annotations__ = annotations
    for name in cls.__dict__["_made_here"]:
        if name in cls.__dict__:
            delattr(cls, name)
    _declare(cls)


def _declare(cls: type[Component]) -> None:
    """Make ``cls`` a frozen dataclass with keyword arguments."""
    cls._made_here = tuple(name for name in _MADE if name not in cls.__dict__)  # type: ignore[attr-defined]
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    for name, field in {field.name: field for field in dataclasses.fields(made)}.items():
        if DECLARED not in field.metadata:
            raise TypeError(
                f"{cls.__qualname__}.{name} is annotated and declares nothing: write it as "
                f"{name}: ... = param('its meaning'), or ClassVar where it is no parameter"
            )
        if (problem := refused(cls, name, _inherited(cls, name))) is not None:
            raise TypeError(problem)
        with contextlib.suppress(AnnotationError):  # it may name what is imported later: `specs`
            spec_of(made, field)
    _specs.cache_clear()


def _inherited(cls: type[Component], name: str) -> object:
    """The member of every component, or the method of a base class, that ``name`` would replace."""
    if name in vars(Component) or name in Component.__annotations__:
        return Component
    for base in cls.__mro__[1:]:
        member = base.__dict__.get(name)
        if callable(member) or isinstance(member, property | classmethod | staticmethod):
            return member
    return None


def _read(cls: Any) -> dict[str, Spec]:
    return {field.name: spec_of(cls, field) for field in dataclasses.fields(cls)}


_specs: Any = cache(_read)  # to mypy a class of dataclasses is not hashable


def _in_force(part: Component, *, nones: bool) -> dict[str, Any]:
    specs = _specs(type(part))
    return {
        name: value
        for name, value in part.parameters().items()
        if (nones or value is not None)
        and name != part.follows
        and not (specs[name].later and value == specs[name].default)
    }


def _registered(kind: str, name: str, module: str, values: Mapping[str, Any]) -> Component:
    """The object of a registered class by its name; ``module`` registers it where nothing has."""
    import importlib

    from fedcore.components.registry import REGISTRIES

    registry = REGISTRIES[kind]
    if name not in registry:
        importlib.import_module(module)
    part: Component = registry.entry(name).part.checked(values)
    return part
