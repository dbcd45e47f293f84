"""One validation for every source: arrays become a `Dataset`, or a `DataError` says why not.

Each message names the place (a path or a data set), the rule, the value found and what to do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from fedcore.data.dataset import Dataset, Split
from fedcore.data.duplicates import duplicate_notes
from fedcore.data.npz import NAMES
from fedcore.data.places import printable
from fedcore.errors import DataError

Array = npt.NDArray[Any]

_LARGEST_LABEL: Final = 2**31 - 1


def refuse(problems: Sequence[str]) -> None:
    """Raise the first of ``problems``, if any, as a `DataError`."""
    if problems:
        raise DataError(problems[0])


def check_images(array: Array, where: str) -> torch.Tensor:
    """Images [n, h, w] or [n, h, w, 1 or 3] as uint8 [n, h, w, c], n, h, w >= 1.

    uint8 is taken as it is; floats in [0, 1] become round(255 * x). Anything else is a `DataError`.
    """
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)):
        raise DataError(
            f"{where}: images must be [n, height, width] or [n, height, width, 1 or 3], "
            f"got shape {list(array.shape)}; move the channels last"
        )
    if 0 in array.shape:
        raise DataError(
            f"{where}: there must be at least one image of one pixel, got shape "
            f"{list(array.shape)}; each split needs samples"
        )
    pixels = array if array.dtype == np.uint8 else _to_bytes(array, where)
    return torch.from_numpy(np.ascontiguousarray(pixels.reshape(*pixels.shape[:3], -1)))


def _to_bytes(array: Array, where: str) -> Array:
    if array.dtype.kind != "f":
        raise DataError(
            f"{where}: images must be uint8, or floats in [0, 1], got {array.dtype}; "
            "scale them to 0..255 and store them as uint8"
        )
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise DataError(
            f"{where}: pixels must be finite, got {bad} of {array.size} that are NaN or infinite; "
            "repair or drop these images"
        )
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise DataError(
            f"{where}: floating-point pixels must lie in [0, 1], got [{low:g}, {high:g}]; "
            "rescale them, or store 0..255 as uint8"
        )
    # float16 cannot tell all multiples of 1/255 apart once they are multiplied out
    wide = array.astype(np.float32) if array.dtype.itemsize < 4 else array
    levels: Array = np.rint(wide * 255).astype(np.uint8)
    return levels


def check_labels(
    array: Array, where: str, *, count: int, num_classes: int | None = None
) -> torch.Tensor:
    """Labels [n] or [n, 1], whole numbers in [0, num_classes), as int64 [n]; n must be ``count``.

    Raises `DataError` otherwise; several columns mean a multi-label set, which has no place here.
    """
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise DataError(
            f"{where}: labels must be [n] or [n, 1], got shape {list(array.shape)}; "
            "give each sample one class index (not one-hot, not several labels)"
        )
    labels = array.reshape(-1)
    if len(labels) != count:
        raise DataError(
            f"{where}: there must be one label per image, got {len(labels)} labels for "
            f"{count} images; the arrays do not belong together"
        )
    if labels.dtype.kind not in "biuf":
        raise DataError(f"{where}: labels must be whole numbers, got {labels.dtype}; number them")
    if labels.dtype.kind == "f":
        fractional = labels[~(np.isfinite(labels) & (labels == np.floor(labels)))]
        if len(fractional):
            raise DataError(
                f"{where}: labels must be whole numbers, got {fractional[0]} and "
                f"{len(fractional) - 1} more that are not; number the classes from 0"
            )
    if labels.min() < 0:
        raise DataError(f"{where}: labels must be >= 0, got {labels.min()}; number classes from 0")
    highest = _LARGEST_LABEL if num_classes is None else num_classes - 1
    if labels.max() > highest:
        raise DataError(
            f"{where}: labels must be <= {highest}, got {labels.max()}; number the classes from 0"
        )
    return torch.from_numpy(labels.astype(np.int64))


def build(
    name: str,
    arrays: Mapping[str, Array],
    where: str,
    *,
    num_classes: int | None = None,
    class_names: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Dataset:
    """The validated data set of the arrays under `npz.KEYS`, which come from ``where``.

    ``num_classes`` is what the publisher states; None takes the largest label + 1 and then
    insists that every class occurs, because a gap is nearly always a labelling mistake.
    ``class_names`` fall back on the array under `npz.NAMES`, then on numbers. Test images that are
    training images as well are noted; see `fedcore.data.duplicates` for when they are refused.
    """
    splits = []
    for part in ("train", "test"):
        images = check_images(arrays[f"{part}_images"], f"{where}, {part}_images")
        labels = check_labels(
            arrays[f"{part}_labels"],
            f"{where}, {part}_labels",
            count=len(images),
            num_classes=num_classes,
        )
        splits.append(Split(images, labels))
    train, test = splits
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{where}: both splits must hold images of one shape, got "
            f"{list(train.images.shape[1:])} in train and {list(test.images.shape[1:])} in test; "
            "convert one of them"
        )
    classes = _classes(train, test, where) if num_classes is None else num_classes
    names = class_names or _names(arrays.get(NAMES), classes, where)
    notes = (*notes, *duplicate_notes(train, test, where))
    return Dataset(name, train, test, classes, digest(train, test), notes, names)


def _names(array: Array | None, classes: int, where: str) -> tuple[str, ...]:
    """The names in ``array``, one a class; numbers where there is none."""
    if array is None:
        return tuple(map(str, range(classes)))
    if array.dtype.kind not in "US" or array.shape != (classes,):
        raise DataError(
            f"{where}, {NAMES}: must be {classes} strings, one for each class, got {array.dtype} "
            f"of shape {list(array.shape)}; correct them, or leave them out"
        )
    texts = array.tolist()
    return tuple(printable(os.fsdecode(text)) for text in texts)


def _classes(train: Split, test: Split, where: str) -> int:
    seen = torch.unique(torch.cat([train.labels, test.labels]))
    classes = int(seen[-1]) + 1
    if classes < 2:
        raise DataError(f"{where}: there must be at least 2 classes, got the single label 0")
    if len(seen) < classes:
        gap = next(k for k, label in enumerate(seen.tolist()) if k != label)
        raise DataError(
            f"{where}: labels must use every class from 0 to the largest, {classes - 1}, got none "
            f"of class {gap} in either split; number the classes 0, 1, 2 without gaps"
        )
    return classes


def digest(train: Split, test: Split) -> str:
    """First 16 hexadecimal digits of the SHA-256 over shapes, images and labels of both splits."""
    sha = hashlib.sha256()
    for split in (train, test):
        for tensor in (split.images, split.labels):
            sha.update(repr(tuple(tensor.shape)).encode())
            sha.update(tensor.contiguous().numpy().data)
    return sha.hexdigest()[:16]
