"""Images that stand in both splits: what a model has trained on says little of new images.

Two images are equal if all their bytes are. Only *exact* duplicates are counted; resized,
re-encoded or cropped copies are not recognised.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from fedcore.errors import DataError

if TYPE_CHECKING:
    from fedcore.data.dataset import Split

#: Share of the test images that may stand in the training split, too, before the set is refused.
LARGEST_SHARE: Final = 0.05
#: This variable, set to 1, has a set accepted whatever the share is.
ACCEPT: Final = "FEDCORE_ACCEPT_DUPLICATES"

_LANE: Final = 8  # bytes
_ROWS: Final = 4096  # images hashed at once

Bytes = npt.NDArray[np.uint8]


def duplicate_notes(train: Split, test: Split, where: str, *, refuse: bool = True) -> list[str]:
    """A note on the test images that are training images as well, none if there are none.

    Blank images, of one colour throughout, hold nothing to remember: they are noted apart. With
    ``refuse``, a DataError where the others are more than `LARGEST_SHARE` of the test images,
    unless `ACCEPT` is set.
    """
    images, labels = train.images.numpy(), train.labels.numpy()
    tests, answers = test.images.numpy(), test.labels.numpy()
    ids, test_ids = _identities(images.reshape(len(images), -1), tests.reshape(len(tests), -1))
    common = np.flatnonzero(np.isin(test_ids, ids[ids >= 0]) & (test_ids >= 0))
    if not len(common):
        return []
    agrees = _agree(ids[ids >= 0], labels[ids >= 0], test_ids[common], answers[common])
    blank = (tests[common] == tests[common][:, :1, :1]).all(axis=(1, 2, 3))
    notes = []
    full = int((~blank).sum())
    if full:
        other = int((~agrees & ~blank).sum())
        same = "their labels agree" if not other else f"{other} of them with another label there"
        text = (
            f"{full} of {len(tests)} test images ({100 * full / len(tests):.3g} %) are training "
            f"images as well, bit for bit; {same}"
        )
        if refuse and full > LARGEST_SHARE * len(tests) and os.environ.get(ACCEPT) != "1":
            raise DataError(
                f"{where}: at most {100 * LARGEST_SHARE:g} % of the test images may be training "
                f"images as well, got {text}; remove them from one split, or set {ACCEPT}=1 to "
                "accept them"
            )
        notes.append(text)
    if len(common) > full:
        notes.append(
            f"{len(common) - full} of {len(tests)} test images are blank, and equal blank images "
            "are in the training split"
        )
    return notes


def _identities(train: Bytes, test: Bytes) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A number for each row [n, bytes], equal where rows are; -1 where no other split has it.

    Rows are hashed, and those whose hash both splits have are compared byte by byte.
    """
    hashes, test_hashes = _hash(train), _hash(test)
    ids, test_ids = np.full(len(train), -1), np.full(len(test), -1)
    # searching the short list costs less than sorting the long one
    ordered = np.unique(test_hashes)
    place = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
    candidates = np.flatnonzero(ordered[place] == hashes)
    if not len(candidates):
        return ids, test_ids
    tests = np.flatnonzero(np.isin(test_hashes, hashes[candidates]))
    rows = np.concatenate([train[candidates], test[tests]])
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1])))[:, 0]
    _, numbers = np.unique(whole, return_inverse=True)
    ids[candidates], test_ids[tests] = numbers[: len(candidates)], numbers[len(candidates) :]
    return ids, test_ids


def _hash(rows: Bytes) -> npt.NDArray[np.uint64]:
    """64 bits of each row [n, bytes]: the sum of its scrambled lanes times odd numbers."""
    whole = rows.shape[1] // _LANE * _LANE
    factors = np.random.default_rng(0).integers(
        0, 2**64, whole // _LANE + rows.shape[1] - whole, dtype=np.uint64
    )
    factors |= np.uint64(1)
    result = np.zeros(len(rows), np.uint64)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        total = result[start : start + _ROWS]
        if whole:
            lanes = np.ascontiguousarray(part[:, :whole]).view(np.uint64)
            # without the shift the highest bits of two lanes would cancel
            total += (lanes ^ (lanes >> np.uint64(32))) @ factors[: whole // _LANE]
        total += part[:, whole:].astype(np.uint64) @ factors[whole // _LANE :]
    return result


def _agree(
    ids: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    test_ids: npt.NDArray[Any],
    answers: npt.NDArray[Any],
) -> npt.NDArray[np.bool_]:
    """Whether all training images of each test image's number have its label."""
    size = max(int(ids.max()), int(test_ids.max())) + 1
    low, high = np.full(size, np.iinfo(np.int64).max), np.full(size, -1)
    np.minimum.at(low, ids, labels)
    np.maximum.at(high, ids, labels)
    result: npt.NDArray[np.bool_] = (low[test_ids] == answers) & (high[test_ids] == answers)
    return result
