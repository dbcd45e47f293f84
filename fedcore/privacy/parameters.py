"""Parameters that several mechanisms have, declared once."""

from __future__ import annotations

from typing import Any

from fedcore.components.parameters import param


def epsilon() -> Any:
    """Required."""
    return param("privacy loss of one participation", low=0, open_low=True, token="epsilon")


def delta() -> Any:
    """1e-5 by default."""
    return param(
        "probability that epsilon fails",
        default=1e-5,
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        token="delta",
    )


def clip_norm() -> Any:
    """1 by default."""
    doc = "C: longest update (dpsgd: gradient of a sample)"
    return param(doc, default=1.0, low=0, open_low=True, token="clip")


def neighbours() -> Any:
    """``replace`` by default."""
    return param(
        "which change of a client's data is hidden",
        default="replace",
        choices=("replace", "zero-out"),
        token="",
    )


def released() -> Any:
    """``whole`` by default."""
    return param(
        "what clients train and send: all, or the last linear layer",
        default="whole",
        choices=("whole", "head"),
        token="",
    )


def buffers() -> Any:
    """``frozen`` by default."""
    return param(
        "what becomes of running statistics",
        default="frozen",
        choices=("local", "frozen", "released"),
        token="buffers",
    )


def epsilon_budget() -> Any:
    """None by default."""
    return param(
        "total of a client before which the run ends",
        default=None,
        low=0,
        open_low=True,
        token="budget",
    )
