"""Reading the arrays of an npz file with the keys of MedMNIST."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fedcore.errors import DataError

if TYPE_CHECKING:  # it imports torch, during which this module reads: see `fedcore.data.contents`
    from fedcore.data.checks import Array

KEYS: Final = ("train_images", "train_labels", "test_images", "test_labels")


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of `KEYS` in the file at ``path``; other arrays are not read.

    Raises `DataError` where the file is missing, truncated, no npz archive, or lacks a key.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; correct the path or put the file there")
    try:
        # opened here: numpy leaves a file that it opens itself open when the archive is damaged
        with path.open("rb") as file:
            return _arrays(np.load(file, allow_pickle=False), path)
    except DataError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read as an npz archive ({type(error).__name__}: {error}); "
            "the file is truncated or corrupt: fetch or write it again"
        ) from error


def _arrays(archive: Any, path: Path) -> dict[str, Array]:
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: must be an npz archive, got one bare array; use numpy.savez")
    missing = [key for key in KEYS if key not in archive.files]
    if missing:
        raise DataError(
            f"{path}: must hold the arrays {', '.join(KEYS)}; {', '.join(missing)} missing among "
            f"{', '.join(archive.files) or 'none'}; store them under these names"
        )
    return {key: archive[key] for key in KEYS}
