"""Loading a data set by name, and where downloaded files live."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path

from fedcore.cache_folder import user_cache
from fedcore.components.written import component
from fedcore.data.dataset import Dataset, Source
from fedcore.data.medmnist import SETS
from fedcore.data.places import expanded, reading_from
from fedcore.data.warned import collecting
from fedcore.errors import FedcoreError

# The suite works through few sets at a time; more would only hold memory.
_CACHED_SETS = 4


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
) -> Dataset:
    """The data set called ``name`` (``mnist5k``, ``npz:PATH``, ``acme/retina(grade=2)``, ...).

    ``data_dir`` as in `data_directory`. ``image_size`` is the side in pixels that the scenario asks
    for: sources that read single image files (``folder:PATH``) resize to it as they read, others
    leave it to `fedcore.data.transforms`. A process loads a set once: the result is shared, so its
    tensors must not be written to. Warnings raised on the way become `Dataset.notes`. Raises
    `UnknownNameError` for a name that nothing is registered under and `DataError` where the data
    are missing, not to be read, damaged or invalid.
    """
    directory = data_directory(data_dir)
    with reading_from("."):  # the working directory may be gone
        here = Path.cwd()
    # a relative PATH means another file in another working directory
    source = source_of(name)
    return _load(source, directory, here, image_size if source.resizes else None)


def source_of(name: str) -> Source:
    """The source that ``name`` describes. UnknownNameError, or ScenarioError for its parameters."""
    source: Source = component("dataset", name)
    return source


def known_classes(name: str, data_dir: str | os.PathLike[str] | None = None) -> int | None:
    """Number of classes of the data set called ``name``, as far as that needs no download.

    None where only the publisher's file could tell, or the data cannot be had; `load` says why.
    """
    published = SETS.get(name.removeprefix("holdout:"))
    if published is not None:
        return published.num_classes
    try:
        known = source_of(name).classes(data_directory(data_dir))
        return load(name, data_dir).num_classes if known is None else known
    except FedcoreError:
        return None


@functools.lru_cache(maxsize=_CACHED_SETS)
def _load(
    source: Source, directory: Path, working_directory: Path, image_size: int | None
) -> Dataset:
    with collecting() as warned, reading_from(source.argument or directory):
        more = (image_size,) if source.resizes else ()
        dataset = source.load(directory, *more)
    if not (notes := warned.notes()):
        return dataset
    return dataclasses.replace(dataset, notes=(*dataset.notes, *notes))


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The absolute directory of data files, which need not exist yet.

    ``data_dir`` (--data-dir) if given, else $FEDCORE_DATA, else ``fedcore`` in the user's cache
    directory: %LOCALAPPDATA% on Windows, elsewhere $XDG_CACHE_HOME or ~/.cache. An empty variable
    counts as unset. Raises DataError where it is in the home of a user who has none.
    """
    chosen = data_dir or os.environ.get("FEDCORE_DATA")
    with reading_from("."):
        return expanded(chosen or user_cache() / "fedcore").absolute()
