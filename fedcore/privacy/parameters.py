"""Parameters that several mechanisms have, declared once."""

from __future__ import annotations

from typing import Any

from fedcore.components.parameters import param


def epsilon() -> Any:
    """``epsilon`` > 0 of one participation, which must be given."""
    return param("privacy loss of one participation", low=0, open_low=True, token="epsilon")


def delta() -> Any:
    """``delta`` in (0, 1), 1e-5 by default."""
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
    """``clip_norm`` > 0, 1 by default."""
    doc = "C: longest update (dpsgd: gradient of a sample)"
    return param(doc, default=1.0, low=0, open_low=True, token="clip")


def neighbours() -> Any:
    """``neighbours``, the relation of data sets: ``replace``, the default, or ``zero-out``."""
    return param(
        "which change of a client's data is hidden",
        default="replace",
        choices=("replace", "zero-out"),
        token="",
    )


def released() -> Any:
    """``released``, the part that is trained and sent: ``whole``, the default, or ``head``."""
    return param(
        "what clients train and send: all, or the last linear layer",
        default="whole",
        choices=("whole", "head"),
        token="",
    )


def buffers() -> Any:
    """``buffers``, of running statistics: ``local``, ``frozen``, the default, or ``released``."""
    return param(
        "what becomes of running statistics",
        default="frozen",
        choices=("local", "frozen", "released"),
        token="buffers",
    )


def epsilon_budget() -> Any:
    """``epsilon_budget`` > 0 over all participations; None, the default, for no limit."""
    return param(
        "total of a client before which the run ends",
        default=None,
        low=0,
        open_low=True,
        token="budget",
    )
