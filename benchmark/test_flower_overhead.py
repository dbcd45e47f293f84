"""What Flower's messages cost: W1 through the in-process grid against the plain engine."""

from __future__ import annotations

import statistics

import pytest

from fedcore import Scenario, run
from fedcore.harness.options import Options
from fedcore.presets import preset

#: Flower's messages and records, in process, may take this much longer than the plain engine.
LIMIT = 1.2
ROUNDS = 4  # of training a measurement
TURNS = 3  # measurements


def workload() -> Scenario:
    """W1 on generated images, as many and as large as BloodMNIST's: 240 a client, 28x28 pixels.

    Not on the session's data: a message costs the same whatever a client trains on, so on a
    smaller set the ratio would tell the size of the set (BreastMNIST 3.4, mnist5k 1.4).
    """
    return preset("w1").but(
        dataset="synthetic:12000", image_size=28, grayscale=True, rounds=ROUNDS, eval_every=ROUNDS
    )


def test_in_process_grid_against_the_plain_engine(suite_options: Options, remark) -> None:
    """W1 through Flower's messages and through none, taking turns in this process."""
    pytest.importorskip("flwr", reason="needs the extra 'flower'")
    if suite_options.device == "cuda":
        pytest.skip("this compares two engines on the CPU")
    scenario = workload()
    seconds: dict[str, list[float]] = {"sequential": [], "flower-grid": []}
    for turn in range(1 + TURNS):
        for engine, found in seconds.items():
            record = run(scenario, turn, device="cpu", engine=engine)
            if turn:  # the first pays for imports and memory
                found.append(record.timings.train + record.timings.aggregate)
    ratios = [grid / plain for plain, grid in zip(*seconds.values(), strict=True)]
    ratio = statistics.median(ratios)
    remark(f"a round through Flower's messages takes {ratio:.2f} x the plain engine's (W1)")
    assert ratio <= LIMIT, f"{ratio:.2f} > {LIMIT}; ratios {ratios}"
