"""What Flower costs: W1 through its messages in process, and on Ray beside its own loop."""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import pytest

from fedcore import Scenario, run
from fedcore.data.loading import data_directory
from fedcore.harness.suite.options import Options
from fedcore.scenario.presets import preset

from .peers.measure import measure
from .peers.summary import steady

pytestmark = pytest.mark.timing

#: Flower's messages and records, in process, may take this much longer than the plain engine.
LIMIT = 1.2
#: A round of engine flower-ray may take as long as one of Flower's own loop; 5 % are noise.
RAY_LIMIT = 1.05
ROUNDS = 6  # of a run; the first and the last, which is scored, are not measured
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
    """W1 through Flower's messages and through none, taking turns in this process.

    In processor time, which other processes disturb less.
    """
    pytest.importorskip("flwr", reason="needs the extra 'flower'")
    if suite_options.device == "cuda":
        pytest.skip("this compares two engines on the CPU")
    scenario = workload()
    seconds: dict[str, list[float]] = {"sequential": [], "flower-grid": []}
    for turn in range(1 + TURNS):
        for engine, found in seconds.items():
            ends: list[float] = []
            hear = lambda _, ends=ends: ends.append(time.process_time())  # noqa: E731
            run(scenario, turn, device="cpu", engine=engine, on_round=hear)
            if turn:  # the first pays for imports and memory
                found.append(ends[-2] - ends[0])
    ratios = [grid / plain for plain, grid in zip(*seconds.values(), strict=True)]
    ratio = statistics.median(ratios)
    remark(f"a round through Flower's messages takes {ratio:.2f} x the plain engine's (W1)")
    assert ratio <= LIMIT, f"{ratio:.2f} > {LIMIT}; ratios {ratios}"


@pytest.mark.slow
def test_ray_against_flowers_own_loop(suite_options: Options, remark) -> None:
    """W1 on two Ray actors, rounds 3 to 10: engine flower-ray, and Flower's FedAvg as users run it.

    Both train the same network on the same samples with the same solver; each run is a process of
    its own. They take turns.
    """
    pytest.importorskip("ray", reason="needs the extra 'flower'")
    if suite_options.profile == "smoke":
        pytest.skip("takes two minutes: a case of profile quick")
    if suite_options.dataset != "bloodmnist":
        pytest.skip("the yardstick trains on bloodmnist: --dataset bloodmnist --data-dir DIR")
    root = Path(__file__).resolve().parents[1]
    settings = {
        "W1_DATA": str(data_directory(suite_options.data_dir)),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    commands = {
        "ours": [f"{__package__}.peers.run_fedcore", "--engine", "flower-ray"],
        "theirs": [f"{__package__}.peers.run_flower"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(2):
        for name, command in commands.items():
            made = measure([sys.executable, "-m", *command], {**os.environ, **settings}, root)
            assert made.error is None, f"{name}: {made.error}"
            assert made.steps == 800, f"{name} made {made.steps} steps: another workload"
            seconds[name].append(steady(made.to_json()))
    ours, theirs = (statistics.median(seconds[name]) for name in ("ours", "theirs"))
    remark(
        f"a round of W1 on Ray takes {ours:.3f} s, in Flower's own loop {theirs:.3f} s: "
        f"{ours / theirs:.2f} x"
    )
    assert ours <= RAY_LIMIT * theirs, f"{ours / theirs:.2f} > {RAY_LIMIT}; seconds {seconds}"
