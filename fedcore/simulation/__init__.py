"""Simulation of federations in this process: single runs, and several in lockstep."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`run`, on first use: it imports all engines."""
    if name == "run":
        from fedcore.simulation.runner import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
