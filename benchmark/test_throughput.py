"""How fast rounds are made, as ratios to a bare PyTorch loop measured in the same minute.

Machines drift and are shared, so that seconds alone say little: references and fedcore take turns,
and the median of the ratios is what is judged. Stacked clients, and all on a GPU, are also held
against central training, one model in large batches. `timing.throughput_cases` lists the cases;
`--benchmark-json FILE` keeps what each found, with the machine's fingerprint.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fedcore.data.dataset import Dataset
from fedcore.data.loading import load
from fedcore.engine.execution import choose_device
from fedcore.engine.parallel import can_fork
from fedcore.errors import FedcoreError
from fedcore.harness.measuring import commands
from fedcore.harness.measuring.peak_memory import held_bytes, peak_bytes
from fedcore.harness.measuring.rounds import GridTimer, RoundTimer, clock
from fedcore.harness.plugin.options import OPTIONS
from fedcore.harness.suite.options import Options
from fedcore.records.provenance import fingerprint

from .timing import throughput_cases
from .timing.throughput_cases import PROCESSES, Case
from .timing.turns import References, Seconds, Turns

pytestmark = pytest.mark.timing


def device_of(options: Options) -> str:
    """Cpu or cuda; whether there is one is asked later, where it can be told."""
    return choose_device("auto").type if options.device == "auto" else options.device


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The profile's cases; their clock waits for the device."""
    if "case" not in metafunc.fixturenames:
        return
    options = metafunc.config.stash[OPTIONS]
    device = device_of(options)
    timed = pytest.mark.benchmark(group="round", warmup=False, timer=clock(torch.device(device)))
    chosen = throughput_cases.cases(options.profile, device)
    metafunc.parametrize("case", [pytest.param(c, id=c.id, marks=timed) for c in chosen])


@pytest.fixture(scope="module")
def options(suite_options: Options) -> Options:
    """The session's options, once their device and data are there; else pytest ends, status 4."""
    try:
        choose_device(suite_options.device)
        load(suite_options.dataset, suite_options.data_dir, suite_options.image_size)
    except FedcoreError as error:
        pytest.exit(str(error), returncode=4)
    return suite_options


def w1_data(options: Options) -> Dataset:
    """The session's data set, if W1's network takes it."""
    data = load(options.dataset, options.data_dir, options.image_size)
    if data.image_shape != (28, 28):
        pytest.skip(f"the reference network takes 28 x 28 pixels, not {data.image_shape}")
    return data


@pytest.fixture(scope="module")
def references() -> Iterator[References]:
    """Kept from case to case."""
    kept = References()
    yield kept
    kept.close()


@dataclass(frozen=True)
class Measure:
    """Functions that give seconds a round, measured anew, of fedcore and of its references.

    ``peak`` gives the bytes that fedcore takes: on the GPU, or beyond what the session held before.
    """

    ours: Seconds
    references: dict[str, Seconds]
    timer: GridTimer | RoundTimer
    peak: Callable[[], int | None]


@pytest.fixture
def measure(case: Case, options: Options, references: References) -> Iterator[Measure]:
    """What ``case`` measures; skips where this machine or the data set are not for it."""
    device = device_of(options)
    if case.kind == "run" and case.processes(device) > 1 and not can_fork():
        pytest.skip("one run on two processes needs a system that can fork, and no GPU in it")
    if case.size is None:
        w1_data(options)
    scenario = throughput_cases.scenario(case, options.dataset, device)
    if scenario.image_size is None:
        scenario = scenario.but(image_size=options.image_size)
    rounds, processes = scenario.rounds, case.processes(device)
    before = held_bytes(references.pids) if device == "cpu" else 0
    try:
        timer = throughput_cases.timer(case, scenario, options.data_dir, device)
    except FedcoreError as error:  # such as a data set that is too small for 50 clients
        pytest.fail(str(error), pytrace=False)
    ours: Seconds = timer.seconds_per_round
    if case.kind == "run":
        ours = functools.partial(ours, rounds)
    try:
        key = (scenario.dataset, case.model, case.pixels, processes)
        make = functools.partial(throughput_cases.setting, case, scenario, timer.dataset, device)
        bare = references.loop(key, make, processes)
        against = {"bare_loop": functools.partial(bare.seconds_per_round, rounds)}
        if case.engine != "sequential" or device == "cuda":

            def central() -> float:
                return bare.central_seconds(timer.examples_per_round * rounds) / rounds

            central()  # memory of a large batch
            against["central_training"] = central

        def peak() -> int | None:
            found = peak_bytes(ours, torch.device(device), without=bare.pids)
            return None if found is None else found - before

        yield Measure(ours, against, timer, peak)
    finally:
        timer.close()


def test_rounds_against_bare_loop(benchmark, case, measure, options, remark) -> None:
    """Whole runs with set-up and scoring, or the rounds of one run without; seconds a round."""
    turns = Turns(measure.ours, measure.references)
    count = case.turns(options.profile)
    turns.take(benchmark, count)
    device = choose_device(options.device)
    limit = case.limit if device.type == "cpu" else None  # nothing is promised of a GPU yet
    if limit is not None and turns.ratio("bare_loop") > limit:
        turns.take_more(2 * count)
    facts = turns.facts(measure.timer.examples_per_round)
    peak = measure.peak()
    if peak is not None:
        facts["peak_megabytes"] = round(peak / 1e6)
    benchmark.extra_info.update(
        facts, fingerprint=fingerprint(device), engine=case.engine, precision=case.precision
    )
    ratio, ratios = turns.ratio("bare_loop"), turns.ratios("bare_loop")
    told = f"a round of {case.id} takes {ratio:.2f} x the bare loop's (median of {len(ratios)})"
    if "central_training" in turns.references:
        told += f", {turns.ratio('central_training'):.2f} x central training's"
    remark(f"{told}; {facts['examples_per_second']:,.0f} examples/s")
    assert math.isfinite(ratio)
    assert facts["examples_per_round"] > 0
    assert limit is None or ratio <= limit, (
        f"a round takes {ratio:.2f} x the bare loop's, at most {limit:.2f} are allowed: {ratios}"
    )


@pytest.mark.benchmark(group="cold", warmup=False)
def test_cold_start_and_memory(benchmark, options: Options, remark, tmp_path: Path) -> None:
    """``fedcore run`` of W1 from typing it to its end, imports and one scoring included."""
    if options.profile == "smoke":
        pytest.skip("a case of profile quick")
    data = w1_data(options)
    device = device_of(options)
    file = tmp_path / "data.npz"
    splits = {"train": data.train, "test": data.test}
    arrays = {f"{name}_images": split.images.numpy() for name, split in splits.items()}
    arrays |= {f"{name}_labels": split.labels.numpy() for name, split in splits.items()}
    np.savez_compressed(file, **arrays)
    run = [sys.executable, "-m", "fedcore", "run", "--preset", "w1", "--device", device]
    run += ["--dataset", f"npz:{file}"]
    run += ["--processes", str(PROCESSES if device == "cpu" and can_fork() else 1)]
    loop = [sys.executable, "-m", f"{__package__}.bare_loop", str(file), "10", device]
    turns = Turns(
        lambda: commands.seconds(run) / 10, {"bare_loop": lambda: commands.seconds(loop) / 10}
    )
    turns.take(benchmark, 3)
    megabytes = commands.peak_memory(run) / 1e6
    benchmark.extra_info.update(
        turns.facts(len(data.train) / 5),
        peak_megabytes=round(megabytes),
        fingerprint=fingerprint(choose_device(device)),
    )
    ratio = turns.ratio("bare_loop")
    remark(f"fedcore run of W1 from a cold start: {ratio:.2f} x the bare loop; {megabytes:.0f} MB")
    if device == "cpu":
        assert ratio <= 1.0, f"{ratio:.2f} x the bare loop's time: {turns.ratios('bare_loop')}"
        assert megabytes <= 700  # of the bare loop that was measured for the design: 640
