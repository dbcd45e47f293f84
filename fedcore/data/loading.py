"""Loading a data set by name, and where downloaded files live."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from fedcore.data.base import DATASETS, Dataset
from fedcore.errors import FedcoreError
from fedcore.validation import registered_name

# The suite works through few sets at a time; more would only hold memory.
_CACHED_SETS = 4


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """The data set called ``name`` (``mnist5k``, ``bloodmnist``, ``npz:PATH``, ...).

    ``data_dir`` as in `data_directory`. A process loads a set once: the result is shared, so its
    tensors must not be written to. Raises `UnknownNameError` for a name that nothing is registered
    under and `DataError` where the data are missing, damaged or invalid.
    """
    # a relative PATH means another file in another working directory
    return _load(name, data_directory(data_dir), Path.cwd())


def known_classes(name: str, data_dir: str | os.PathLike[str] | None = None) -> int | None:
    """Number of classes of the data set called ``name``, as far as that needs no download.

    None where only the publisher's file could tell, or the data cannot be had; `load` says why.
    """
    from fedcore.data.medmnist import SETS  # it registers itself, which needs this package

    published = SETS.get(name.removeprefix("holdout:"))
    if published is not None:
        return published.num_classes
    try:
        return load(name, data_dir).num_classes
    except FedcoreError:
        return None


@functools.lru_cache(maxsize=_CACHED_SETS)
def _load(name: str, directory: Path, working_directory: Path) -> Dataset:
    return DATASETS[registered_name("dataset", name)].load(name, directory)


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The absolute directory of data files, which need not exist yet.

    ``data_dir`` (--data-dir) if given, else $FEDCORE_DATA, else ``fedcore`` in the user's cache
    directory: %LOCALAPPDATA% on Windows, elsewhere $XDG_CACHE_HOME or ~/.cache. An empty variable
    counts as unset.
    """
    chosen = data_dir or os.environ.get("FEDCORE_DATA")
    return Path(chosen or user_cache() / "fedcore").expanduser().absolute()


def user_cache() -> Path:
    """The directory of this user's caches, which need not exist yet."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification has relative paths ignored
    return Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
