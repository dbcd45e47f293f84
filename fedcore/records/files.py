"""Places to write to, tried before anything is computed for them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fedcore.errors import FedcoreError

#: Bytes that there must be room for: a few records, or the files of a small report.
_ROOM = 1 << 18


class PlaceError(FedcoreError, OSError):
    """A directory that cannot be made or written to."""


def require_writable(directory: Path) -> None:
    """Make ``directory`` if need be and try to write there. Raises PlaceError with the reason."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(_ROOM))  # on a full disk a file can be made, and stays empty
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PlaceError(
            f"{directory} cannot be written to ({error.strerror or error}): name another directory"
        ) from error
