"""The engines that train through Flower; flwr itself is imported when one of them is asked for."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from fedcore.engine.interface import ENGINES, Engine
from fedcore.errors import FedcoreError

if TYPE_CHECKING:
    from fedcore.engine.execution import Execution
    from fedcore.federation.federation import Federation


@ENGINES.register("flower-grid", "Flower's messages and records, all clients in this process")
def grid(federation: Federation, execution: Execution) -> Engine:
    """An engine whose clients answer messages in process."""
    return _make("local", federation, execution)


@ENGINES.register("flower-ray", "Flower's simulation on Ray: clients in actor processes")
def ray(federation: Federation, execution: Execution) -> Engine:
    """An engine whose clients are SuperNodes of a Ray simulation."""
    return _make("ray", federation, execution)


_releases: list[Callable[[], None]] | None = None


def keep_between_runs() -> None:
    """Have engines keep what is slow to start, such as Ray, until `release`."""
    global _releases
    _releases = _releases or []


def kept_until(release: Callable[[], None]) -> bool:
    """Whether what ``release`` ends is kept between runs; if so `release` will call it."""
    if _releases is None:
        return False
    if release not in _releases:
        _releases.append(release)
    return True


def release() -> None:
    """End what has been kept."""
    global _releases
    kept, _releases = _releases or [], None
    for end in kept:
        end()


def _make(module: str, federation: Federation, execution: Execution) -> Engine:
    require_flower()
    with _of_their_imports():
        factory = importlib.import_module(f"fedcore.flower.{module}").engine
    return cast(Engine, factory(federation, execution))


def require_flower() -> None:
    """FedcoreError, with how to install it, where flwr is not to be had."""
    try:
        with _of_their_imports():
            importlib.import_module("flwr")
    except ImportError as error:
        raise FedcoreError(
            f"this needs Flower, which cannot be imported ({error}): pip install -c "
            'constraints.txt "fedcore-bench[flower]", or -e ".[flower]" in a checkout'
        ) from error


@contextlib.contextmanager
def _of_their_imports() -> Iterator[None]:
    """No warnings of the packages that flwr imports: where they are errors, it could not be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
