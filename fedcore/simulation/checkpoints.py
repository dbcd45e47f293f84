"""Checkpoints: a run that was ended goes on from its last one, to the same bits.

A checkpoint is one file of arrays and JSON, written in one step and without pickle. It says itself
what it is of: scenario, seed, data, weights, code, versions, kernels and machine, as the key of a
stored record does. One of anything else is never gone on from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fedcore.engine.parallel import ParallelEngine
from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import FedcoreError, StoreError
from fedcore.notices import notify
from fedcore.records.files import require_writable
from fedcore.simulation.carried import Arrays, CarriedError, Restored, Saved, fields_of
from fedcore.simulation.checkpoint_file import checksum, read, write

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.records.store import Inputs
    from fedcore.simulation.trial import Trial

#: Version of the files.
FORMAT: Final = 1
#: Rounds between two checkpoints, where nobody says how many.
EVERY: Final = 5
#: Then none is made before so many seconds have passed since the last one, and this many times as
#: long as that took: at most 2 % of the time.
_SECONDS: Final = 10.0
_SPARING: Final = 50
#: What a trial has from its scenario and seed alone, or from who runs it.
_GIVEN: Final = (
    *("federation", "engine", "engine_name", "device", "on_round", "_malicious", "_cohorts"),
    *("_present", "_server", "_evaluated", "_attack"),
)


class CheckpointWarning(UserWarning):
    """A checkpoint that was passed over."""


class CheckpointError(FedcoreError):
    """A run that cannot have checkpoints, or a folder that cannot hold them."""


class Checkpoints:
    """The checkpoints of runs in ``folder``, after each ``every`` rounds.

    ``every`` None: each 5 rounds, but 10 seconds apart, and never so often that they take more than
    2 % of the time. Raises CheckpointError where the folder cannot be written to. ``lenient``: a
    run that cannot be saved, now or when the folder is full, goes on without.
    """

    def __init__(self, folder: Path, every: int | None = None, *, lenient: bool = False) -> None:
        if every is not None and every < 1:
            raise CheckpointError(f"checkpoints must be at least 1 round apart, got {every}")
        self.folder, self.every, self.lenient = folder, every, lenient
        #: The round after which the last checkpoint was made, of the run that was saved last.
        self.saved = 0
        try:
            require_writable(folder)
        except FedcoreError as error:
            raise CheckpointError(f"checkpoints: {error}") from error

    def of(self, trial: Trial, inputs: Inputs) -> Keeper | None:
        """The checkpoint of one run, made from ``inputs``. CheckpointError where it has none."""
        try:
            return Keeper(self, trial, inputs)
        except CheckpointError:
            if self.lenient:
                return None
            raise


class Keeper:
    """The checkpoint of ``trial``: `resume` before its first round, then `after` each round."""

    def __init__(self, place: Checkpoints, trial: Trial, inputs: Inputs) -> None:
        self._place, self._trial = place, trial
        scenario, seed = trial.federation.scenario, trial.federation.seed
        self._id = f"{scenario.id} seed {seed}"
        self._key: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "format": FORMAT,
                    "scenario": scenario.to_dict(),
                    "seed": seed,
                    **dataclasses.asdict(inputs),
                },
                default=str,
            )
        )
        digest = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()[:16]
        self.path = place.folder / f"{scenario.id[:150]}-seed{seed}-{digest}.npz"
        self._engine = _engine_of(trial)
        self._foreign = _foreign_parts(trial)
        self._certain = inputs.certain
        self._last, self._cost = time.monotonic(), 0.0
        #: Seconds that checkpoints have taken.
        self.seconds = 0.0
        self._saved()  # what cannot be saved is known now, not after hours

    def resume(self) -> int:
        """Have the trial go on from its checkpoint; the rounds that are made, 0 without one."""
        if not self._certain or not self.path.exists():
            return 0
        try:
            content, arrays = read(self.path, self._key)
        except StoreError as error:
            notify(f"{self.path.name}: {error}; the run begins anew", CheckpointWarning)
            return 0
        try:
            self._restore(content, arrays)
        except CarriedError as error:  # the same code has saved it, says its key
            raise CheckpointError(f"{self.path}: {error}; delete that file") from error
        self._place.saved = self._trial.round - 1
        return self._place.saved

    def complete(self) -> Record:
        """Make the rounds that are left, saving them; the record."""
        while not self._trial.finished:
            self._trial.advance()
            self.after()
        record = self._trial.record()
        self.remove()
        return record

    def after(self) -> None:
        """Save the trial, if a checkpoint is due after the round that it has made last."""
        rounds = self._trial.round - 1
        if self._trial.finished or not self._certain or rounds % (self._place.every or EVERY):
            return
        begun = time.monotonic()
        least = max(_SECONDS, _SPARING * self._cost)
        if self._place.every is None and begun - self._last < least:
            return
        try:
            self._write()
        except CheckpointError as error:
            if not self._place.lenient:
                raise
            self._certain = False
            notify(f"{error}: it goes on without", CheckpointWarning)
        self._last = time.monotonic()
        self._cost = self._last - begun
        self.seconds += self._cost

    def _write(self) -> None:
        content, arrays = self._saved()
        try:
            write(self.path, self._key, content, arrays)
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint of {self._id} cannot be written to {self.path} "
                f"({error.strerror or error}): make room, or run without checkpoints"
            ) from error
        self._place.saved = self._trial.round - 1

    def remove(self) -> None:
        """The run is finished: nobody will go on from here."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _saved(self) -> tuple[Any, Arrays]:
        trial, saved = self._trial, Saved()
        for name, (component, before) in self._foreign.items():
            if _own_state(name, component) != before:
                raise CheckpointError(
                    f"{self._id} cannot have checkpoints: {name} changes while it runs: let it "
                    "keep in the server's memory what it keeps, or run without"
                )
        own = {k: v for k, v in vars(trial).items() if k not in _GIVEN}
        memory, threat = self._engine.memory, trial.federation.threat
        clients = _present(memory)
        try:
            content = {
                "trial": {k: saved.of(v, k.removeprefix("_")) for k, v in own.items()},
                "clients": {
                    name: saved.of(rows[clients], f"what clients keep ({name})")
                    for name, rows in memory.rows.items()
                },
                "present": clients,
                "draws": saved.of(threat._draws, "the poisoned data"),
                "scored": saved.of(threat._scored, "the labels drawn from scores"),
            }
        except CarriedError as error:
            raise CheckpointError(
                f"{self._id} cannot have checkpoints: {error}; run it without"
            ) from error
        return content, saved.arrays

    def _restore(self, content: Any, arrays: Arrays) -> None:
        trial = self._trial
        restored = Restored(arrays, trial.device)
        fresh = {k: v for k, v in vars(trial).items() if k not in _GIVEN}
        if set(content["trial"]) != set(fresh):
            raise CarriedError("it is of another version of runs")
        parts = {k: restored.of(v, fresh[k], k) for k, v in content["trial"].items()}
        vars(trial).update(parts)
        memory, threat = self._engine.memory, trial.federation.threat
        clients = content["present"]
        for name, rows in memory.rows.items():
            rows[clients] = restored.of(content["clients"][name], None, name)
        for client in clients:
            memory.keep(client)
        for known, name in ((threat._draws, "draws"), (threat._scored, "scored")):
            before = restored.of(content[name], dict(known), name)
            known.clear()
            known.update(before)


def _engine_of(trial: Trial) -> SequentialEngine:
    """The engine that keeps what clients keep. CheckpointError for one whose state is unknown."""
    engine: Any = trial.engine
    if isinstance(engine, ParallelEngine):
        engine = engine.engine
    if type(engine) is not SequentialEngine:
        raise CheckpointError(
            f"{type(engine).__name__} cannot have checkpoints: choose --engine sequential, or run "
            "without"
        )
    return engine


def _foreign_parts(trial: Trial) -> dict[str, tuple[Any, str]]:
    """The components that are not fedcore's own, by name, with what they hold now."""
    return {
        name: (part, _own_state(name, part))
        for place, part in trial.federation.scenario.parts.everything()
        if not type(part).__module__.startswith("fedcore.")
        for name in (f"{place} {type(part).__name__!r}",)
    }


def _own_state(name: str, component: Any) -> str:
    """What ``component`` holds, as a digest. CheckpointError for what cannot be saved."""
    saved = Saved()
    try:
        content = saved.of(dict(fields_of(component)), name)
    except CarriedError as error:
        raise CheckpointError(f"{error}: run without checkpoints") from error
    return checksum(json.dumps(content).encode(), saved.arrays).hex()


def _present(memory: Any) -> list[int]:
    """The clients that keep something, ascending."""
    return [client for client in range(memory.clients) if memory.has(client)]
