"""The cases of the throughput suite: what is timed, on which data, and how slow it may be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from fedcore import Scenario
from fedcore.data.dataset import Dataset
from fedcore.engine.execution import Execution
from fedcore.harness.measuring.rounds import GridTimer, RoundTimer
from fedcore.harness.suite.options import PROFILES

from ..bare_loop import Setting, mobilenet, small_cnn

PROCESSES = 2
#: Turns of measurement, by profile; otherwise 5, and 3 of cases whose limit is none or wide.
TURNS = {"smoke": 2}
#: Runs made at a time in a grid.
GRID = {"cpu": PROCESSES, "cuda": 8}
#: Batch of central training, by model or device, and pixels a side: on the CPU the fastest of 8 to
#: 512 (one thread, AVX-512; 32 pixels as 28), on a GPU what should fit into 16 GB.
LARGE = {
    "cnn": {28: 64, 32: 64, 64: 32, 224: 16},
    "mobilenet_v2": {28: 128, 32: 128, 64: 64, 224: 16},
    "cuda": {28: 4096, 32: 4096, 64: 1024, 224: 128},
}


@dataclass(frozen=True)
class Case:
    """One row of the suite.

    ``kind``: run (the rounds of one), grid (whole runs, as many at once as there are processes) or
    lockstep (whole runs as one network). ``size`` None is W1 on the session's data set; else
    generated images of that many pixels a side. ``limit``: how many times the bare loop's time a
    round may take on the CPU, None where nothing is promised; `RUN` and `CASES` say why.
    """

    kind: str
    engine: str
    model: str
    size: int | None
    precision: str = "float32"
    profile: str = "full"
    limit: float | None = None

    @property
    def id(self) -> str:
        name = f"{self.kind}-{self.model}-{self.size or 'w1'}-{self.precision}".replace("_", "")
        return name if self.engine == "sequential" else f"{name}-{self.engine}"

    @property
    def pixels(self) -> int:
        """Pixels a side."""
        return self.size or 28

    def processes(self, device: str) -> int:
        """Processes that train, of the bare loop as of fedcore."""
        return PROCESSES if device == "cpu" and self.engine == "sequential" else 1

    def execution(self, device: str) -> Execution:
        """How fedcore makes it. Raises FedcoreError where this machine cannot."""
        processes = self.processes(device) if self.kind == "run" else 1
        return Execution(self.engine, device, self.precision, processes)

    def rounds(self, device: str) -> int:
        """Rounds of a turn."""
        if self.size is None:
            return 10 if device == "cpu" and self.engine == "sequential" else 4
        if device == "cuda":
            return 2
        if self.model == "cnn":
            return {32: 10, 64: 4, 224: 1}[self.size]
        return {28: 2, 32: 2, 64: 1, 224: 1}[self.size]

    def turns(self, profile: str) -> int:
        """Turns of measurement in ``profile``."""
        close = self.engine == "sequential" and self.limit is not None
        return TURNS.get(profile, 5 if close else 3)


#: Promised of one run on two processes: W1 in at most 1.15 x the bare loop's time, MobileNetV2 at
#: 28 pixels at 95 % of its speed, 1.05 x. The latter has a tenth more for a loaded machine:
#: medians of one machine differed by 8 % within a day, and both loops spend their time in the same
#: kernels. Larger images, of which nothing is promised, are held to the same
#: (in 2026-11 the cnn took 0.2 to 0.5 x, MobileNetV2 0.5 to 0.95 x), but for MobileNetV2 at 224
#: pixels: there both spend their time in the same kernels, a round has one client a process, and a
#: loaded machine showed 0.7 to 1.06 x.
RUN = {"cnn": 1.15, "mobilenet_v2": 1.15}
RUN_224 = {"cnn": 1.15, "mobilenet_v2": 1.3}
JUDGED = ("run", "sequential")
MATRIX = tuple(
    Case(
        kind,
        engine,
        model,
        size,
        limit=(RUN_224 if size == 224 else RUN)[model] if (kind, engine) == JUDGED else None,
    )
    for model, sizes in (("cnn", (None, 32, 64, 224)), ("mobilenet_v2", (28, 32, 64, 224)))
    for size in sizes
    for engine, kinds in (("sequential", ("run", "grid")), ("stacked", ("run", "lockstep")))
    for kind in kinds
)
#: Cases of earlier profiles than full, in the place of the matrix's. 1.05 is what is promised of a
#: grid of W1. Stacked clients are slower on a CPU, which they are not made for: the limits, half as
#: much again as the most that was measured (1.4 for one run, 1.8 in lockstep), are for a collapse.
CASES = (
    Case("run", "sequential", "cnn", None, profile="smoke", limit=RUN["cnn"]),
    Case("grid", "sequential", "cnn", None, profile="smoke", limit=1.05),
    Case("run", "stacked", "cnn", None, profile="quick", limit=2.0),
    Case("lockstep", "stacked", "cnn", None, profile="quick", limit=2.7),
    Case("run", "sequential", "mobilenet_v2", 28, profile="quick", limit=RUN["mobilenet_v2"]),
)


def cases(profile: str, device: str) -> list[Case]:
    """Those of ``profile`` on ``device``, cpu or cuda; what shares a reference is neighbours.

    On a GPU quick already takes the whole matrix, smoke the stacked engine on W1.
    """
    if device == "cuda":
        if profile == "smoke":
            return [case for case in MATRIX if case.size is None and case.engine == "stacked"]
        return list(MATRIX)
    listed = {case.id: case for case in (*MATRIX, *CASES)}
    taken = PROFILES.index(profile)
    chosen = [case for case in listed.values() if PROFILES.index(case.profile) <= taken]
    return sorted(chosen, key=lambda case: (case.model, case.pixels, case.engine))


def scenario(case: Case, dataset: str, device: str) -> Scenario:
    """W1: 50 IID clients, cohort 10, 1 epoch, batch 32, SGD 0.01 momentum 0.9, the small CNN.

    Of generated images a client has 64, and on a GPU it is W1's federation otherwise. On the CPU
    there are 10 clients, 2 of them a round, of 16 images each at 224 pixels.
    """
    rounds = case.rounds(device)
    common: dict[str, Any] = {"rounds": rounds, "eval_every": rounds, "lr": 0.01}
    if case.size is None:
        return Scenario(dataset=dataset, num_clients=50, fraction_train=0.2, **common)
    clients = 50 if device == "cuda" else 10
    samples = clients * (16 if device == "cpu" and case.size == 224 else 64)
    return Scenario(
        dataset=f"holdout:synthetic:{samples * 5 // 4}",  # a fifth is for scoring
        grayscale=True,
        image_size=case.size,
        model=case.model,
        num_clients=clients,
        fraction_train=0.2,
        **common,
    )


def timer(case: Case, of: Scenario, data_dir: str | None, device: str) -> GridTimer | RoundTimer:
    """What times fedcore. Raises FedcoreError where the data or this machine do not allow it."""
    execution = case.execution(device)
    if case.kind == "run":
        return RoundTimer(of, data_dir, execution)
    return GridTimer(of, GRID[device], data_dir, case.processes(device), execution)


def setting(case: Case, of: Scenario, data: Dataset, device: str) -> Setting:
    """What the bare loop of the scenario ``of`` is given: the same data, network and federation."""
    channels = data.channels if case.size is None else 3
    make: Callable[[], nn.Module] = functools.partial(mobilenet, data.num_classes)
    if case.model == "cnn":
        make = functools.partial(small_cnn, channels, data.num_classes, case.pixels)
    return Setting(
        images=data.train.images.numpy(),
        labels=data.train.labels.numpy(),
        make=make,
        size=case.size,
        channels=channels,
        device=device,
        clients=of.num_clients,
        cohort=of.cohort_size,
        batch=of.batch_size,
        large=LARGE["cuda" if device == "cuda" else case.model][case.pixels],
    )
