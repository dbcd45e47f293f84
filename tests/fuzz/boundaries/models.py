"""Files of weights and pickles: damage, claims, programs, numbers that are none."""

from __future__ import annotations

import functools
import io
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fedcore.data.pickled import read_pickle
from fedcore.models.weights import load_weights
from tests.fuzz.mutate import damaged


class Program:
    """Its pickle makes a folder when it is read."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/fedcore-fuzz-ran",)


def weights(rng: random.Random, folder: Path) -> None:
    path = folder / "w.pth"
    content = rng.choice(files())
    if rng.random() < 0.6:
        content = damaged(rng, content)
    path.write_bytes(content)
    load_weights(_network(), path, 5)


def pickles(rng: random.Random, folder: Path) -> None:
    content = rng.choice(programs())
    for _ in range(rng.randrange(3)):
        content = damaged(rng, content)
    read_pickle(content, "a")


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5))


@functools.cache
def files() -> list[bytes]:
    state = _network().state_dict()
    odd: list[Any] = [state, [1, 2], {"a": 1}, {1: torch.zeros(2)}, {**state, "x": torch.zeros(2)}]
    for name, value in (
        ("0.weight", torch.full((4, 3), float("nan"))),
        ("0.weight", torch.zeros(4, 3, dtype=torch.complex64)),
        ("0.weight", torch.zeros(4, 3, dtype=torch.int64)),
        ("0.weight", torch.zeros(4, 3).to_sparse()),
        ("0.weight", torch.zeros(1).expand(4, 3)),
        ("1.num_batches_tracked", torch.tensor(0.5)),
        ("2.weight", torch.zeros(10_000, 4)),
    ):
        odd.append({**state, name: value})
    files = [_saved(content) for content in odd]
    files.append(_saved(state, _use_new_zipfile_serialization=False))
    files += [pickle.dumps(Program()), pickle.dumps({"a": Program()})]
    files.append(_packed(files[0], bytes(100 << 20)))
    return files


def _saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _packed(content: bytes, storage: bytes) -> bytes:
    """The checkpoint with another, deflated content of its first tensor."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", 8, compresslevel=1) as new,
    ):
        for name in old.namelist():
            new.writestr(name, storage if name.endswith("data/0") else old.read(name))
    return buffer.getvalue()


@functools.cache
def programs() -> list[bytes]:
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1], b"x": ("a", None, 2.5)}
    values = (batch, {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}, [[1] * 50] * 9)
    files = [pickle.dumps(value, protocol) for value in values for protocol in (0, 1, 2, 4)]
    twice: Any = []
    for _ in range(60):
        twice = [twice, twice]
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    return [*files, pickle.dumps(Program()), pickle.dumps(twice), pickle.dumps(deep)]
