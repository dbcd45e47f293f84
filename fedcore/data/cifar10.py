"""CIFAR-10: 60,000 photographs of ten kinds of things, 32x32 in colour.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The publisher's archive
for Python, https://www.cs.toronto.edu/~kriz/cifar.html, is looked for as
``<data_dir>/cifar-10-python.tar.gz`` and otherwise downloaded there. Its content is pickles: so it
is used only with the publisher's digest, and read by `fedcore.data.pickled`, which runs none of it.
Images are its training batches 1 to 5, in order, and its test batch.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedcore.data.checks import Array, build, refuse
from fedcore.data.dataset import DATASETS, Dataset, Source
from fedcore.data.download import fetch
from fedcore.data.pickled import read_pickle
from fedcore.data.places import is_file, opened
from fedcore.errors import DataError

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
ARCHIVE: Final = "cifar-10-python.tar.gz"
CLASS_NAMES: Final = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_FOLDER: Final = "cifar-10-batches-py"
_TRAIN: Final = tuple(f"{_FOLDER}/data_batch_{number}" for number in range(1, 6))
_TEST: Final = (f"{_FOLDER}/test_batch",)
_MOST_BYTES: Final = 256 << 20  # of the archive, whose 170,498,071 bytes are held in memory
_MOST_OF_A_FILE: Final = 64 << 20  # in it; a batch has 31 MB
_MOST_FILES: Final = 64
_SIDE: Final = 32


@DATASETS.register("cifar10", "CIFAR-10: photographs, RGB, 10 classes, 32x32 (Krizhevsky 2009)")
class Cifar10(Source):
    """The publisher's archive in ``data_dir``."""

    def load(self, data_dir: Path) -> Dataset:
        """50,000 training and 10,000 test images [n, 32, 32, 3].

        Raises `DataError` where the archive can be neither found nor fetched, or is not the
        publisher's.
        """
        refuse(self.argument_problems())
        path = data_dir / ARCHIVE
        if not is_file(path):
            fetch(ADDRESS, path, MD5, most=_MOST_BYTES)
        files = _files(_content(path), str(path))
        arrays = {}
        for split, names in (("train", _TRAIN), ("test", _TEST)):
            images, labels = _batches(files, names, str(path))
            arrays[f"{split}_images"], arrays[f"{split}_labels"] = images, labels
        return build(self.called, arrays, str(path), num_classes=10, class_names=CLASS_NAMES)

    def classes(self, data_dir: Path) -> int | None:
        return 10


def _content(path: Path) -> bytes:
    """The bytes of the archive, whose digest is the publisher's: those that are read are checked.

    Raises DataError for any other file.
    """
    with opened(path) as file:  # of any size: its digest is told
        content = file.read(_MOST_BYTES + 1)
    found = hashlib.sha256(content).hexdigest()
    if found == SHA256:
        return content
    size = f"{len(content)}" if len(content) <= _MOST_BYTES else f"more than {_MOST_BYTES}"
    raise DataError(
        f"{path}: must be the publisher's archive with SHA-256 {SHA256[:16]}..., got "
        f"{found[:16]}... of {size} bytes; its pickles are read from that alone: delete the file, "
        f"or put the one from {ADDRESS} there"
    )


def _files(content: bytes, where: str) -> dict[str, bytes]:
    """The content of each batch in the archive, by its name."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for number, member in enumerate(archive):
                if number >= _MOST_FILES:
                    raise ValueError(f"it holds more than {_MOST_FILES} files")
                if member.name not in (*_TRAIN, *_TEST):
                    continue
                if not member.isreg() or member.size > _MOST_OF_A_FILE or member.name in found:
                    raise ValueError(f"{member.name} is no single file of {_MOST_OF_A_FILE} bytes")
                file = archive.extractfile(member)
                found[member.name] = b"" if file is None else file.read()
    except Exception as error:  # of a damaged archive come many types
        raise DataError(
            f"{where}: cannot be read as an archive ({type(error).__name__}: {error}); fetch it "
            f"again from {ADDRESS}"
        ) from error
    if missing := [name for name in (*_TRAIN, *_TEST) if name not in found]:
        raise DataError(f"{where}: {', '.join(missing)} missing; fetch it again from {ADDRESS}")
    return found


def _batches(files: dict[str, bytes], names: Sequence[str], where: str) -> tuple[Array, Array]:
    """Images [n, 32, 32, 3] and labels [n] of the batches ``names``, one after the other."""
    images, labels = [], []
    for name in names:
        batch: Any = read_pickle(files[name], f"{where}, {name}")
        keys = batch if isinstance(batch, dict) else {}
        data, given = np.asarray(keys.get(b"data")), keys.get(b"labels")
        shaped = data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3 * _SIDE**2
        if not shaped or not isinstance(given, list) or any(type(n) is not int for n in given):
            raise DataError(
                f"{where}, {name}: must hold b'data' [n, {3 * _SIDE**2}] uint8 and b'labels', a "
                f"list of n integers; fetch the archive again from {ADDRESS}"
            )
        # a row is a red, a green and a blue image
        images.append(data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
        labels.append(np.array(given, np.int64))
        if len(images[-1]) != len(given):
            raise DataError(f"{where}, {name}: {len(given)} labels for {len(images[-1])} images")
    return np.concatenate(images), np.concatenate(labels)
