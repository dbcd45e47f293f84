"""Data sets: images as uint8, labels as int64, and where they come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fedcore.components.component import Component
from fedcore.components.kinds import DATASETS as DATASETS
from fedcore.components.parameters import param

if TYPE_CHECKING:  # `fedcore run` finds and reads data while it imports torch
    import numpy.typing as npt
    import torch

    from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Split:
    """Samples: ``images`` [n, height, width, channels] uint8, ``labels`` [n] int64."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        """The same samples on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    ``digest`` is the first 16 hexadecimal digits of the SHA-256 over shapes, images and labels
    of both splits; ``notes`` says what a reader of results must know, such as a file that is
    not the publisher's own. ``class_names`` has a name for each class, its number where none are
    given.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    digest: str
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(map(str, range(self.num_classes))))

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.train.images.shape[3])

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.train.images.shape[1]), int(self.train.images.shape[2])


class Source(Component):
    """One place that data sets come from. Subclasses are registered in `DATASETS`.

    Where ``resizes`` is True, `load` takes another argument, the side in pixels that images are
    resized to as they are read (None: as they are).
    """

    kind: ClassVar[str] = "dataset"
    follows: ClassVar[str | None] = "argument"
    resizes: ClassVar[bool] = False

    argument: str | None = param("what follows the colon, as in npz:PATH", default=None)

    @abstractmethod
    def load(self, data_dir: Path) -> Dataset:
        """The data set, called as a scenario calls it: ``bloodmnist``, ``npz:PATH``.

        Raises `DataError` with path and reason where the data are missing, damaged or invalid.
        """

    def classes(self, data_dir: Path) -> int | None:
        """Number of classes where that is known without reading it, else None."""
        return None

    def problems(self, scenario: Scenario) -> list[str]:
        """An argument, which most sources do not take."""
        return self.argument_problems()

    def argument_problems(self) -> list[str]:
        """What is wrong with what follows the colon."""
        if self.argument is None:
            return []
        return [f"dataset {self.called!r}: {self.name} takes nothing after a colon, leave it out"]


def read_only(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The numbers of ``tensor``, on the CPU, as an array that cannot be written to.

    Loaded data are shared by all runs of a process: what a component of others wrote into them
    would change the numbers of every run after it.
    """
    array = tensor.numpy().view()
    array.flags.writeable = False
    return array


def class_label(number: int, names: Sequence[str]) -> str:
    """``1 (trouser)``; the number alone where there is no name, or where that is the number."""
    name = names[number] if 0 <= number < len(names) else str(number)
    return str(number) if name == str(number) else f"{number} ({name})"


def named_classes(names: Sequence[str]) -> str:
    """``0 (shirt), 1 (trouser)``; empty where every class is called by its number."""
    labels = [class_label(number, names) for number in range(len(names))]
    return ", ".join(labels) if any(label.endswith(")") for label in labels) else ""
