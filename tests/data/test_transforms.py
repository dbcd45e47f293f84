from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fedcore import Scenario
from fedcore.data import transforms
from fedcore.data.dataset import Dataset, Split
from fedcore.data.transforms import Transform, grey_of, resize
from fedcore.errors import DataError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def images(n: int, height: int, width: int, channels: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        0, 256, (n, height, width, channels), dtype=torch.uint8, generator=generator
    )


def dataset(channels: int, height: int = 12, width: int = 10) -> Dataset:
    split = Split(images(5, height, width, channels), torch.tensor([0, 1, 0, 1, 0]))
    return Dataset("toy", split, split, 2, "0" * 16)


def transform(data: Dataset, channels: int | None = None, **fields: Any) -> Transform:
    return Transform.of(Scenario(**fields), data, channels)


def pillow(batch: torch.Tensor, side: tuple[int, int] | None, grey: bool) -> np.ndarray:
    """Pillow's own answer, [n, h, w, c] as int."""
    result = []
    for pixels in batch:
        image = Image.fromarray(pixels.squeeze(-1).numpy())
        if side is not None:
            image = image.resize((side[1], side[0]), Image.Resampling.BILINEAR)
        result.append(np.asarray(image.convert("L") if grey else image).astype(int))
    array = np.stack(result)
    return array if array.ndim == 4 else array[..., None]


def difference(ours: torch.Tensor, theirs: np.ndarray) -> int:
    assert ours.dtype == torch.uint8
    assert ours.shape == theirs.shape
    return int(np.abs(ours.numpy().astype(int) - theirs).max())


@settings(max_examples=30, deadline=None)
@given(
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_resize_is_pillows(
    source: tuple[int, int], target: tuple[int, int], channels: int, seed: int
) -> None:
    batch = images(2, *source, channels, seed)
    assert difference(resize(batch, target), pillow(batch, target, grey=False)) <= 1


def test_resize_elsewhere_than_on_a_cpu() -> None:
    class Elsewhere(torch.Tensor):
        """A CPU tensor that says it lives on another device."""

        device = torch.device("meta")  # type: ignore[assignment]

    for target in ((224, 224), (8, 13)):
        batch = images(2, 28, 20, 3)
        ours = resize(batch.as_subclass(Elsewhere), target).as_subclass(torch.Tensor)
        assert difference(ours, pillow(batch, target, grey=False)) <= 1
        # exact ties only; without rounding between rows and columns it would be one in five
        assert float((ours != resize(batch, target)).float().mean()) < 0.01


def test_grey_by_hand() -> None:
    pixels = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3, [10, 20, 30]])
    grey = grey_of(pixels.to(torch.uint8).view(1, 5, 1, 3)).flatten().tolist()
    # 0.299 * 255 = 76.2, 0.587 * 255 = 149.7, 0.114 * 255 = 29.1; 2.99 + 11.74 + 3.42 = 18.15
    assert grey == [76, 150, 29, 255, 18]


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_grey_is_pillows_bit_for_bit(seed: int) -> None:
    batch = images(1, 64, 64, 3, seed)
    assert difference(grey_of(batch), pillow(batch, None, grey=True)) == 0


def test_half_by_hand() -> None:
    data = dataset(3)
    pixels = torch.zeros(1, 12, 10, 3, dtype=torch.uint8)
    pixels[0, 2, 3] = torch.tensor([255, 51, 0])
    batch = transform(data)(pixels)
    assert batch.shape == (1, 3, 12, 10)
    assert batch.dtype == torch.float32
    assert batch[0, :, 2, 3].tolist() == pytest.approx([1, -0.6, -1], abs=1e-6)


def expected(batch: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    values = batch.permute(0, 3, 1, 2).double() / 255
    return (values - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("stored", "wanted", "grayscale", "result"),
    [
        (3, None, False, 3),
        (3, 3, False, 3),
        (3, None, True, 3),
        (3, 1, True, 1),
        (1, None, False, 1),
        (1, 1, False, 1),
        (1, 3, False, 3),
        (1, None, True, 3),
    ],
)
@pytest.mark.parametrize("normalize", ["half", "imagenet"])
def test_channels(
    stored: int, wanted: int | None, grayscale: bool, result: int, normalize: str
) -> None:
    data = dataset(stored)
    chain = transform(data, wanted, grayscale=grayscale, normalize=normalize)
    assert (chain.size, chain.channels) == ((12, 10), result)
    batch = chain(data.train.images)
    assert batch.shape == (5, result, 12, 10)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    pixels = data.train.images
    if grayscale and stored == 3:
        pixels = grey_of(pixels)
    pixels = pixels.expand(-1, -1, -1, result)
    mean, std = (MEAN, STD) if normalize == "imagenet" else ((0.5,) * 3, (0.5,) * 3)
    if result == 1:
        # by hand: (0.485 + 0.456 + 0.406) / 3 and (0.229 + 0.224 + 0.225) / 3
        mean, std = ((0.449,), (0.226,)) if normalize == "imagenet" else ((0.5,), (0.5,))
    torch.testing.assert_close(batch.double(), expected(pixels, mean, std), atol=2e-6, rtol=0)


def test_the_studys_chain_is_torchvisions() -> None:
    data = dataset(3, 28, 28)
    chain = transform(data, 3, image_size=224, grayscale=True, normalize="imagenet")
    theirs = torch.from_numpy(pillow(data.train.images, (224, 224), grey=True))
    reference = expected(theirs.expand(-1, -1, -1, 3), MEAN, STD)
    # the greatest step of one level, on the channel of the least deviation
    assert float((chain(data.train.images) - reference).abs().max()) <= 1.01 / 255 / 0.224


@pytest.mark.parametrize("grayscale", [False, True])
@pytest.mark.parametrize("side", [None, 9, 16])
def test_prepared_and_raw_images_give_the_same(side: int | None, grayscale: bool) -> None:
    data = dataset(3)
    chain = transform(data, image_size=side, grayscale=grayscale)
    prepared = chain.prepare(data.train)
    assert prepared.images.shape[1:] == (*chain.size, 1 if grayscale else 3)
    assert torch.equal(chain(prepared.images), chain(data.train.images))
    assert chain.geometry(prepared.images) is prepared.images
    assert prepared.labels is data.train.labels


def test_prepare_leaves_what_would_grow_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(3)
    chain = transform(data, image_size=16)
    monkeypatch.setattr(transforms, "PREPARED_BYTES", 5 * 16 * 16 * 3)
    assert chain.prepare(data.train).images.shape == (5, 16, 16, 3)
    monkeypatch.setattr(transforms, "PREPARED_BYTES", 5 * 16 * 16 * 3 - 1)
    assert chain.prepare(data.train) is data.train


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(3)
    chain = transform(data, image_size=16, grayscale=True)
    whole = chain.geometry(data.train.images)
    monkeypatch.setattr(transforms, "_CHUNK_PIXELS", 2 * 16 * 16 * 3)
    assert torch.equal(chain.geometry(data.train.images), whole)


@pytest.mark.parametrize("stored", [1, 3])
def test_no_images_at_all(stored: int) -> None:
    data = dataset(stored)
    assert transform(data, 3, image_size=16)(data.train.images[:0]).shape == (0, 3, 16, 16)


def test_images_are_not_written_to() -> None:
    data = dataset(3)
    before = data.train.images.clone()
    transform(data)(data.train.images)
    assert torch.equal(data.train.images, before)


def test_colours_for_a_grey_model_are_refused() -> None:
    with pytest.raises(DataError, match=r"'toy' has 3 channels, but model 'cnn' takes 1; set gray"):
        transform(dataset(3), 1)


def test_images_too_small_for_the_model() -> None:
    with pytest.raises(DataError, match=r"'cnn' needs images of at least 32 .* are 12x10; set im"):
        Transform.of(Scenario(), dataset(3), 3, smallest=32)
    assert Transform.of(Scenario(image_size=32), dataset(3), 3, smallest=32).size == (32, 32)
