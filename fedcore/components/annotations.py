"""What an annotation says of a parameter: its type, whether it may be None, pairs and tuples."""

from __future__ import annotations

import inspect
import sys
import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

_SIMPLE = (int, float, str, bool)


class AnnotationError(TypeError):
    """An annotation that cannot be evaluated, or has no form that a parameter can have."""


@dataclass(frozen=True)
class Reading:
    """What an annotation says; the fields are those of `fedcore.components.parameters.Spec`."""

    type: type
    optional: bool = False
    pair: bool = False
    many: bool = False
    length: int | None = None
    choices: tuple[str, ...] = ()


def reading(owner: type, name: str, annotation: Any) -> Reading:
    """The meaning of the ``annotation`` of the parameter ``name`` of the class ``owner``.

    Raises AnnotationError, a TypeError, which names both, where it has no form that a parameter can
    have.
    """
    try:
        hint = _evaluated(owner, name, annotation)
    except Exception as error:  # a name that its module does not have, or has for mypy alone
        raise AnnotationError(
            f"{owner.__qualname__}.{name}: the annotation {annotation!r} cannot be evaluated "
            f"({error}): import its names outside TYPE_CHECKING"
        ) from error
    plain, optional = _without_none(hint)
    found = _form(plain)
    if found is None:
        raise AnnotationError(
            f"{owner.__qualname__}.{name}: a parameter is int, float, str, bool, "
            "int | tuple[int, int], tuple[int, ...], tuple[int, int] or a component, each also "
            f"with | None; got {annotation!r}"
        )
    return Reading(**{**found, "optional": optional})


def _evaluated(owner: type, name: str, annotation: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    declaring = next(c for c in owner.__mro__ if name in inspect.get_annotations(c))
    names = dict(vars(sys.modules[declaring.__module__]))
    return eval(annotation, names, {declaring.__name__: declaring})


def _without_none(hint: Any) -> tuple[list[Any], bool]:
    """The members of a union without None, and whether None was one."""
    union = get_origin(hint) in (Union, types.UnionType)
    members = list(get_args(hint)) if union else [hint]
    return [m for m in members if m is not types.NoneType], types.NoneType in members


def _form(members: list[Any]) -> dict[str, Any] | None:
    if len(members) == 2 and int in members:
        other = next(m for m in members if m is not int)
        return {"type": int, "pair": True} if get_args(other) == (int, int) else None
    if len(members) != 1:
        return None
    (hint,) = members
    if get_origin(hint) is Literal:
        return {"type": str, "choices": tuple(map(str, get_args(hint)))}
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if len(items) == 2 and items[1] is Ellipsis and _known(items[0]):
            return {"type": items[0], "many": True}
        if len(set(items)) == 1 and _known(items[0]):
            return {"type": items[0], "length": len(items)}
        return None
    return {"type": hint} if _known(hint) else None


def _known(hint: Any) -> bool:
    return isinstance(hint, type) and (hint in _SIMPLE or hasattr(hint, "spelled"))
