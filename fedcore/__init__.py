"""fedcore: federated learning under attack, with numbers that can be believed.

>>> from fedcore import Scenario
>>> Scenario(strategy="fednova", partition="dirichlet", alpha=0.1).id
'fednova-dirichlet0.1-clean'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedcore import moved as _moved
from fedcore.origin import sources as _sources  # noqa: F401  before any file is read
from fedcore.scenario import Scenario

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.simulation.runner import run

_moved.install()

__version__ = "0.1.0"
__all__ = ["Record", "Scenario", "run"]


def __getattr__(name: str) -> Any:
    """`run` and `Record` on first use: they need torch, which takes a second to import."""
    if name == "run":
        from fedcore.simulation.runner import run

        return run
    if name == "Record":
        from fedcore.records.record import Record

        return Record
    raise AttributeError(f"module 'fedcore' has no attribute {name!r}")
