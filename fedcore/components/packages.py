"""Components of other packages: entry points, import paths, and which package a class is from.

A package names the module that registers its components in the group ``fedcore``::

    [project.entry-points.fedcore]
    acme = "acme_fl.fedcore_components"

What is registered anywhere in ``acme_fl`` is then called ``acme/NAME``. The modules are imported
when a registry is first asked for a name; one that cannot be imported is named in the message for
an unknown name and by ``fedcore list``, and does not stop the others. Of two distributions with one
entry point ``acme`` neither is imported, and every name ``acme/...`` is refused.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any, Final

from fedcore.components.patience import ImportTimeError, impatient
from fedcore.errors import RegistrationError, nearest
from fedcore.origin.search import distributions

GROUP: Final = "fedcore"
_SHOWN: Final = 200  # characters of what others wrote, in messages
_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

_broken: dict[str, str] = {}
_waited: dict[str, str] = {}  # modules that were not imported in time
_state = {"asked": False, "loading": False}


def is_path(name: str) -> bool:
    """Whether ``name`` has the form ``package.module:Class``."""
    return _PATH.fullmatch(name) is not None


def imported(kind: str, path: str) -> Any:
    """The object at an import path. RegistrationError where there is none, with what is near."""
    module, _, name = path.partition(":")
    try:
        if module in _waited:  # not waited for again
            raise ImportTimeError(_waited[module])
        with impatient():
            loaded = importlib.import_module(module)
            if hasattr(loaded, name):  # a module may have a __getattr__ of its own
                return getattr(loaded, name)
            close = nearest(name, vars(loaded))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a module of others raises while it is imported
        if isinstance(error, ImportTimeError):
            _waited[module] = str(error)
        own = isinstance(error, Exception)
        todo = "its name, and that its folder is on PYTHONPATH" if own else "its module-level code"
        raise RegistrationError(
            f"{kind} {_clipped(path)}: the module {_clipped(module)} "
            f"{_failure(error, 'imported')}; check {todo}"
        ) from error
    hint = f"; did you mean {close!r}?" if close else ""
    raise RegistrationError(
        f"{kind} {_clipped(path)}: the module {_clipped(module)} has no {_clipped(name)}{hint}"
    )


def load_entry_points() -> None:
    """Import the modules of all entry points of the group, once in a process."""
    if _state["asked"]:
        return
    _state["asked"] = True  # first: the modules below may ask while they are imported
    _broken.update(_disputed())
    for point in _points():
        if point.name in _disputed():
            continue
        with _loading():
            try:
                with impatient():
                    point.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever a module of others raises
                what = f"entry point {point.name!r} ({point.value}) of {_provider(point)}"
                _broken[point.name] = f"{what} {_failure(error, 'loaded')}"


def _failure(error: BaseException, done: str) -> str:
    """What ``error`` did to an import, ``imported`` or ``loaded``."""
    try:
        text = str(error)[:_SHOWN]
    except Exception:  # an exception of others may not even print
        text = "without a message"
    if isinstance(error, Exception):
        return f"cannot be {done} ({type(error).__name__}: {text})"
    if isinstance(error, ImportTimeError):
        return f"cannot be {done}: {text}"
    return f"ended with {type(error).__name__} {text} while it was imported"


def _clipped(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def broken() -> tuple[str, ...]:
    """What is wrong with each entry point that could not be loaded."""
    return tuple(_broken.values())


def qualified(name: str, module: str) -> str:
    """``acme/NAME`` where ``module`` is of a package with an entry point ``acme``.

    RegistrationError where two packages have that entry point.
    """
    top = module.partition(".")[0]
    if top == "fedcore":
        return name
    space = _namespaces().get(top)
    full = name if "/" in name or space is None else f"{space}/{name}"
    if (problem := disputed(full)) is not None:
        raise RegistrationError(problem)
    return full


def disputed(name: str) -> str | None:
    """Why ``acme/NAME`` has no owner: two packages have the entry point ``acme``; else None."""
    space, slash, _ = name.partition("/")
    return _disputed().get(space) if slash else None


def distribution(module: str) -> str:
    """The distribution that ``module`` was installed with; else its top-level module."""
    top = module.partition(".")[0]
    if top == "fedcore":
        return top
    names = distributions().get(top)
    return names[0] if names else top


def described(module: str) -> str:
    """``acme-fl (module acme_fl.attacks)``."""
    return f"{distribution(module)} (module {module})"


def loading() -> bool:
    """Whether entry points are being imported."""
    return _state["loading"]


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    _state["loading"] = True
    try:
        yield
    finally:
        _state["loading"] = False


def _points() -> list[metadata.EntryPoint]:
    points = set(metadata.entry_points(group=GROUP))
    return sorted(points, key=lambda point: (point.name, _provider(point), point.value))


def _provider(point: metadata.EntryPoint) -> str:
    owner = getattr(point, "dist", None)
    return "an unknown package" if owner is None else str(owner.name)


@functools.cache
def _disputed() -> dict[str, str]:
    """By name of an entry point that several distributions have: their names, as a message."""
    providers: dict[str, list[str]] = {}
    for point in _points():
        owners = providers.setdefault(point.name, [])
        if _provider(point) not in owners:
            owners.append(_provider(point))
    return {
        name: f"entry point {name!r} is of several packages, {' and '.join(owners)}: uninstall all "
        "but one, or have one choose another name"
        for name, owners in providers.items()
        if len(owners) > 1
    }


@functools.cache
def _namespaces() -> dict[str, str]:
    """The name of the entry point by top-level module."""
    return {point.value.partition(":")[0].partition(".")[0]: point.name for point in _points()}
