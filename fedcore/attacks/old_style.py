"""Label attacks written as classmethods that are told a scenario, as before they owned parameters.

They go on as they are: where they took the scenario they get the attack itself, which answers for
its parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final


def _eligible(function: Callable[..., Any]) -> Any:
    return lambda self, labels: function(type(self), labels, self)


def _relabel(function: Callable[..., Any]) -> Any:
    def relabel(self: Any, labels: Any, num_classes: int, generator: Any) -> Any:
        return function(type(self), labels, num_classes, self, generator)

    return relabel


def _data_problems(function: Callable[..., Any]) -> Any:
    return lambda self, num_classes, shape: function(type(self), self, num_classes)


def _success_classes(function: Callable[..., Any]) -> Any:
    return property(lambda self: function(type(self), self))


_METHODS: Final = {
    "eligible": _eligible,
    "relabel": _relabel,
    "data_problems": _data_problems,
    "success_classes": _success_classes,
}


def adapt(cls: type) -> None:
    """Make the classmethods of ``cls`` that take a scenario into methods that take none."""
    for name, method in _METHODS.items():
        own = cls.__dict__.get(name)
        if isinstance(own, classmethod):
            setattr(cls, name, method(own.__func__))
