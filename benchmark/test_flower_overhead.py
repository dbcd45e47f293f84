"""What Flower's messages cost: W1 through the in-process grid against the plain engine."""

from __future__ import annotations

import statistics

import pytest

from fedcore import run
from fedcore.harness.options import Options
from fedcore.presets import preset

#: Flower's messages and records, in process, may take this much longer than the plain engine.
LIMIT = 1.2
ROUNDS = {"smoke": 2}  # of measurement, by profile; otherwise 3


def test_in_process_grid_against_the_plain_engine(suite_options: Options, remark) -> None:
    """W1 through Flower's messages and through none, taking turns in this process."""
    pytest.importorskip("flwr", reason="needs the extra 'flower'")
    if suite_options.device == "cuda":
        pytest.skip("this compares two engines on the CPU")
    scenario = preset("w1").but(dataset=suite_options.dataset)
    seconds: dict[str, list[float]] = {"sequential": [], "flower-grid": []}
    for turn in range(1 + ROUNDS.get(suite_options.profile, 3)):
        for engine, found in seconds.items():
            record = run(
                scenario, turn, data_dir=suite_options.data_dir, device="cpu", engine=engine
            )
            if turn:  # the first pays for imports and memory
                found.append(record.timings.train + record.timings.aggregate)
    ratios = [grid / plain for plain, grid in zip(*seconds.values(), strict=True)]
    ratio = statistics.median(ratios)
    remark(f"a round through Flower's messages takes {ratio:.2f} x the plain engine's (W1)")
    assert ratio <= LIMIT, f"{ratio:.2f} > {LIMIT}; ratios {ratios}"
