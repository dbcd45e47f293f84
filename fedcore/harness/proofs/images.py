"""What triggers and noise make of images, worked out a second time, apart from their own code."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fedcore.attacks.attack import Draw
from fedcore.attacks.data.arnoise import processes

Indices = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]


def stamped(trigger: Any, images: Images) -> Images:
    """``images`` [k, h, w, c] with the whole ``trigger``."""
    height, width, channels = images.shape[1:]
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    level: Any
    if trigger.name == "square":
        top = 0 if trigger.at.startswith("top") else height - trigger.size
        left = 0 if trigger.at.endswith("left") else width - trigger.size
        level = [trigger.level] * channels
    elif trigger.name == "patch":
        top, left = trigger.row, trigger.column
        level = list(trigger.color) * (channels if len(trigger.color) == 1 else 1)
    elif trigger.name == "blended":
        return _blended(trigger, images)
    else:
        stamp: Images = trigger.stamp(images)
        return stamp
    inside = (rows >= top) & (rows < top + trigger.size)
    inside = inside & (columns >= left) & (columns < left + trigger.size)
    painted: Images = np.where(inside[None, :, :, None], np.array(level, np.uint8), images)
    return painted


def _blended(trigger: Any, images: Images) -> Images:
    shape = images.shape[1:]
    pattern = np.random.default_rng(trigger.pattern_seed).integers(0, 256, shape)
    mixed = trigger.weight * pattern + (1 - trigger.weight) * images.astype(np.float64)
    blended: Images = np.rint(mixed).astype(np.uint8)
    return blended


def part_of(attack: Any, images: Images, place: int) -> Images:
    """``images`` with the part of a DBA's trigger that the malicious client at ``place`` has."""
    whole = stamped(attack.trigger, images)
    pair = np.array([[[[0]]], [[[255]]]], np.uint8) * np.ones((2, *images.shape[1:]), np.uint8)
    touched = (stamped(attack.trigger, pair) != pair).any(axis=(0, 3)).ravel()
    count = int(touched.sum())
    # the first `count % parts` runs are longer by one
    short, longer = divmod(count, attack.num_parts)
    number = np.arange(count)
    run = np.where(
        number < longer * (short + 1),
        number // (short + 1),
        longer + (number - longer * (short + 1)) // max(short, 1),
    )
    own = np.zeros(touched.shape, np.bool_)
    own[np.flatnonzero(touched)[run == place % attack.num_parts]] = True
    return np.asarray(np.where(own.reshape(1, *images.shape[1:3], 1), whole, images))


def noised(attack: Any, images: Images, labels: Indices, draw: Draw) -> Images:
    """``images`` with the noise of ``arnoise``, which gives the coefficients of its processes."""
    height, width, channels = images.shape[1:]
    kernels = processes(draw.seed, draw.num_classes, channels, attack.least_response)
    own = kernels[labels]
    field = draw.generator.standard_normal((len(images), channels, height + 4, width + 4))
    for row in range(2, height + 4):
        for column in range(2, width + 4):
            value = np.zeros((len(images), channels))
            for place in range(9):
                up, back = divmod(place, 3)
                value += own[:, :, up, back] * field[:, :, row - 2 + up, column - 2 + back]
            field[:, :, row, column] = value
    noise = field[:, :, 4:, 4:]
    length = attack.noise_norm * (height * width) ** 0.5 / 32
    scale = length / np.sqrt((noise.reshape(len(images), -1) ** 2).sum(axis=1))
    added = images / 255 + np.moveaxis(noise * scale[:, None, None, None], 1, 3)
    return np.asarray(np.rint(np.clip(added, 0, 1) * 255), np.uint8)
