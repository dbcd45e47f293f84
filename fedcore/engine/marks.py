"""Marks: an image by one number, its product with a fixed random vector, and whose mark it is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch

from fedcore.data.dataset import Dataset, Split
from fedcore.data.loading import load
from fedcore.data.transforms import Transform
from fedcore.exchange.fingerprints import Hashes, content
from fedcore.federation.threat import Copies
from fedcore.streams import Indices

if TYPE_CHECKING:
    from fedcore.federation.federation import Federation

Marks = npt.NDArray[np.float32]

_CHUNK_PIXELS: Final = 1 << 20


def direction(size: int) -> torch.Tensor:
    """The fixed random vector, [size] float32 of length about 1, that makes marks of images."""
    generator = torch.Generator().manual_seed(20_220)
    values: torch.Tensor = torch.randn(size, generator=generator) / size**0.5
    return values


class Known:
    """Marks, content and labels of a data set's images under one transform, [n] each."""

    def __init__(self, dataset: Dataset, transform: Transform, device: torch.device) -> None:
        self.dataset = dataset
        height, width = transform.size
        self.vector = direction(height * width * transform.channels)
        self.train = self._marks(dataset.train.images, transform, device)
        self.test = self._marks(dataset.test.images, transform, device)
        self.train_labels = dataset.train.labels.numpy()
        self.test_labels = dataset.test.labels.numpy()
        self.content: Hashes = content(dataset.train.images)
        self.test_content: Hashes = content(dataset.test.images)
        twice = np.isin(self.content, self.test_content)
        self.twice = twice if twice.any() else None
        self.samples = len(self.train)
        self.origins: Indices | None = None

    def with_copies(self, copies: Copies, transform: Transform, device: torch.device) -> Known:
        """These images and, behind the training images, poisoned ``copies`` of some of them.

        Their labels are those that the data set gives the originals; ``origins`` [n + q] are the
        training samples that all these images stand for.
        """
        result = copy.copy(self)
        result.train = np.concatenate([self.train, self._marks(copies.images, transform, device)])
        result.content = np.concatenate([self.content, content(copies.images)])
        alone = copies.origins < 0  # such an image stands for itself, and has no label here
        own = np.arange(self.samples, self.samples + len(alone))
        result.origins = np.concatenate(
            [np.arange(self.samples), np.where(alone, own, copies.origins)]
        )
        labels = np.concatenate([self.train_labels, np.full(len(alone), -1)])
        result.train_labels = labels[result.origins]
        if self.twice is not None:
            result.twice = np.concatenate([self.twice, np.zeros(len(alone), np.bool_)])
        return result

    def without(self, samples: Indices) -> Known:
        """These images without ``samples`` of the test split, which are not scored."""
        result = copy.copy(self)
        result.test = np.delete(self.test, samples)
        result.test_labels = np.delete(self.test_labels, samples)
        result.test_content = np.delete(self.test_content, samples)
        return result

    def examining(self, probe: Split, transform: Transform, device: torch.device) -> Known:
        """These images, with ``probe`` in the place of the test split."""
        result = copy.copy(self)
        result.test = self._marks(probe.images, transform, device)
        result.test_labels = probe.labels.numpy()
        result.test_content = content(probe.images)
        return result

    def _marks(self, images: torch.Tensor, transform: Transform, device: torch.device) -> Marks:
        """The marks of ``images`` [n, h, w, c] uint8: value = (level / 255 - mean) / deviation."""
        std, mean = torch.tensor(transform.std), torch.tensor(transform.mean)
        by_channel = self.vector.view(-1, transform.channels)
        levels = by_channel / (255 * std)
        offset = float((by_channel * (mean / std)).double().sum())
        if transform.stored < transform.channels:
            levels = levels.sum(dim=1, keepdim=True)
        levels = levels.flatten().to(device)
        result = np.empty(len(images), np.float32)
        step = max(1, _CHUNK_PIXELS // max(len(levels), images[:1].numel()))
        for start in range(0, len(images), step):
            part = transform.geometry(images[start : start + step].to(device))
            marks = torch.mv(part.reshape(len(part), -1).float(), levels) - offset
            result[start : start + step] = marks.cpu().numpy()
        return result


_KEPT: list[tuple[Any, Known]] = []
_MOST = 4  # sets whose marks a process keeps


def known(federation: Federation, device: torch.device) -> Known:
    """The images of a federation's data set, loaded apart from the federation's own."""
    images, root = _of_data(federation, device), federation.root
    if root is None:
        return images
    for kept, base, result in _ROOTED:
        if kept is root and base is images:
            return result
    _ROOTED.insert(0, (root, images, images.without(root.samples)))
    del _ROOTED[_MOST:]
    return _ROOTED[0][2]


_ROOTED: list[tuple[Any, Known, Known]] = []


def _of_data(federation: Federation, device: torch.device) -> Known:
    scenario = federation.scenario
    dataset = load(scenario.data, federation.data_dir, scenario.image_size)
    transform = federation.transform
    key = (transform, device)
    for place, (kept, images) in enumerate(_KEPT):
        if kept == key and images.dataset is dataset:
            _KEPT.insert(0, _KEPT.pop(place))
            return images
    _KEPT.insert(0, (key, Known(dataset, transform, device)))
    del _KEPT[_MOST:]
    return _KEPT[0][1]


def known_pool(federation: Federation, device: torch.device) -> Known:
    """`known`, and the poisoned copies that clients of the federation train on."""
    images, copies = known(federation, device), federation.threat.copies
    return images if copies is None else images.with_copies(copies, federation.transform, device)


_PROBES: list[tuple[Any, Known, Known]] = []


def known_probe(federation: Federation, device: torch.device) -> Known:
    """`known`, with the federation's probe set in the place of the test split."""
    probe, images = federation.probe, known(federation, device)
    if probe is None:
        return images
    for kept, base, result in _PROBES:
        if kept is probe and base is images:
            return result
    _PROBES.insert(0, (probe, images, images.examining(probe, federation.transform, device)))
    del _PROBES[_MOST:]
    return _PROBES[0][2]


def marks_of(images: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """The marks of transformed ``images`` [n, c, h, w], which lie in memory as [n, h, w, c]."""
    flat = images.permute(0, 2, 3, 1).reshape(len(images), len(vector))
    return torch.mv(flat if flat.dtype is torch.float32 else flat.float(), vector)
