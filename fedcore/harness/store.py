"""The store of finished runs: one JSON file each, written atomically, found by content.

A record is keyed by scenario, seed, data, weights, the code that computes it and the machine
class, so that what is found is what running again would give.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from fedcore.errors import StoreError
from fedcore.harness.places import require_writable
from fedcore.record import Record
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
    """What a run depends on beside scenario and seed, as digests."""

    data: str
    weights: str | None
    code: str
    machine: str
    engine: str


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
        # the id can hold the path of a data set; the key alone tells runs apart
        folder = run.scenario.id[:_LONGEST_NAME]
        return self.root / "records" / folder / f"seed{run.seed}-{key}.json"

    def get(self, run: Run, inputs: Inputs) -> Record | None:
        """The stored record, or None. One that cannot be read is set aside, with a warning."""
        path = self.path(run, inputs)
        if not path.exists():
            return None
        try:
            record = Record.from_json(path.read_text())
            if (record.scenario, record.seed) != (run.scenario, run.seed):
                raise StoreError(f"it holds {record.scenario.id} seed {record.seed}")
        except (StoreError, OSError, UnicodeDecodeError) as error:
            aside = path.with_suffix(".unreadable")
            os.replace(path, aside)
            warnings.warn(
                f"{path.name} of {run.id}: {error}; kept as {aside}, the run is made again",
                StoreWarning,
                stacklevel=2,
            )
            return None
        return record

    def put(self, run: Run, inputs: Inputs, record: Record) -> Path:
        """Write ``record``; a reader sees the whole file or none."""
        path = self.path(run, inputs)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, record.to_json())
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error
        return path


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
