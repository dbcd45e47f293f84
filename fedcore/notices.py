"""Warnings that inform and never end a run, whatever filters are set."""

from __future__ import annotations

import warnings


def notify(message: str, category: type[Warning]) -> None:
    """Emit a warning of ``category``; under ``-W error`` too it is shown or recorded, not raised.

    A pytest session lists it in its summary of warnings.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", category)
        warnings.warn(message, category, stacklevel=3)
