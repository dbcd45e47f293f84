"""Where a number comes from: code, versions, machine, data."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

_PACKAGE = Path(__file__).parent
# Presentation and bookkeeping: a change there does not change what a run computes.
_NOT_COMPUTING = ("harness", "flower", "cli", "__main__.py", "presets.py")


@dataclass(frozen=True)
class Provenance:
    """What produced a record. ``commit`` and ``dirty`` are None outside a git checkout.

    ``class_names`` are those of the data set, by class.
    """

    commit: str | None
    dirty: bool | None
    code: str
    python: str
    torch: str
    numpy: str
    device: str
    machine: str
    data: str
    data_notes: tuple[str, ...]
    weights: str | None
    date: str
    class_names: tuple[str, ...] = ()


def provenance(
    device: torch.device,
    data: str,
    data_notes: tuple[str, ...],
    weights: str | None,
    class_names: tuple[str, ...] = (),
) -> Provenance:
    """The provenance of a run that is being made now on ``device``."""
    commit, dirty = git_state()
    return Provenance(
        commit=commit,
        dirty=dirty,
        code=code_digest(),
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        device=device_name(device),
        machine=machine(),
        data=data,
        data_notes=data_notes,
        weights=weights,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        class_names=class_names,
    )


@functools.cache
def code_digest() -> str:
    """16 hexadecimal digits of the SHA-256 over the sources of fedcore that compute results."""
    sha = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        relative = path.relative_to(_PACKAGE)
        if relative.parts[0] not in _NOT_COMPUTING:
            sha.update(relative.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()[:16]


@functools.cache
def computing_code(engine: str, strategy_spec: str | None, client_mods: str | None = None) -> str:
    """The digest of what computes a run on ``engine``, a label: `code_digest`; with Flower more.

    That is fedcore.flower, flwr's version, and the whole packages of a foreign strategy, of the one
    that it wraps, and of mods.
    """
    if not engine.startswith("flower-"):
        return code_digest()
    from fedcore.strategies.flower import packages  # imports torch

    sha = hashlib.sha256(code_digest().encode())
    with contextlib.suppress(metadata.PackageNotFoundError):
        sha.update(metadata.version("flwr").encode())
    folders = [_PACKAGE / "flower"]
    for package in packages(strategy_spec, client_mods):
        if package == "flwr":
            continue
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            origin = Path(found.origin)
            folders.append(origin.parent if origin.name == "__init__.py" else origin)
    for folder in folders:
        for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
            sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()[:16]


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """(commit, whether tracked files differ from it) of the checkout that holds fedcore."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_PACKAGE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def device_name(device: torch.device) -> str:
    """``cpu``, or the GPU's name."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    return device.type


@functools.cache
def machine() -> str:
    """Processor class of this machine: architecture, model and vector instructions.

    And that there is no C compiler, where there is none: gradients then have other last bits.
    """
    from fedcore.engine.native import compiler  # imports fedcore.data, which has no need of this

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    parts = [platform.machine(), model, torch.backends.cpu.get_cpu_capability()]
    return ", ".join([*parts, *["no C compiler"] * (compiler() is None)])


def fingerprint(device: torch.device) -> str:
    """What must be equal for bitwise equal results: torch, processor class and device."""
    return f"torch {torch.__version__}, {machine()}, {device_name(device)}"
