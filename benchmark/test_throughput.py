"""How fast rounds are made, as ratios to a bare PyTorch loop measured in the same minute.

Machines drift and are shared, so that seconds alone say little: reference and fedcore take turns,
and the median of the ratios is what is judged. Cases by profile: see `CASES`.
"""

from __future__ import annotations

import functools
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.bare_loop import BareLoop, mobilenet, small_cnn
from fedcore import Scenario
from fedcore.harness import cold
from fedcore.harness.options import PROFILES, Options
from fedcore.harness.timing import GridTimer, RoundTimer

PROCESSES = 2
ROUNDS = {"smoke": 2}  # of measurement, by profile; otherwise 5


@dataclass(frozen=True)
class Case:
    """One row of the suite: what is timed, and how many times the bare loop's time it may take.

    Limits leave room for a loaded machine: what was measured on a quiet one is in the README.
    ``size`` None is W1 on the session's data set; else generated images of that many pixels.
    """

    kind: str
    model: str
    size: int | None
    precision: str
    limit: float
    profile: str

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.model}-{self.size or 'w1'}-{self.precision}".replace("_", "")


CASES = (
    Case("grid", "cnn", None, "float32", 1.5, "smoke"),
    Case("run", "cnn", None, "float32", 1.6, "smoke"),
    Case("grid", "cnn", None, "bfloat16", 1.0, "quick"),
    Case("run", "cnn", None, "bfloat16", 0.9, "quick"),
    Case("run", "mobilenet_v2", 28, "float32", 1.5, "quick"),
    Case("run", "mobilenet_v2", 32, "float32", 1.5, "full"),
    Case("run", "mobilenet_v2", 64, "float32", 1.5, "full"),
    Case("run", "mobilenet_v2", 224, "float32", 1.5, "full"),
)


def workload(options: Options, case: Case, rounds: int) -> Scenario:
    """W1: 50 IID clients, cohort 10, 1 epoch, batch 32, SGD 0.01 momentum 0.9, the small CNN.

    MobileNetV2 trains on 10 clients of 64 generated images, 2 of them a round.
    """
    common: dict[str, Any] = {"rounds": rounds, "eval_every": rounds, "lr": 0.01}
    if case.size is None:
        return Scenario(dataset=options.dataset, num_clients=50, fraction_train=0.2, **common)
    return Scenario(
        dataset="synthetic:640",
        grayscale=True,
        image_size=case.size,
        model=case.model,
        num_clients=10,
        fraction_train=0.2,
        **common,
    )


def bare_loop(scenario: Scenario, data: Any) -> BareLoop:
    """The bare loop of ``scenario`` on ``data``."""
    images, labels = data.train.images.numpy(), data.train.labels.numpy()
    if scenario.model == "cnn":
        make = functools.partial(small_cnn, data.channels, data.num_classes)
        return BareLoop(images, labels, make, PROCESSES)
    make = functools.partial(mobilenet, data.num_classes)
    federation = {"clients": scenario.num_clients, "cohort": scenario.cohort_size, "batch": 32}
    return BareLoop(
        images, labels, make, PROCESSES, size=scenario.image_size, channels=3, **federation
    )


@pytest.fixture
def cpu(suite_options: Options) -> Options:
    """The options of a session whose runs are computed on the CPU."""
    if suite_options.device == "cuda":
        pytest.skip("the bare loop is a CPU reference; this case is not for --device cuda")
    return suite_options


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request: pytest.FixtureRequest, cpu: Options) -> Case:
    """Each of `CASES` that the profile takes and this CPU can compute."""
    chosen: Case = request.param
    if PROFILES.index(cpu.profile) < PROFILES.index(chosen.profile):
        pytest.skip(f"a case of profile {chosen.profile}")
    if chosen.precision == "bfloat16":
        from fedcore.engine.bfloat16 import native_bfloat16

        if not native_bfloat16():
            pytest.skip("this CPU has no instructions for bfloat16")
    return chosen


@pytest.fixture
def measure(case: Case, cpu: Options) -> Iterator[tuple[Callable[[], float], Callable[[], float]]]:
    """(ours, theirs): functions that give seconds a round, measured anew."""
    from fedcore.execution import Execution

    rounds = 10 if case.model == "cnn" else 2
    scenario = workload(cpu, case, rounds)
    if case.kind == "grid":
        timer: Any = GridTimer(scenario, PROCESSES, cpu.data_dir, PROCESSES, case.precision)
        data, ours = timer.dataset, timer.seconds_per_round
    else:
        how = Execution("sequential", "cpu", case.precision, PROCESSES)
        timer = RoundTimer(scenario, cpu.data_dir, how)
        data = timer.federation.dataset
        ours = functools.partial(timer.seconds_per_round, rounds)
    try:
        if case.size is None and data.image_shape != (28, 28):
            pytest.skip(f"the reference network takes 28 x 28 pixels, not {data.image_shape}")
        bare = bare_loop(scenario, data)
        try:
            yield ours, functools.partial(bare.seconds_per_round, rounds)
        finally:
            bare.close()
    finally:
        timer.close()


def alternate(benchmark: Any, rounds: int, ours: Any, theirs: Any) -> tuple[float, list[float]]:
    """(median ratio, ratios) of ``rounds`` measurements in turns; the first is for warmth."""
    measured: list[float] = []
    reference: list[float] = []
    benchmark.pedantic(
        lambda: measured.append(ours()), setup=lambda: reference.append(theirs()), rounds=rounds
    )
    ratios = [mine / bare for mine, bare in zip(measured, reference, strict=True)]
    benchmark.extra_info.update(
        ratio_to_bare_loop=round(statistics.median(ratios), 3),
        ratios=[round(ratio, 3) for ratio in ratios],
        bare_seconds=round(statistics.median(reference), 4),
        fedcore_seconds=round(statistics.median(measured), 4),
    )
    return statistics.median(ratios), ratios


@pytest.mark.benchmark(group="round", warmup=False)
def test_rounds_against_bare_loop(benchmark, case, measure, cpu, remark) -> None:
    """A grid with set-up and scoring, or one run on two processes without, per round."""
    ratio, ratios = alternate(benchmark, ROUNDS.get(cpu.profile, 5), *measure)
    remark(f"a round of {case.id} takes {ratio:.2f} x the bare loop's (median of {len(ratios)})")
    assert ratio <= case.limit, (
        f"a round takes {ratio:.2f} x the bare loop's, at most {case.limit} are allowed: {ratios}"
    )


@pytest.mark.benchmark(group="cold", warmup=False)
def test_cold_start_and_memory(benchmark, cpu: Options, remark, tmp_path: Path) -> None:
    """``fedcore run`` of W1 from typing it to its end, imports and one scoring included."""
    if cpu.profile == "smoke":
        pytest.skip("a case of profile quick")
    from fedcore.data.loading import load

    data = load(cpu.dataset, cpu.data_dir)
    if data.image_shape != (28, 28):
        pytest.skip(f"the reference network takes 28 x 28 pixels, not {data.image_shape}")
    file = tmp_path / "data.npz"
    splits = {"train": data.train, "test": data.test}
    arrays = {f"{name}_images": split.images.numpy() for name, split in splits.items()}
    arrays |= {f"{name}_labels": split.labels.numpy() for name, split in splits.items()}
    np.savez_compressed(file, **arrays)
    run = [sys.executable, "-m", "fedcore", "run", "--preset", "w1", "--device", "cpu"]
    run += ["--dataset", f"npz:{file}", "--processes", str(PROCESSES)]
    loop = [sys.executable, "-m", "benchmark.bare_loop", str(file), "10"]
    ratio, ratios = alternate(
        benchmark, 3, functools.partial(cold.seconds, run), functools.partial(cold.seconds, loop)
    )
    megabytes = cold.peak_memory(run) / 1e6
    benchmark.extra_info["peak_megabytes"] = round(megabytes)
    remark(f"fedcore run of W1 from a cold start: {ratio:.2f} x the bare loop; {megabytes:.0f} MB")
    assert ratio <= 1.5, f"{ratio:.2f} x the bare loop's time, at most 1.5 are allowed: {ratios}"
    assert megabytes <= 700
