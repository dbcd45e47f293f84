"""The store of finished runs: one JSON file each, written atomically, found by content.

A record is keyed by scenario, seed, data, weights, all code that computes it with its versions, and
the machine class with its kernels, so that what is found is what running again would give. It says
itself what it was made from, and is neither written nor read under a key that says otherwise.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fedcore.errors import StoreError
from fedcore.notices import notify
from fedcore.origin.closure import UNKNOWN
from fedcore.records.files import require_writable
from fedcore.records.provenance import CHANGED, Pairs
from fedcore.records.record import Record
from fedcore.scenario import Scenario

_LONGEST_NAME = 200  # characters of a folder; file systems take 255 bytes


@dataclass(frozen=True)
class Run:
    """A scenario and a seed: what is executed, stored and reused."""

    scenario: Scenario
    seed: int

    @property
    def id(self) -> str:
        """Readable name, for messages."""
        return f"{self.scenario.id} seed {self.seed}"


@dataclass(frozen=True)
class Inputs:
    """What a run depends on beside scenario and seed, as digests and versions.

    Each field is a part of a record's provenance and means what it means there; ``machine`` is
    processor and device.
    """

    data: str
    weights: str | None
    code: str
    foreign: Pairs
    versions: Pairs
    kernels: str
    machine: str
    engine: str

    @classmethod
    def of(cls, record: Record) -> Inputs:
        """What ``record`` was made from, as its own provenance says."""
        origin = record.provenance
        return cls(
            data=origin.data,
            weights=origin.weights,
            code=origin.code,
            foreign=origin.foreign,
            versions=origin.versions,
            kernels=origin.kernels,
            machine=f"{origin.machine}, {origin.device}",
            engine=record.engine,
        )

    @property
    def certain(self) -> bool:
        """Whether a digest stands for all code; a class typed into a console has no source."""
        code = (self.code, *(digest for _, digest in self.foreign))
        return CHANGED not in code and UNKNOWN not in code


class Difference(NamedTuple):
    """A part of its key that a record does not have: what the record has, what the key."""

    what: str
    record: object
    key: object


def differences(run: Run, inputs: Inputs, record: Record) -> list[Difference]:
    """What ``record`` has other than the key of ``run`` with ``inputs``."""
    result = []
    if record.scenario != run.scenario or record.seed != run.seed:
        result.append(Difference("run", f"{record.scenario.id} seed {record.seed}", run.id))
    recorded = Inputs.of(record)
    for field in dataclasses.fields(Inputs):
        here, there = getattr(inputs, field.name), getattr(recorded, field.name)
        if isinstance(here, tuple) and isinstance(there, tuple):
            ours, theirs = dict(here), dict(there)
            names = [n for n in ours | theirs if ours.get(n) != theirs.get(n)]
            result += [Difference(f"{field.name} {n}", theirs.get(n), ours.get(n)) for n in names]
        elif here != there:
            result.append(Difference(field.name, there, here))
    return result


def folder_of(root: Path, scenario: Scenario) -> Path:
    """Where the store ``root`` keeps the records of ``scenario``.

    The id can hold the path of a data set and is cut: the key alone tells runs apart.
    """
    return root / "records" / scenario.id[:_LONGEST_NAME]


class UnwrittenError(StoreError):
    """A good record that could not be written: the place is full, or gone."""


class StoreWarning(UserWarning):
    """A stored record that was passed over."""


class Store:
    """Records below ``root``/records. Raises StoreError at once where that cannot be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            require_writable(root)
            (root / "records").mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"--results: {error}") from error

    def path(self, run: Run, inputs: Inputs) -> Path:
        """Where the record of ``run`` is kept."""
        parts = (run.scenario.hash, run.seed, inputs)
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return folder_of(self.root, run.scenario) / f"seed{run.seed}-{key}.json"

    def get(self, run: Run, inputs: Inputs) -> Record | None:
        """The stored record, or None.

        One that is not, byte for byte, what `put` wrote for this key is set aside, with a warning:
        damaged, edited, or made from something else.
        """
        path = self.path(run, inputs)
        if not inputs.certain or not os.path.lexists(path):
            return None
        try:
            return self._checked(path, run, inputs)
        except (StoreError, OSError, UnicodeDecodeError) as error:
            notify(
                f"{path.name} of {run.id}: {error}; {_set_aside(path)}, the run is made again",
                StoreWarning,
            )
            return None

    def _checked(self, path: Path, run: Run, inputs: Inputs) -> Record:
        if not path.is_file():
            raise StoreError("this is no file")
        text = path.read_bytes().decode()
        record = Record.from_json(text, scenario=run.scenario)
        if others := differences(run, inputs, record):
            parts = "; ".join(f"{what} {record}, not {key}" for what, record, key in others)
            raise StoreError(f"it was made from {parts}")
        return record

    def put(self, run: Run, inputs: Inputs, record: Record) -> Path:
        """Write ``record``; a reader sees the whole file or none.

        Raises StoreError for a record that is not of this key: data, weights or code that have
        changed since the key was made must not be found under it. So for one that could not be
        read back; UnwrittenError where the place cannot be written.
        """
        if not inputs.certain:
            raise StoreError(
                f"{run.id} cannot be stored: its code has changed while the session ran, or is "
                "defined in no file, so that no digest stands for it; run again, from files"
            )
        if others := differences(run, inputs, record):
            raise StoreError(f"{run.id} cannot be stored: {_changes(run, others)}; run again")
        try:
            text = record.to_json()
            same = Record.from_json(text, scenario=run.scenario) == record
        except (StoreError, ValueError) as error:
            raise StoreError(f"{run.id} has a record that no run should have: {error}") from error
        if not same:
            raise StoreError(f"the record of {run.id} does not come back from JSON as it is")
        path = self.path(run, inputs)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        except OSError as error:
            raise UnwrittenError(f"{path} cannot be written: {error.strerror or error}") from error
        return path


def _changes(run: Run, others: list[Difference]) -> str:
    """What was another when the run was made than when its session began, in words."""
    names = {"data": run.scenario.dataset, "weights": run.scenario.weights}
    return "; ".join(
        f"{' '.join(filter(None, (what, names.get(what))))} changed while the session ran: {key} "
        f"when it began, {record} in the run"
        for what, record, key in others
    )


def _set_aside(path: Path) -> str:
    """Rename ``path``, so that the next record has its place; in words, where it is now."""
    name = next(
        aside
        for count in itertools.count()
        if not os.path.lexists(aside := path.with_suffix(f".unreadable{count or ''}"))
    )
    try:
        os.rename(path, name)
    except OSError as error:
        return f"it cannot be set aside ({error.strerror})"
    return f"kept as {name}"


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step; a crash leaves the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's 0600 would hide results from other users
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
