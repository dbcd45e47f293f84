"""A user's own data by path: ``npz:PATH``, a file with MedMNIST's keys."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fedcore.data.checks import build, refuse
from fedcore.data.dataset import DATASETS, Dataset, Source
from fedcore.data.npz import read_npz
from fedcore.data.places import expanded, printable


class PathSource(Source):
    """Base of the sources whose name carries a path: ``scheme:PATH``."""

    scheme: ClassVar[str]

    def path(self) -> Path:
        """The path, ``~`` expanded, relative to the working directory.

        Raises `DataError` where it is left out, or has a home that does not exist.
        """
        refuse(self.argument_problems())
        return expanded(self.argument or "")

    def argument_problems(self) -> list[str]:
        """A path that is left out, or that no table could hold."""
        path = self.argument
        if not path:
            return [f"dataset {self.called!r} needs a path after a colon: {self.scheme}:PATH"]
        if printable(path) != path:
            # the name stands in records, which are UTF-8, and in one line of every table
            return [
                f"dataset '{printable(self.called)}': the path must be printable UTF-8 text; "
                "rename the file or the folder, or link to it under another name"
            ]
        return []


@DATASETS.register("npz", "npz:PATH, a file with the keys of MedMNIST")
class NpzFile(PathSource):
    """Arrays ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` of one file."""

    scheme = "npz"

    def load(self, data_dir: Path) -> Dataset:
        """See `checks.build` for what the arrays must be; classes = largest label + 1.

        An array ``class_names`` of strings, one a class, names the classes.
        """
        path = self.path()
        return build(self.called, read_npz(path), str(path))
