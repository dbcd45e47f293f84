"""Reading the arrays of an npz file with the keys of MedMNIST."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fedcore.data.places import is_file, opened, unreadable
from fedcore.errors import DataError

KEYS: Final = ("train_images", "train_labels", "test_images", "test_labels")
NAMES: Final = "class_names"  # strings, one a class; may be left out
_SYSTEM: Final = (errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ESTALE)


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of `KEYS` in the file at ``path``, and `NAMES` if there; others are not read.

    Raises `DataError` where the file is missing, not to be read, truncated, no npz archive, or
    lacks a key.
    """
    if not is_file(path):
        raise DataError(f"{path}: there is no such file; correct the path or put the file there")
    # opened here: numpy leaves a file that it opens itself open when the archive is damaged
    file = opened(path)
    try:
        with file:
            return _arrays(np.load(file, allow_pickle=False), path)
    except DataError:
        raise
    except Exception as error:  # of a damaged archive come many types
        if isinstance(error, OSError) and error.errno in _SYSTEM:
            raise unreadable(path, error) from error
        raise DataError(
            f"{path}: cannot be read as an npz archive ({type(error).__name__}: {error}); "
            "the file is truncated or corrupt: fetch or write it again"
        ) from error


def _arrays(archive: Any, path: Path) -> dict[str, npt.NDArray[Any]]:
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: must be an npz archive, got one bare array; use numpy.savez")
    missing = [key for key in KEYS if key not in archive.files]
    if missing:
        raise DataError(
            f"{path}: must hold the arrays {', '.join(KEYS)}; {', '.join(missing)} missing among "
            f"{', '.join(archive.files) or 'none'}; store them under these names"
        )
    return {key: archive[key] for key in (*KEYS, NAMES) if key in archive.files}
