"""From stored pixels to a network's input: resize, grey, scale, normalise.

The study's order is Resize, Grayscale(3 channels), ToTensor, Normalize (torchvision on Pillow
images). Resizing and grey work on uint8 and can be done once for a whole split; what remains per
batch is one affine map, value = scale * level + bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F

from fedcore.data.dataset import Dataset, Split
from fedcore.errors import DataError

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

PREPARED_BYTES: Final = 256 * 2**20
_CHUNK_PIXELS: Final = 2**24  # a chunk's float copy, made on devices other than the CPU, is 64 MB

# (means, standard deviations) of red, green and blue; torchvision's for ImageNet
_STATISTICS: Final[dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True, kw_only=True)
class Transform:
    """What is done to the images of one data set for one model.

    ``size`` is (height, width) and ``channels`` the depth of the network's input; ``stored`` is
    the number of channels after `geometry`, 1 wherever the pixels are grey. ``mean`` and ``std``
    have ``channels`` entries and apply to values in [0, 1].
    """

    size: tuple[int, int]
    stored: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    _constants: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls, scenario: Scenario, dataset: Dataset, channels: int | None, smallest: int = 1
    ) -> Transform:
        """The transform of ``dataset`` under ``scenario``.

        ``channels`` is what the model insists on (None: it takes any) and ``smallest`` the least
        image side it can take. Grey images get 3 channels where the scenario says ``grayscale``
        or the model insists on 3; a one-channel model gets them as they are. One channel under
        "imagenet" is normalised by the averages of the three means and the three deviations.
        Raises `DataError` where colours meet a one-channel model, or images are too small.
        """
        stored = 1 if scenario.grayscale else dataset.channels
        result = channels or (3 if scenario.grayscale else stored)
        if stored > result:
            raise DataError(
                f"dataset {dataset.name!r} has {stored} channels, but model {scenario.model!r} "
                f"takes {result}; set grayscale=True, or choose another model"
            )
        side = scenario.image_size
        size = dataset.image_shape if side is None else (side, side)
        if min(size) < smallest:
            raise DataError(
                f"model {scenario.model!r} needs images of at least {smallest} pixels a side, but "
                f"those of dataset {dataset.name!r} are {size[0]}x{size[1]}; "
                f"set image_size to {smallest} or more"
            )
        mean, std = _STATISTICS[scenario.normalize]
        if result == 1:
            mean, std = (sum(mean) / 3,), (sum(std) / 3,)
        return cls(size=size, stored=stored, channels=result, mean=mean, std=std)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [n, h, w, c] to float32 [n, channels, *size], channels_last, on the same device.

        Takes the output of `geometry`, or the data set's own images, which then pass it first.
        """
        pixels = self.geometry(images)
        height, width = self.size
        if self.stored == self.channels:
            # rows of a whole image keep the kernels vectorised: 8 times faster than [.., c] * [c]
            scale, bias = self._rows(images.device)
            values = pixels.reshape(-1, scale.numel()).float().mul_(scale).add_(bias)
            return values.view(-1, height, width, self.channels).permute(0, 3, 1, 2)
        values = pixels.new_empty((len(pixels), height, width, self.channels), dtype=torch.float32)
        grey = pixels[..., 0].float()
        for channel, (scale_, bias_) in enumerate(self._affine):
            torch.add(grey.new_tensor(bias_), grey, alpha=scale_, out=values[..., channel])
        return values.permute(0, 3, 1, 2)

    def geometry(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [n, h, w, c] resized and turned grey: uint8 [n, *size, stored].

        Bilinear with antialiasing, then ITU-R 601 grey, both rounded as Pillow rounds: on a CPU the
        result is Pillow's own, elsewhere a level may differ by 1. Images already of that shape are
        returned as they are, so applying it twice changes nothing.
        """
        shape = (*self.size, self.stored)
        if tuple(images.shape[1:]) == shape:
            return images
        result = images.new_empty((len(images), *shape))
        step = max(1, _CHUNK_PIXELS // max(images[:1].numel(), 3 * self.size[0] * self.size[1]))
        for start in range(0, len(images), step):
            part = images[start : start + step]
            if tuple(part.shape[1:3]) != self.size:
                part = resize(part, self.size)
            if part.shape[3] != self.stored:
                part = grey_of(part)
            result[start : start + step] = part
        return result

    def prepare(self, split: Split) -> Split:
        """``split`` with `geometry` applied, if that takes at most `PREPARED_BYTES`.

        Otherwise ``split`` itself: each batch then passes `geometry` when the transform is called.
        """
        size = len(split) * self.size[0] * self.size[1] * self.stored
        return Split(self.geometry(split.images), split.labels) if size <= PREPARED_BYTES else split

    @cached_property
    def _affine(self) -> tuple[tuple[float, float], ...]:
        """(scale, bias) of each channel, for levels 0..255."""
        return tuple(
            (1 / (255 * std), -mean / std) for mean, std in zip(self.mean, self.std, strict=True)
        )

    def _rows(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and bias of each value of an image, [height * width * channels], on ``device``."""
        if device not in self._constants:
            affine = torch.tensor(self._affine).repeat(self.size[0] * self.size[1], 1).to(device)
            self._constants[device] = affine[:, 0].contiguous(), affine[:, 1].contiguous()
        return self._constants[device]


def resize(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """uint8 [n, h, w, c] to uint8 [n, *size, c]: bilinear, antialiased, as Pillow does it."""
    batch = images.permute(0, 3, 1, 2)
    if images.device.type == "cpu":
        # the uint8 kernel gives Pillow's levels, several times as fast as by way of float
        resized = _interpolate(batch, size)
    else:
        # Pillow resizes rows, rounds, then resizes columns
        rows = _round(_interpolate(batch.float(), (images.shape[1], size[1])))
        resized = _round(_interpolate(rows, size)).to(torch.uint8)
    return resized.permute(0, 2, 3, 1)


def _interpolate(batch: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)


def _round(levels: torch.Tensor) -> torch.Tensor:
    return levels.add_(0.5).floor_().clamp_(0, 255)


def grey_of(images: torch.Tensor) -> torch.Tensor:
    """uint8 [n, h, w, 3] to uint8 [n, h, w, 1] by ITU-R 601 (0.299, 0.587, 0.114).

    In 16-bit fixed point, rounded: bit for bit Pillow's ``convert("L")``.
    """
    red, green, blue = images.int().unbind(3)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)[..., None]
