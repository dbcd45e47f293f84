"""Cases of each boundary, each from a seed of its own, and what came of them."""

from __future__ import annotations

import os
import random
import resource
import shutil
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch

from fedcore.data.loading import _load
from fedcore.errors import FedcoreError
from tests.fuzz.boundaries import commands, files, folder, machine, models, npz, words
from tests.fuzz.watch import Hung, Watch

Attempt = Callable[[random.Random, Path], None]

#: What all cases of a boundary may add to the memory of this process, in MiB: what may expand
#: freely (64), as the library that reads it holds it, beside a copy.
MEMORY: Final = 256


@dataclass(frozen=True)
class Boundary:
    """``attempt`` makes an input and hands it to fedcore; it is drawn ``weight`` times in 1,000.

    ``refusals`` are what it may raise beside FedcoreError; ``starts``: it may start programs.
    """

    name: str
    attempt: Attempt
    weight: int
    refusals: tuple[type[BaseException], ...] = ()
    starts: bool = False
    seconds: float | None = None  # None: `tests.fuzz.watch.SECONDS`
    prepare: Callable[[], object] = tuple  # what would count as the first case's own time


BOUNDARIES: Final = (
    Boundary("npz", npz.attempt, 130, prepare=npz.bomb),
    Boundary("image folder", folder.attempt, 80, prepare=folder.images),
    Boundary("pickle", models.pickles, 100, prepare=models.programs),
    Boundary("weights", models.weights, 60, prepare=models.files),
    Boundary("TOML", files.toml, 130),
    Boundary("record", files.records, 100),
    Boundary("results, baselines", files.results, 100),
    Boundary("component", words.components, 80, prepare=words.prepare),
    Boundary("scenario, flags", words.fields, 80, prepare=words.prepare),
    Boundary("suite options", words.options, 60),
    Boundary("path, environment", words.paths, 50),
    Boundary("download", machine.downloads, 20),
    Boundary("kept kernel", machine.kernels, 10, (OSError,), True),
    Boundary("command line", commands.attempt, 0, (), True, 90.0),
)


@dataclass
class Tally:
    """What came of the cases of a boundary; ``failures`` have the line that replays each."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: float = 0.0


def share(cases: int, boundaries: tuple[Boundary, ...]) -> Iterator[tuple[Boundary, int]]:
    """How many of ``cases`` each boundary gets, one at least."""
    whole = sum(boundary.weight for boundary in boundaries)
    for boundary in boundaries:
        weight = boundary.weight if whole else 1
        yield boundary, max(1, round(cases * weight / max(whole, 1)))


class Session:
    """Cases in this process, below a folder of their own that is removed by `close`."""

    def __init__(self, root: Path | None = None) -> None:
        made = root is None
        self.root = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_memory()) if made else str(root))
        self._secret = self.root / "secret.png"
        if not self._secret.exists():
            self._secret.write_bytes(folder.images()["PNG"])
        self.watch = Watch(self.root, self._secret)
        self._environment = dict(os.environ)
        os.environ["XDG_CACHE_HOME"] = str(self.root / "cache")
        torch.set_num_threads(1)

    def close(self) -> None:
        self.watch.close()
        os.environ.clear()
        os.environ.update(self._environment)
        shutil.rmtree(self.root, ignore_errors=True)

    def case(self, boundary: Boundary, seed: int, number: int) -> tuple[str, str]:
        """``accepted``, ``refused``, ``crashed``, ``hung`` or ``escaped`` of one case, and why."""
        rng = random.Random(f"{boundary.name}:{seed}:{number}")
        place = self.root / "case"
        place.mkdir()
        self.watch.starts_programs = boundary.starts
        try:
            with warnings.catch_warnings(), self.watch.case(boundary.seconds):
                warnings.simplefilter("error")  # a warning that nobody collects is a fault
                boundary.attempt(rng, place)
            outcome, why = "accepted", ""
        except Hung as error:
            outcome, why = "hung", str(error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if (
                isinstance(error, FedcoreError)
                or type(error) in boundary.refusals
                or (isinstance(error, boundary.refusals))
            ):
                outcome, why = "refused", _message(error)
            else:
                outcome, why = "crashed", "".join(traceback.format_exception(error)[-3:])
        finally:
            _load.cache_clear()
            shutil.rmtree(place, ignore_errors=True)
        if why.startswith("?"):
            outcome = "crashed"
        if self.watch.deeds:
            outcome, why = "escaped", "; ".join(self.watch.deeds[:3])
        return outcome, why

    def run(
        self, boundary: Boundary, cases: range, seed: int, begin: Callable[[int], None]
    ) -> Tally:
        """``cases`` of ``boundary``; ``begin`` is told the number of each before it."""
        boundary.prepare()
        tally, before = Tally(), _peak()
        for number in cases:
            begin(number)
            outcome, why = self.case(boundary, seed, number)
            tally.counts[outcome] += 1
            if outcome in ("crashed", "hung", "escaped"):
                tally.failures.append(failure(boundary, seed, number, outcome, why))
        tally.memory = _peak() - before
        return tally


def failure(boundary: Boundary, seed: int, number: int, outcome: str, why: str) -> str:
    """The line that replays a case, and what it did."""
    line = f'python -m tests.fuzz --boundary "{boundary.name}" --seed {seed} --case {number}'
    return f"{line}\n    {outcome}: {why.strip()}"


def _message(error: BaseException) -> str:
    """The text of a refusal; "?..." where a terminal could not show it or nobody would read it."""
    text = str(error)
    if not text.strip():
        return "?the message is empty"
    if len(text) > 20_000:
        return f"?the message has {len(text)} characters"
    return text


def _peak() -> float:
    """MiB that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _memory() -> str | None:
    """A folder in memory, where there is one: cases make and remove many small files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
