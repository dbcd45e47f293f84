"""AR noise: images with noise of an autoregressive process of their class, which is easy to learn.

Sandoval-Segura, Singla, Geiping, Goldblum, Goldstein and Jacobs, "Autoregressive Perturbations for
Data Poisoning", 2022, with the search for coefficients and the numbers of the authors' code. A
model that learns to know a class by its noise finds none in clean images.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
import torch

from fedcore.attacks.attack import ATTACKS, DataAttack, Draw, Samples
from fedcore.components.parameters import param
from fedcore.errors import AttackError
from fedcore.streams import Generator, Indices, Purpose, stream

Floats = npt.NDArray[np.float64]

SIDE: Final = 32
"""Pixels a side of images at which ``noise_norm`` is the norm, and on which kernels are tried."""
CROP: Final = 4
"""Rows and columns by which the canvas is larger, at the upper and the left edge."""
TRIALS: Final = 3
"""Signals that each kernel makes in the search."""
LARGEST: Final = 50.0
"""Norm of a trial beyond which a process counts as unstable."""
_POOLS: Final = (1000, 2000, 4000, 8000, 16_000)  # stable processes that are looked through
_BATCH: Final = 1024  # kernels that are tried at once
_FIRST: Final = 8  # processes whose filters say which signals are worth more than a look
_BYTES: Final = 1 << 24  # of the canvases that are made at once


@ATTACKS.register("arnoise", "noise of an autoregressive process per class (Sandoval-Segura 2022)")
class ArNoise(DataAttack):
    """Labels are kept, so that no success rate is defined; the attack costs accuracy.

    All malicious clients of a run use the same process for a class. The noise of an image has the
    L2 norm ``noise_norm`` * sqrt(height * width) / 32 over all channels, on a scale of [0, 1],
    before the sum is clamped to [0, 1] and rounded to the nearest of 256 levels, halves to the even
    one: 1.0 at 32x32 and 3.0 at 96x96, as in the paper.
    """

    changes_images: ClassVar[bool] = True
    may_keep_labels: ClassVar[bool] = True
    noise_norm: float = param(
        "L2 norm of the noise at 32x32 pixels", default=1.0, low=0, open_low=True
    )
    least_response: float = param(
        "least response of the filters of other classes", default=10.0, low=0
    )

    def poison(self, samples: Samples, draw: Draw) -> Samples:
        """The images with the noise of their class; labels as they are."""
        images = samples.images
        assert images is not None
        count, height, width, channels = images.shape
        kernels = processes(draw.seed, draw.num_classes, channels, self.least_response)
        norm = self.noise_norm * math.sqrt(height * width) / SIDE
        result = np.empty_like(images)
        step = max(1, _BYTES // (8 * channels * (height + CROP) * (width + CROP)))
        for begin in range(0, count, step):
            some = slice(begin, min(begin + step, count))
            shape = (some.stop - begin, channels, height + CROP, width + CROP)
            made = signals(kernels[samples.labels[some]], draw.generator.standard_normal(shape))
            lengths = np.sqrt(np.square(made).sum(axis=(1, 2, 3), keepdims=True))
            if not np.isfinite(lengths).all() or not lengths.all():
                raise AttackError(
                    f"arnoise: a process of seed {draw.seed} leaves the finite numbers on images "
                    f"of {height}x{width} pixels: take another seed or a smaller image_size"
                )
            noise = (made * (norm / lengths)).transpose(0, 2, 3, 1)
            result[some] = np.rint(255 * np.clip(images[some] / 255 + noise, 0, 1))
        return Samples(samples.labels.copy(), result)


def signals(kernels: Floats, start: Floats) -> Floats:
    """What processes with ``kernels`` [k, c, 3, 3] make of ``start`` [k, c, h + 4, w + 4].

    [k, c, h, w]: row by row a pixel becomes the sum of the kernel times the window whose lower
    right corner it is; the first two rows and columns stay. Then the canvas is cropped.
    """
    count, channels, height, width = start.shape
    canvas = np.ascontiguousarray(start.transpose(2, 3, 0, 1)).reshape(height, width, -1)
    factors = kernels.transpose(2, 3, 0, 1).reshape(9, -1)
    with np.errstate(over="ignore", invalid="ignore"):  # the search rejects what blows up
        for row in range(height - 2):
            for column in range(width - 2):
                window = canvas[row : row + 3, column : column + 3].reshape(9, -1)
                canvas[row + 2, column + 2] = np.add.reduce(factors * window, axis=0)
    cropped = canvas[CROP:, CROP:].reshape(height - CROP, width - CROP, count, channels)
    return cropped.transpose(2, 3, 0, 1)


def responses(kernels: Floats, made: Floats) -> Floats:
    """How strongly the filters of ``kernels`` [f, c, 3, 3] answer to ``made`` [s, c, h, w]: [s, f].

    The sum of the positive outputs of the filter, which is the kernel with -1 as its last entry:
    a signal of its own process leaves it silent.
    """
    filters = kernels.copy()
    filters[:, :, 2, 2] = -1
    columns = torch.from_numpy(filters.reshape(len(filters), -1).T.copy())
    windows = np.lib.stride_tricks.sliding_window_view(made, (3, 3), axis=(2, 3))
    result = np.empty((len(made), len(kernels)))
    for row, window in enumerate(windows.transpose(0, 2, 3, 1, 4, 5)):
        # torch's product keeps to the threads of a run, numpy's does not
        answers = torch.from_numpy(window.reshape(-1, len(columns))) @ columns
        result[row] = answers.clamp_(min=0).sum(dim=0).numpy()
    return result


@functools.lru_cache(maxsize=16)
def processes(seed: int, num_classes: int, channels: int, response: float) -> Floats:
    """The kernels of each class, [classes, channels, 3, 3], of a run of ``seed``.

    A process is stable if none of three trials has a norm over 50 or NaN. Of a pool of stable ones
    those are kept, one after the other, of which the filters of all that have been kept before
    answer to the last trial, scaled to norm 1, by at least ``least_response``. These are the
    conditions of the authors, who take whatever comes next; here it is the process whose filter
    leaves the most others in question. AttackError where the largest pool does not have so many
    classes.
    """
    generator = stream(seed, Purpose.AR_COEFFICIENTS)
    starts = generator.standard_normal((TRIALS, SIDE + CROP, SIDE + CROP))
    kept: list[int] = []
    for size in _POOLS:
        kernels, made = _pool(generator, size, channels, starts)
        audible = (responses(kernels[:_FIRST], made) >= response).sum(axis=1)
        best = np.argsort(-audible, kind="stable")[: 100 + size // 20]
        kept = _apart(responses(kernels[best], made[best]) >= response)
        if len(kept) >= num_classes:
            result = kernels[best[kept[:num_classes]]]
            result.flags.writeable = False
            return result
    raise AttackError(
        f"arnoise found {len(kept)} processes for {num_classes} classes among {_POOLS[-1]} (seed "
        f"{seed}) whose responses to each other are at least {response:g}: lower response, or "
        "take a data set of fewer classes"
    )


def _pool(generator: Generator, size: int, channels: int, starts: Floats) -> tuple[Floats, Floats]:
    """Up to ``size`` stable processes, [p, c, 3, 3], and of each the last trial, scaled to norm 1.

    The channels of a stable process are stable each, so that they are drawn one by one.
    """
    kernels: list[Floats] = []
    squares: list[Floats] = []  # of the norms of the trials
    last: list[Floats] = []
    while sum(map(len, kernels)) < size * channels:
        drawn = generator.standard_normal((_BATCH, 1, 3, 3))
        drawn[:, :, 2, 2] = 0
        drawn /= drawn.sum(axis=(2, 3), keepdims=True)
        lengths = np.empty((len(drawn), 0))
        for start in starts:
            made = signals(drawn, np.broadcast_to(start, (len(drawn), 1, *start.shape)))
            with np.errstate(over="ignore", invalid="ignore"):
                length = np.square(made).sum(axis=(1, 2, 3))
                stable = length <= LARGEST**2  # NaN is not
            drawn, made = drawn[stable], made[stable]
            lengths = np.column_stack((lengths[stable], length[stable]))
        kernels.append(drawn)
        squares.append(lengths)
        last.append(made)
    many = size * channels
    shape = size, channels, *last[0].shape[2:]
    norms = np.sqrt(np.concatenate(squares)[:many].reshape(size, channels, -1).sum(axis=1))
    stable = (norms <= LARGEST).all(axis=1)
    whole = np.concatenate(kernels)[:many].reshape(size, channels, 3, 3)[stable]
    trials = np.concatenate(last)[:many].reshape(shape)[stable]
    return whole, trials / norms[stable, -1][:, None, None, None]


def _apart(audible: npt.NDArray[np.bool_]) -> list[int]:
    """Processes of which each is audible to all before it; ``audible`` [signal, filter]."""
    kept: list[int] = []
    open_ = np.ones(len(audible), np.bool_)
    while open_.any():
        best: Indices = np.where(open_, audible[open_].sum(axis=0), -1)
        place = int(best.argmax())
        kept.append(place)
        open_ &= audible[:, place]
        open_[place] = False
    return kept
