"""Pretrained weights: where the file is, and loading it into a network with another head."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from fedcore.cache_folder import user_cache
from fedcore.data.download import DownloadError, download
from fedcore.data.places import expanded, is_file, opened, printable, reading_from
from fedcore.errors import FedcoreError, ModelError
from fedcore.outside.archive import zip_archive
from fedcore.outside.limits import WEIGHTS_BESIDE, WEIGHTS_TIMES, size_text

BASE_URL = "https://download.pytorch.org/models"
IMAGENET_CLASSES = 1000


class Published(NamedTuple):
    """A file of torchvision: its name, the SHA-256 of its content, and how many bytes it has."""

    name: str
    sha256: str
    size: int


#: The 8 digits in a name begin the digest.
IMAGENET_FILES = {
    "mobilenet_v2": Published(
        "mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        14_212_972,
    ),
    "mobilenet_v3_small": Published(
        "mobilenet_v3_small-047dcff4.pth",
        "047dcff4addef86ea5bc2eff13c9614dc11f47ab1160d0a71a25e7db994f4e1f",
        10_306_551,
    ),
    "resnet18": Published(
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        46_830_571,
    ),
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
    file = IMAGENET_FILES[model]
    folders = _folders(data_dir)
    for folder in folders:
        if is_file(folder / file.name):
            _check_published(folder / file.name, file.sha256)
            return folder / file.name
    return _download(file, folders, f"{base_url}/{file.name}")


def weights_digest(file: Path) -> str:
    """The SHA-256 of ``file``, 64 hexadecimal digits. DataError where it cannot be read."""
    with opened(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def refuse_weights(model: str, weights: Path | None) -> None:
    """Raises `ModelError` if ``weights`` are given to a model that starts at random only."""
    if weights is not None:
        raise ModelError(f"model {model!r} takes no pretrained weights, got {weights}")


def load_weights(network: nn.Module, file: Path, num_classes: int) -> None:
    """Copy the state dict in ``file`` into ``network``, whose head has ``num_classes`` outputs.

    The head is the last `nn.Linear`. One of the 1000 ImageNet classes in the file is dropped,
    and the network keeps its own, unless it has 1000 classes itself; one of another size is
    refused, and so are tensors that are not dense, of another kind of number, or not finite. Raises
    `ModelError` with path and reason, before the network is changed.
    """
    expected: dict[str, torch.Tensor] = network.state_dict()
    state = _read_state(file, sum(value.nbytes for value in expected.values()))
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


def _read_state(file: Path, size: int) -> dict[str, torch.Tensor]:
    """The state dict in ``file``, which is for a network of ``size`` bytes."""
    most = WEIGHTS_TIMES * size + WEIGHTS_BESIDE
    try:
        with opened(file, most) as stream:
            expands = _expands_to(stream)
            if expands > most:
                raise ModelError(
                    f"weights {file} may expand to {size_text(most)} for a network of "
                    f"{size_text(size)}, got {size_text(expands)}: save network.state_dict() of "
                    "this network alone"
                )
            state: Any = torch.load(stream, map_location="cpu", weights_only=True)
    except FedcoreError:
        raise
    except Exception as error:  # torch.load lets errors of pickle, zip, its reader and the OS out
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")
        raise ModelError(
            f"weights {file} cannot be read, the file is damaged or no checkpoint "
            f"({printable(reason)[:200]})"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()
    ):
        raise ModelError(
            f"weights {file} hold a {type(state).__name__}, not a state dict of tensors by name: "
            "save network.state_dict()"
        )
    return dict(state)


def _expands_to(stream: BufferedReader) -> int:
    """Bytes that the members of a checkpoint say that they have; 0 for other formats."""
    begin = stream.read(4)
    stream.seek(0)
    if begin != b"PK\x03\x04":
        return 0
    with zip_archive(stream) as archive:
        total = sum(member.file_size for member in archive.infolist())
    stream.seek(0)
    return total


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
        raise ModelError(
            f"weights {file} are of another network: {printable('; '.join(faults))[:500]}"
        )
    for name in expected:
        if name in state and (fault := _unfit(state[name], expected[name])) is not None:
            raise ModelError(
                f"weights {file}: {name} must be {_kind(expected[name])} and finite, got {fault}: "
                "save network.state_dict() of a network that is trained"
            )


def _unfit(value: torch.Tensor, expected: torch.Tensor) -> str | None:
    """Why ``value`` cannot stand in the place of ``expected``; None where it can."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        return f"{value.layout}, {value.device.type}{', quantized' * value.is_quantized}"
    if _kind(value) != _kind(expected):
        return str(value.dtype)
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        return f"{int((~torch.isfinite(value)).sum())} numbers that are NaN or infinite"
    return None


def _kind(value: torch.Tensor) -> str:
    if value.is_complex():
        return "complex"
    return "floating-point" if value.is_floating_point() else "integer"


def _folders(data_dir: Path) -> list[Path]:
    # torch.hub.get_dir() follows $TORCH_HOME; the default place may hold an earlier download
    with reading_from("~"):
        hubs = (Path(torch.hub.get_dir()), user_cache() / "torch" / "hub")
    # for a user without a home torch names a folder "~" of the working directory
    known = [hub / "checkpoints" for hub in hubs if hub.is_absolute()]
    return list(dict.fromkeys([data_dir, *known]))


def _check_published(path: Path, digest: str) -> None:
    actual = weights_digest(path)
    if actual != digest:
        raise ModelError(
            f"weights {path} are not the published file: their SHA-256 is {actual}, not "
            f"{digest}; delete the file to have it downloaded, or name it as weights={str(path)!r}"
        )


def _download(file: Published, folders: list[Path], url: str) -> Path:
    """Fetch ``url`` into the first of ``folders`` that can be written."""
    name = file.name
    looked = f"looked for {name} in {', '.join(map(str, folders))}"
    folder = next(filter(_writable, folders), None)
    if folder is None:
        raise ModelError(f"{looked}, and none of them can be written: name another data directory")
    try:
        download(url, folder / name, "sha256", file.sha256, most=file.size)
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
