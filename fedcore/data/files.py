"""A user's own data: ``npz:PATH`` with MedMNIST's keys, ``folder:PATH`` with images in folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from fedcore.data.base import DATASETS, Dataset, Source
from fedcore.data.checks import Array, argument, build, refuse
from fedcore.data.npz import read_npz
from fedcore.errors import DataError

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_GREY_MODES: Final = ("1", "L", "LA")
_COLOUR_MODES: Final = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


class PathSource(Source):
    """Base of the sources whose name carries a path: ``scheme:PATH``."""

    scheme: ClassVar[str]

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        """A message if the path is left out."""
        return cls._problems(scenario.dataset)

    @classmethod
    def path(cls, name: str) -> Path:
        """The path in ``name``, ``~`` expanded, relative to the working directory."""
        refuse(cls._problems(name))
        return Path(argument(name)).expanduser()

    @classmethod
    def _problems(cls, name: str) -> list[str]:
        if argument(name):
            return []
        return [f"dataset {name!r} needs a path after a colon: {cls.scheme}:PATH"]


@DATASETS.register("npz", "npz:PATH, a file with the keys of MedMNIST")
class NpzFile(PathSource):
    """Arrays ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` of one file."""

    scheme = "npz"

    @classmethod
    def load(cls, name: str, data_dir: Path) -> Dataset:
        """See `checks.build` for what the arrays must be; classes = largest label + 1."""
        path = cls.path(name)
        return build(name, read_npz(path), str(path))


@DATASETS.register("folder", "folder:PATH, images in PATH/train/CLASS and PATH/test/CLASS")
class Folder(PathSource):
    """Image files, one folder per split and in it one per class; classes in order of name.

    All images must have one size. If all are greyscale the set has one channel, otherwise every
    image becomes RGB; transparency is dropped. Hidden folders, hidden files
    (macOS leaves ._NAME.png beside NAME.png) and other kinds of files are skipped.
    """

    scheme = "folder"

    @classmethod
    def load(cls, name: str, data_dir: Path) -> Dataset:
        """Raises `DataError` naming the folder or the file that breaks a rule."""
        root = cls.path(name)
        classes = _class_names(root)
        files = {part: _files(root / part, classes) for part in ("train", "test")}
        images = _read_all([file for part in files.values() for file, _ in part])
        count = len(files["train"])
        arrays = {
            "train_images": images[:count],
            "train_labels": np.array([label for _, label in files["train"]]),
            "test_images": images[count:],
            "test_labels": np.array([label for _, label in files["test"]]),
        }
        return build(name, arrays, str(root), num_classes=len(classes))


def _class_names(root: Path) -> list[str]:
    """Names of the class folders, sorted; both splits must have the same, two or more."""
    names = {}
    for part in ("train", "test"):
        folder = root / part
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder; folder:PATH needs PATH/train/CLASS/ and "
                "PATH/test/CLASS/ with the images"
            )
        names[part] = {
            entry.name
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        }
    odd = sorted(names["train"] ^ names["test"])
    if odd:
        raise DataError(
            f"{root}: train and test must have the same class folders, got {', '.join(odd)} in "
            "only one of them; add the missing ones or remove these"
        )
    if len(names["train"]) < 2:
        raise DataError(
            f"{root}: there must be at least 2 class folders in train and test, got "
            f"{', '.join(names['train']) or 'none'}; put each class's images into one folder"
        )
    return sorted(names["train"])


def _files(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """Image files below ``folder`` with their labels, by class and then by file name."""
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        images = sorted(
            file
            for file in (folder / name).iterdir()
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
        if not images:
            raise DataError(
                f"{folder / name}: there must be at least one image ({', '.join(SUFFIXES)}), got "
                "none; add some, or remove the class from both splits"
            )
        found += [(file, label) for file in images]
    return found


def _read_all(files: list[Path]) -> Array:
    """All images as one array [n, h, w, 1], or [n, h, w, 3] if any is in colour; uint8."""
    images = [_read(file) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            height, width = image.shape[:2]
            raise DataError(
                f"{file}: all images must have one size, got {width}x{height} (width x height) "
                f"where {files[0]} has {images[0].shape[1]}x{images[0].shape[0]}; resize them"
            )
    channels = max(image.shape[2] for image in images)
    batch = np.empty((len(images), *images[0].shape[:2], channels), np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[:] = image  # a grey image fills all three channels of a set in colour
    return batch


def _read(file: Path) -> Array:
    """One image as [h, w, 1 or 3] uint8."""
    from PIL import Image  # here: every run looks at this module, few read images

    try:
        with Image.open(file) as image:
            if image.mode in _GREY_MODES:
                return np.asarray(image.convert("L"))[..., None]
            if image.mode in _COLOUR_MODES:
                return np.asarray(image.convert("RGB"))
            mode = image.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{file}: cannot be read as an image ({type(error).__name__}: {error}); "
            "replace or remove it"
        ) from error
    raise DataError(
        f"{file}: pixels must have 8 bits a channel, got Pillow's mode {mode!r}; convert the image"
    )
