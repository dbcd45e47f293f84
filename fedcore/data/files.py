"""A user's own data by path: ``npz:PATH``, a file with MedMNIST's keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fedcore.data.checks import argument, build, refuse
from fedcore.data.dataset import DATASETS, Dataset, Source
from fedcore.data.npz import read_npz
from fedcore.data.places import expanded, printable

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class PathSource(Source):
    """Base of the sources whose name carries a path: ``scheme:PATH``."""

    scheme: ClassVar[str]

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        """A message if the path is left out."""
        return cls._problems(scenario.dataset)

    @classmethod
    def path(cls, name: str) -> Path:
        """The path in ``name``, ``~`` expanded, relative to the working directory.

        Raises `DataError` where it is left out, or has a home that does not exist.
        """
        refuse(cls._problems(name))
        return expanded(argument(name))

    @classmethod
    def _problems(cls, name: str) -> list[str]:
        path = argument(name)
        if not path:
            return [f"dataset {name!r} needs a path after a colon: {cls.scheme}:PATH"]
        if printable(path) != path:
            # the name stands in records, which are UTF-8, and in one line of every table
            return [
                f"dataset '{printable(name)}': the path must be printable UTF-8 text; rename the "
                "file or the folder, or link to it under another name"
            ]
        return []


@DATASETS.register("npz", "npz:PATH, a file with the keys of MedMNIST")
class NpzFile(PathSource):
    """Arrays ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` of one file."""

    scheme = "npz"

    @classmethod
    def load(cls, name: str, data_dir: Path) -> Dataset:
        """See `checks.build` for what the arrays must be; classes = largest label + 1.

        An array ``class_names`` of strings, one a class, names the classes.
        """
        path = cls.path(name)
        return build(name, read_npz(path), str(path))
