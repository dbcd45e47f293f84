"""AR noise: the recursion, the search for processes, the norm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fedcore.attacks.attack import Draw, Samples
from fedcore.attacks.data import arnoise
from fedcore.attacks.data.arnoise import ArNoise, processes, responses, signals
from fedcore.errors import AttackError
from fedcore.harness.proofs.images import noised

EASY = 5.0  # a response that a search meets at once
GREY = np.full((5, 12, 16, 3), 128, np.uint8)
LABELS = np.array([0, 3, 1, 3, 2])


def draw(seed: int = 0, generator: int = 4) -> Draw:
    return Draw(4, 0, np.random.default_rng(generator), seed=seed)


def test_the_recursion_by_hand() -> None:
    """With the kernel of the pixel above alone, rows repeat the second one."""
    kernel = np.zeros((1, 1, 3, 3))
    kernel[0, 0, 1, 2] = 1
    start = np.random.default_rng(0).standard_normal((1, 1, 7, 8))
    made = signals(kernel, start)
    assert made.shape == (1, 1, 3, 4)
    assert np.array_equal(made[0, 0], np.tile(start[0, 0, 1, 4:], (3, 1)))


def test_the_recursion_is_a_process_whose_filter_is_silent() -> None:
    kernels = processes(0, 4, 3, EASY)
    starts = np.random.default_rng(1).standard_normal((4, 3, 20, 22))
    made = signals(kernels, starts)
    filters = kernels.copy()
    filters[:, :, 2, 2] = -1
    for own, signal in zip(filters, made, strict=True):
        image, weight = torch.from_numpy(signal.copy())[None], torch.from_numpy(own)[:, None]
        out = F.conv2d(image, weight, groups=3)
        assert out.abs().max() < 1e-9
    own = np.diag(responses(kernels, made))
    assert (own < 1e-7).all()


def test_responses_are_sums_of_positive_outputs() -> None:
    kernels = np.random.default_rng(2).standard_normal((2, 3, 3, 3))
    made = np.random.default_rng(3).standard_normal((3, 3, 6, 6))
    filters = torch.from_numpy(kernels.copy())
    filters[:, :, 2, 2] = -1
    expected = F.conv2d(torch.from_numpy(made), filters).relu().sum(dim=(2, 3)).numpy()
    assert responses(kernels, made) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_processes_keep_the_conditions_of_the_authors(channels: int) -> None:
    kernels = processes(0, 4, channels, arnoise.ArNoise().least_response)
    assert kernels.shape == (4, channels, 3, 3)
    assert (kernels[:, :, 2, 2] == 0).all()
    assert kernels.sum(axis=(2, 3)) == pytest.approx(np.ones((4, channels)))
    generator = arnoise.stream(0, arnoise.Purpose.AR_COEFFICIENTS)
    starts = generator.standard_normal((3, 36, 36))
    last = np.empty((4, channels, 32, 32))
    for start in starts:
        last = signals(kernels, np.broadcast_to(start, (4, channels, 36, 36)))
        norms = np.sqrt((last**2).sum(axis=(1, 2, 3), keepdims=True))
        assert (norms <= 50).all()
    answers = responses(kernels, last / norms)  # [signal, filter]
    assert all(answers[late, early] >= 10 for late in range(4) for early in range(late))


def test_one_seed_has_one_set_of_processes_and_another_another() -> None:
    arnoise.processes.cache_clear()
    first = processes(0, 4, 1, EASY)
    arnoise.processes.cache_clear()
    assert np.array_equal(processes(0, 4, 1, EASY), first)
    assert not np.array_equal(processes(1, 4, 1, EASY), first)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_noise_has_the_norm_of_the_size_and_is_that_of_its_class() -> None:
    attack = ArNoise(noise_norm=2.0, least_response=EASY)
    made = attack.poison(Samples(LABELS, GREY), draw())
    assert made.images is not None
    assert made.labels.tolist() == LABELS.tolist()
    assert made.labels is not LABELS
    assert (GREY == 128).all()
    noise = made.images / 255 - GREY / 255
    norms = np.sqrt((noise**2).sum(axis=(1, 2, 3)))
    assert norms == pytest.approx(np.full(5, 2.0 * np.sqrt(12 * 16) / 32), rel=0.01)
    assert not np.array_equal(made.images[1], made.images[3])  # two starts of one process
    answers = responses(processes(0, 4, 3, EASY), noise.transpose(0, 3, 1, 2))
    assert answers.argmin(axis=1).tolist() == LABELS.tolist()


def test_the_second_form_and_chunks_give_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(9).integers(0, 256, GREY.shape).astype(np.uint8)
    attack = ArNoise(least_response=EASY)
    made = attack.poison(Samples(LABELS, images), draw())
    assert np.array_equal(noised(attack, images, LABELS, draw()), made.images)
    monkeypatch.setattr(arnoise, "_BYTES", 1)
    chunked = attack.poison(Samples(LABELS, images), draw())
    assert np.array_equal(chunked.images, made.images)
    assert (made.images == 0).any()  # clamped, not wrapped around
    assert np.abs(made.images.astype(int) - images).max() < 128


def test_success_has_no_rate_and_too_many_classes_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ArNoise().success is None
    assert ArNoise().probe_attack is None
    monkeypatch.setattr(arnoise, "_POOLS", (20,))
    with pytest.raises(AttackError, match=r"processes for 30 classes among 20 .* lower response"):
        processes(0, 30, 1, 10.0)
