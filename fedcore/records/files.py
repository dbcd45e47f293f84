"""Places to write to, tried before anything is computed for them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fedcore.errors import FedcoreError


class PlaceError(FedcoreError, OSError):
    """A directory that cannot be made or written to."""


def require_writable(directory: Path) -> None:
    """Make ``directory`` if need be and try to write there. Raises PlaceError with the reason."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise PlaceError(
            f"{directory} cannot be written to ({error.strerror or error}): name another directory"
        ) from error
