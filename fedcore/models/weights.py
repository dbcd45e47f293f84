"""Pretrained weights: where the file is, and loading it into a network with another head."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedcore.cache_folder import user_cache
from fedcore.data.download import DownloadError, download
from fedcore.data.places import expanded, is_file, opened, reading_from
from fedcore.errors import ModelError

BASE_URL = "https://download.pytorch.org/models"
IMAGENET_CLASSES = 1000

# torchvision's files; the 8 digits in a name begin the SHA-256 of the content.
IMAGENET_FILES = {
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
    "mobilenet_v3_small": "mobilenet_v3_small-047dcff4.pth",
    "resnet18": "resnet18-f37072fd.pth",
}


def weights_file(
    weights: str | None, model: str, data_dir: Path, *, base_url: str = BASE_URL
) -> Path | None:
    """The file that ``weights`` of a scenario means: None, a path, or 'imagenet' for ``model``.

    ImageNet files are looked for in ``data_dir`` and in torch's cache, then downloaded from
    ``base_url`` into ``data_dir`` (the cache where that cannot be written). Raises `ModelError`
    naming what was looked at and what to do, and DataError where a place cannot be read.
    """
    if weights is None:
        return None
    if weights != "imagenet":
        path = expanded(weights)
        if not is_file(path):
            raise ModelError(
                f"weights {weights!r} are no file: give an existing path, or 'imagenet'"
            )
        return path
    if model not in IMAGENET_FILES:
        known = ", ".join(sorted(IMAGENET_FILES))
        raise ModelError(f"no ImageNet weights are known for model {model!r}, only for {known}")
    name = IMAGENET_FILES[model]
    folders = _folders(data_dir)
    for folder in folders:
        if is_file(folder / name):
            _check_published(folder / name)
            return folder / name
    return _download(name, folders, f"{base_url}/{name}")


def weights_digest(file: Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of ``file``; OSError if unreadable."""
    with opened(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def refuse_weights(model: str, weights: Path | None) -> None:
    """Raises `ModelError` if ``weights`` are given to a model that starts at random only."""
    if weights is not None:
        raise ModelError(f"model {model!r} takes no pretrained weights, got {weights}")


def load_weights(network: nn.Module, file: Path, num_classes: int) -> None:
    """Copy the state dict in ``file`` into ``network``, whose head has ``num_classes`` outputs.

    The head is the last `nn.Linear`. One of the 1000 ImageNet classes in the file is dropped,
    and the network keeps its own, unless it has 1000 classes itself; one of another size is
    refused. Raises `ModelError` with path and reason, before the network is changed.
    """
    state = _read_state(file)
    expected: dict[str, torch.Tensor] = network.state_dict()
    head = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    weight = state.get(f"{head}.weight")
    # where there is no such matrix, _check_fit has more to say than its number of rows
    classes = num_classes if weight is None or weight.ndim == 0 else len(weight)
    if classes != num_classes:
        if classes != IMAGENET_CLASSES:
            raise ModelError(
                f"weights of another head: {file} was trained on {classes} classes, the data have "
                f"{num_classes}: use weights trained on these classes, or those of ImageNet, whose "
                f"head of {IMAGENET_CLASSES} is replaced"
            )
        state = {n: v for n, v in state.items() if not n.startswith(f"{head}.")}
        expected = {n: v for n, v in expected.items() if not n.startswith(f"{head}.")}
    _check_fit(file, state, expected)
    network.load_state_dict(state, strict=False)  # _check_fit is the stricter check


def _read_state(file: Path) -> dict[str, torch.Tensor]:
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load lets errors of pickle, zip, its reader and the OS out
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")
        raise ModelError(
            f"weights {file} cannot be read, the file is damaged or no checkpoint ({reason})"
        ) from error
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise ModelError(
            f"weights {file} hold a {type(state).__name__}, not a state dict of tensors by name: "
            "save network.state_dict()"
        )
    return dict(state)


def _check_fit(
    file: Path, state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> None:
    # files written before torch 0.4.1 lack these counters, which torch then leaves at 0
    missing = [n for n in expected if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    faults = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", shapes))
        if names
    ]
    if faults:
        raise ModelError(f"weights {file} are of another network: {'; '.join(faults)}")


def _folders(data_dir: Path) -> list[Path]:
    # torch.hub.get_dir() follows $TORCH_HOME; the default place may hold an earlier download
    with reading_from("~"):
        hubs = (Path(torch.hub.get_dir()), user_cache() / "torch" / "hub")
    return list(dict.fromkeys([data_dir, *(hub / "checkpoints" for hub in hubs)]))


def _published(name: str) -> str:
    """How the SHA-256 of the file called ``name`` begins."""
    return Path(name).stem.rpartition("-")[2]


def _check_published(path: Path) -> None:
    digest = _published(path.name)
    actual = weights_digest(path)
    if not actual.startswith(digest):
        raise ModelError(
            f"weights {path} are not the published file: SHA-256 begins with {actual[:8]}, not "
            f"{digest}; delete the file to have it downloaded, or name it as weights={str(path)!r}"
        )


def _download(name: str, folders: list[Path], url: str) -> Path:
    """Fetch ``url`` into the first of ``folders`` that can be written."""
    looked = f"looked for {name} in {', '.join(map(str, folders))}"
    folder = next(filter(_writable, folders), None)
    if folder is None:
        raise ModelError(f"{looked}, and none of them can be written: name another data directory")
    try:
        download(url, folder / name, "sha256", _published(name))
    except DownloadError as error:
        raise ModelError(
            f"{looked}, then failed to download {url} ({error}): put the file into one of these "
            "folders, give weights as a path, or leave weights out"
        ) from error
    return folder / name


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
