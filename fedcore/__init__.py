"""fedcore: federated learning under attack, with numbers that can be believed.

>>> from fedcore import Scenario
>>> Scenario(strategy="fednova", partition="dirichlet", alpha=0.1).id
'fednova-dirichlet0.1-clean'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedcore import moved as _moved
from fedcore._version import __version__
from fedcore.origin import sources as _sources  # noqa: F401  before any file is read

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario
    from fedcore.simulation.runner import run

_moved.install()

__all__ = ["Record", "Scenario", "__version__", "run"]


def __getattr__(name: str) -> Any:
    """The names above on first use: two need torch, and pytest imports this in every project."""
    if name == "Scenario":
        from fedcore.scenario import Scenario

        return Scenario
    if name == "run":
        from fedcore.simulation.runner import run

        return run
    if name == "Record":
        from fedcore.records.record import Record

        return Record
    raise AttributeError(f"module 'fedcore' has no attribute {name!r}")
