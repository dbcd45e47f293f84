"""How fast rounds are made, as a ratio to a bare PyTorch loop measured in the same minute.

Machines drift and are shared, so that seconds alone say little: reference and grid take turns,
and the median of the ratios is what is judged.
"""

from __future__ import annotations

import functools
import statistics

import pytest

from benchmark.bare_loop import BareLoop, small_cnn
from fedcore import Scenario, run
from fedcore.harness.options import Options
from fedcore.harness.timing import GridTimer

#: A grid may take this much longer per round than the bare loop in as many processes.
LIMIT = 1.5
#: Flower's messages and records, in process, may take this much longer than the plain engine.
GRID_LIMIT = 1.2
ROUNDS = {"smoke": 2}  # of measurement, by profile; otherwise 5


def workload(options: Options, seed_rounds: int) -> Scenario:
    """W1: 50 IID clients, cohort 10, 1 epoch, batch 32, SGD 0.01 momentum 0.9, the small CNN."""
    return Scenario(
        dataset=options.dataset,
        num_clients=50,
        fraction_train=0.2,
        rounds=seed_rounds,
        eval_every=seed_rounds,
        lr=0.01,
    )


@pytest.mark.benchmark(group="round", warmup=False)
def test_grid_of_runs_against_bare_loop(benchmark, suite_options: Options, remark) -> None:
    """A grid of runs on two workers, wall time over all rounds, set-up and scoring included."""
    if suite_options.device == "cuda":
        pytest.skip("the bare loop is a CPU reference; this case is not for --device cuda")
    rounds, runs = 10, 2
    timer = GridTimer(workload(suite_options, rounds), runs, suite_options.data_dir, workers=2)
    data = timer.dataset
    if data.image_shape != (28, 28):
        pytest.skip(
            f"the reference network takes 28 x 28 pixels, {data.name} has {data.image_shape}"
        )
    make = functools.partial(small_cnn, data.channels, data.num_classes)
    bare = BareLoop(data.train.images.numpy(), data.train.labels.numpy(), make)
    reference: list[float] = []
    measured: list[float] = []
    try:
        benchmark.pedantic(
            lambda: measured.append(timer.seconds_per_round()),
            setup=lambda: reference.append(bare.seconds_per_round(rounds)),
            rounds=ROUNDS.get(suite_options.profile, 5),
        )
    finally:
        bare.close()
        timer.close()
    ratios = [ours / theirs for ours, theirs in zip(measured, reference, strict=True)]
    ratio = statistics.median(ratios)
    benchmark.extra_info.update(
        dataset=data.name,
        ratio_to_bare_loop=round(ratio, 3),
        ratios=[round(r, 3) for r in ratios],
        bare_seconds_per_round=round(statistics.median(reference), 4),
        grid_seconds_per_round=round(statistics.median(measured), 4),
        training_examples_per_second=round(timer.examples_per_round / statistics.median(measured)),
    )
    remark(
        f"a round of {data.name} (W1) takes {ratio:.2f} x the bare loop's (median of "
        f"{len(ratios)}); "
        f"{benchmark.extra_info['training_examples_per_second']:,} training examples/s"
    )
    assert ratio <= LIMIT, (
        f"a round takes {ratio:.2f} x the bare loop's, at most {LIMIT} are allowed; ratios {ratios}"
    )


def test_in_process_grid_against_the_plain_engine(suite_options: Options, remark) -> None:
    """W1 through Flower's messages and through none, taking turns in this process."""
    pytest.importorskip("flwr", reason="needs the extra 'flower'")
    if suite_options.device == "cuda":
        pytest.skip("this compares two engines on the CPU")
    scenario = workload(suite_options, 10)
    seconds: dict[str, list[float]] = {"sequential": [], "flower-grid": []}
    for turn in range(1 + ROUNDS.get(suite_options.profile, 3)):
        for engine, found in seconds.items():
            record = run(
                scenario,
                turn,
                data_dir=suite_options.data_dir,
                device="cpu",
                engine=engine,
            )
            if turn:  # the first pays for imports and memory
                found.append(record.timings.train + record.timings.aggregate)
    ratios = [grid / plain for plain, grid in zip(*seconds.values(), strict=True)]
    ratio = statistics.median(ratios)
    remark(f"a round through Flower's messages takes {ratio:.2f} x the plain engine's (W1)")
    assert ratio <= GRID_LIMIT, f"{ratio:.2f} > {GRID_LIMIT}; ratios {ratios}"
