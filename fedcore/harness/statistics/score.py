"""A score of differences whose tails are heavy, and the exact distribution of its sums.

Two machine classes round differently, and training carries that into the accuracies: most runs
move by a fraction of a point, a few by ten or more. Differences like these have no usable
variance. z = difference / scale is taken to follow Student's t with one degree of freedom (a
Cauchy distribution), whose median of |z| is 1; its score sign(z) log(1 + |z|) has an exponential
tail, so that sums of scores have a distribution that few extreme runs do not decide.

A run that diverges on one side only is a *broken* pair: it has the largest score there is,
whatever the accuracies. Broken pairs occur on both sides by chance with a small rate, which is
part of the null distribution.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

#: A difference of this many scales or more has the largest score, as a broken pair has.
LARGEST = 100.0
#: The largest score, log(1 + `LARGEST`).
CAP = math.log1p(LARGEST)
#: Grid points of the distribution of one |score|, 0 to `CAP`.
_POINTS = 460
_STEP = CAP / _POINTS
#: Where sums are long, their distribution is computed over so many standard deviations each side.
_REACH = 40.0
#: Smaller p are rounding errors of the transform.
_LEAST = 1e-13


def score(z: Values) -> Values:
    """sign(z) log(1 + min(|z|, `LARGEST`)), of the shape of ``z``; nan stays nan."""
    return np.asarray(np.sign(z) * np.log1p(np.minimum(np.abs(z), LARGEST)))


@functools.lru_cache(maxsize=256)
def _one(rate: float) -> Values:
    """Probabilities of one score on the grid -`CAP` .. `CAP`; ``rate``: of a broken pair."""
    edges = np.concatenate([[0.0], (np.arange(_POINTS) + 0.5) * _STEP])
    below = 2 / math.pi * np.arctan(np.expm1(edges))  # P(|z| <= exp(u) - 1) of a Cauchy z
    size = (1 - rate) * np.diff(np.append(below, 1.0))
    size[-1] += rate
    return np.concatenate([size[:0:-1] / 2, size[:1], size[1:] / 2])


@functools.lru_cache(maxsize=4096)
def _beyond(pairs: int, rate: float) -> Values:
    """P(|sum of ``pairs`` scores| >= k steps) for k = 0, 1, ...: [k]."""
    one = _one(rate)
    squares = float(one @ (np.arange(-_POINTS, _POINTS + 1) * _STEP) ** 2)
    most = pairs * _POINTS
    # sums repeat after as many grid points as the transform has
    half = min(most, math.ceil(_REACH * math.sqrt(squares * pairs) / _STEP))
    length = 1 << (2 * half + 1).bit_length()
    start = np.zeros(length)
    np.add.at(start, np.arange(-_POINTS, _POINTS + 1) % length, one)
    density = np.fft.irfft(np.fft.rfft(start) ** pairs, length)[: half + 1]
    tail = np.cumsum(np.maximum(density, 0.0)[::-1])[::-1]
    two = 2 * tail
    two[0] = 1.0
    return np.asarray(np.clip(two, _LEAST, 1.0))


def two_sided(total: Values, pairs: Values, rate: Values) -> Values:
    """P of |sum| >= |``total``| where ``pairs`` scores are summed, of one shape.

    ``rate`` [...] is the probability of a broken pair. The sum is computed exactly on a grid (by
    Fourier transforms of one score's distribution), and p counts half a step of the grid against a
    finding. p of no pairs is 1, and of nan.
    """
    total, pairs, rate = np.broadcast_arrays(
        np.asarray(total, np.float64), np.asarray(pairs, np.float64), np.asarray(rate, np.float64)
    )
    p = np.ones(total.shape)
    known = (pairs > 0) & np.isfinite(total)
    kinds, which = np.unique(np.stack([pairs[known], rate[known]]), axis=1, return_inverse=True)
    steps = np.floor(np.abs(total[known]) / _STEP + 0.5).astype(np.int64)
    out = np.ones(steps.shape)
    for i in range(kinds.shape[1]):
        table = _beyond(int(kinds[0, i]), float(kinds[1, i]))
        mine = which.reshape(-1) == i
        k = steps[mine]
        out[mine] = np.where(k < len(table), table[np.minimum(k, len(table) - 1)], _LEAST)
    p[known] = out
    return p
