"""folder:PATH, a user's images in PATH/train/CLASS and PATH/test/CLASS."""

from __future__ import annotations

import os
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np

from fedcore.data.checks import build
from fedcore.data.dataset import DATASETS, Dataset
from fedcore.data.files import PathSource
from fedcore.data.images import SUFFIXES, Images
from fedcore.data.places import mode_of, printable, reading_from
from fedcore.data.warned import collecting
from fedcore.errors import DataError

PARTS: Final = ("train", "test")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)


@DATASETS.register("folder", "folder:PATH, images in PATH/train/CLASS and PATH/test/CLASS")
class Folder(PathSource):
    """Image files, one folder per split and in it one per class; classes in `natural` order.

    Folders inside a class's folder are read, too. All images must have one size, unless
    ``image_size`` says to which they are resized. If all are greyscale the set has one channel,
    otherwise every image becomes RGB; transparency is dropped, and EXIF orientation is applied.
    Hidden files and folders (macOS leaves ._NAME.png beside NAME.png) and files without the suffix
    of an image are skipped; `Dataset.notes` counts them. Links are followed within PATH; one that
    leads out of it is refused, as it may lead to any file of this machine.
    """

    scheme = "folder"
    resizes = True

    def load(self, data_dir: Path, image_size: int | None = None) -> Dataset:
        """Raises `DataError` naming the folder or the file that breaks a rule."""
        root = self.path()
        with reading_from(root):
            tree = Tree(root)
            files = {part: tree.files(part) for part in PARTS}
        size = None if image_size is None else (image_size, image_size)
        with collecting() as warned:
            reader = Images(root, size, warned)
            images = reader.read([file for part in PARTS for file, _ in files[part]])
        count = len(files["train"])
        arrays = {
            "train_images": images[:count],
            "train_labels": np.array([label for _, label in files["train"]]),
            "test_images": images[count:],
            "test_labels": np.array([label for _, label in files["test"]]),
        }
        return build(
            self.called,
            arrays,
            printable(root),
            num_classes=len(tree.classes),
            class_names=tuple(map(printable, tree.classes)),
            notes=(*tree.notes(), *reader.notes(), *warned.notes()),
        )

    def classes(self, data_dir: Path) -> int:
        """Number of class folders; reads no image."""
        root = self.path()
        with reading_from(root):
            return len(Tree(root).classes)


def natural(names: set[str]) -> list[str]:
    """``names`` in order: if all are numbers by value, else with runs of digits as numbers.

    So "2" comes before "10", and "fold2" before "fold10"; other characters by code point.
    """
    if all(map(_NUMBER.fullmatch, names)):
        return sorted(names, key=lambda name: (Decimal(name), name))
    return sorted(names, key=lambda name: (_runs(name), name))


def _runs(name: str) -> list[tuple[str, int]]:
    """``fold10b`` -> [("fold", 10), ("b", -1)]."""
    parts = re.split(r"([0-9]+)", name)
    numbers = [int(digits) for digits in parts[1::2]] + [-1]
    return list(zip(parts[::2], numbers, strict=True))


class Tree:
    """The folders below ``root``: class names, image files, and what is left out.

    Raises DataError where there are not the same classes, two or more, in both splits, and OSError
    where a folder cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._skipped: Counter[str] = Counter()
        self._hidden_folders = self._circles = 0
        self._inside = Path(os.path.realpath(root))
        names = {part: self._class_names(root / part) for part in PARTS}
        odd = natural(names["train"] ^ names["test"])
        if odd:
            raise DataError(
                f"{printable(root)}: train and test must have the same class folders, got "
                f"{', '.join(map(printable, odd))} in only one of them; add the missing ones or "
                "remove these"
            )
        if len(names["train"]) < 2:
            raise DataError(
                f"{printable(root)}: there must be at least 2 class folders in train and test, got "
                f"{', '.join(map(printable, names['train'])) or 'none'}; put each class's images "
                "into one folder"
            )
        self.classes = natural(names["train"])

    def _class_names(self, folder: Path) -> set[str]:
        mode = mode_of(folder)
        if mode is None or not folder.is_dir():
            raise DataError(
                f"{printable(folder)}: there is no such folder; folder:PATH needs "
                "PATH/train/CLASS/ and PATH/test/CLASS/ with the images"
            )
        self._stay_inside(folder)
        names = set()
        with os.scandir(folder) as entries:
            for entry in entries:
                self._check_link(entry)
                if entry.name.startswith("."):
                    self._hide(entry)
                elif entry.is_dir():
                    names.add(entry.name)
                else:
                    self._skipped["beside the class folders"] += 1
        return names

    def files(self, part: str) -> list[tuple[Path, int]]:
        """Image files of a split with their labels, by class and then by path."""
        result: list[tuple[Path, int]] = []
        for label, name in enumerate(self.classes):
            folder = self.root / part / name
            images = sorted(self._images(folder, set()))
            if not images:
                raise DataError(
                    f"{printable(folder)}: there must be at least one image "
                    f"({', '.join(SUFFIXES)}), got none; add some, or remove the class from both "
                    "splits"
                )
            result += [(file, label) for file in images]
        return result

    def _images(self, folder: Path, seen: set[tuple[int, int]]) -> list[Path]:
        """Image files in ``folder`` and the folders in it, each of which is read once."""
        result = []
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                self._circles += 1
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                for entry in entries:
                    self._check_link(entry)
                    if entry.name.startswith("."):
                        self._hide(entry)
                    elif entry.is_dir():
                        waiting.append(current / entry.name)
                    elif Path(entry.name).suffix.lower() in SUFFIXES:
                        result.append(current / entry.name)
                    else:
                        suffix = printable(Path(entry.name).suffix.lower())
                        self._skipped[suffix or "without suffix"] += 1
        return result

    def _check_link(self, entry: os.DirEntry[str]) -> None:
        if entry.is_symlink() and not entry.name.startswith("."):
            self._stay_inside(Path(entry.path))

    def _stay_inside(self, path: Path) -> None:
        """DataError where links lead out of the folder."""
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(self._inside):
            raise DataError(
                f"{printable(path)}: links must stay within {printable(self.root)}, this one leads "
                f"to {printable(target)}; put the files there, or name a folder that holds both"
            )

    def _hide(self, entry: os.DirEntry[str]) -> None:
        if entry.is_dir():
            self._hidden_folders += 1
        else:
            self._skipped["hidden"] += 1

    def notes(self) -> list[str]:
        """What was left out: files by suffix, most first, and folders."""
        notes = []
        if total := self._skipped.total():
            kinds = sorted(self._skipped.items(), key=lambda item: (-item[1], item[0]))
            shown = [f"{count} {kind}" for kind, count in kinds[:8]]
            if rest := sum(count for _, count in kinds[8:]):
                shown.append(f"{rest} with other suffixes")
            notes.append(f"{total} file{'s' * (total != 1)} skipped: {', '.join(shown)}")
        if count := self._hidden_folders:
            notes.append(f"{count} hidden folder{'s' * (count != 1)} skipped")
        if count := self._circles:
            notes.append(f"{count} link{'s' * (count != 1)} to a folder already read skipped")
        with os.scandir(self.root) as entries:
            others = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
        if unread := [printable(name) for name in natural(set(others) - set(PARTS))]:
            more = f" and {len(unread) - 5} more" * (len(unread) > 5)
            notes.append(f"not read, beside train and test: {', '.join(unread[:5])}{more}")
        return notes
