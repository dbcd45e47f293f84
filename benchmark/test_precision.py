"""bfloat16 is as accurate as float32: paired seeds, an interval, a margin."""

from __future__ import annotations

import statistics

import pytest
from scipy import stats

from fedcore import Scenario
from fedcore.data.loading import data_directory
from fedcore.engine.bfloat16 import native_bfloat16
from fedcore.engine.execution import Execution
from fedcore.harness.runs.job import Failure, Job
from fedcore.harness.runs.processes import Pool
from fedcore.harness.suite.options import Options
from fedcore.records.store import Run

SEEDS = 12
#: Percentage points of tail accuracy that the mean difference may be away from 0.
MARGIN = 0.5
SCENARIO = Scenario(
    dataset="mnist5k",
    partition="dirichlet",
    alpha=0.5,
    num_clients=50,
    fraction_train=0.2,
    rounds=20,
    local_epochs=(1, 3),
    lr=0.02,
)


def test_bfloat16_keeps_the_accuracy(suite_options: Options, remark) -> None:
    """Tail accuracy of bfloat16 minus float32: its 90 % interval lies within the margin.

    That is two one-sided tests at 5 % (Schuirmann 1987): only a difference shown to be small
    passes.
    """
    if suite_options.profile in ("smoke", "quick"):
        pytest.skip("a case of profile full: 24 runs")
    if suite_options.device == "cuda" or not native_bfloat16():
        pytest.skip("needs a CPU with instructions for bfloat16")
    pool = Pool(suite_options.jobs)
    folder = data_directory(suite_options.data_dir)
    tails: dict[str, list[float]] = {}
    try:
        jobs = {
            precision: [
                Job(
                    Run(SCENARIO, seed),
                    None,
                    None,
                    folder,
                    Execution("sequential", "cpu", precision),
                )
                for seed in range(SEEDS)
            ]
            for precision in ("float32", "bfloat16")
        }
        for job in (job for some in jobs.values() for job in some):
            pool.submit(job)
        for precision, some in jobs.items():
            results = [pool.result(job) for job in some]
            assert not [result for result in results if isinstance(result, Failure)]
            tails[precision] = [100 * result.tail_accuracy for result in results]
    finally:
        pool.close()
    gaps = [half - full for half, full in zip(tails["bfloat16"], tails["float32"], strict=True)]
    mean = statistics.mean(gaps)
    reach = stats.t.ppf(0.95, SEEDS - 1) * statistics.stdev(gaps) / SEEDS**0.5
    remark(
        f"bfloat16 minus float32, tail accuracy over {SEEDS} paired seeds: {mean:+.2f} points, "
        f"90 % interval {mean - reach:+.2f} to {mean + reach:+.2f}"
    )
    assert mean - reach > -MARGIN, gaps
    assert mean + reach < MARGIN, gaps
