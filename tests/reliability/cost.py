"""Measure what the checkpoints of a run cost, with one after each round."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from fedcore import Scenario, run
from fedcore.simulation import checkpoints
from fedcore.simulation.checkpoints import Checkpoints, Keeper

#: All clients keep control variates, which is the most that a run carries.
LARGE = Scenario(strategy="scaffold", num_clients=50, fraction_train=0.2, optimizer="sgd", lr=0.1)


def cost(folder: Path, rounds: int) -> int:
    """Run `LARGE` for ``rounds``, print seconds and shares; 1 where the default takes over 2 %."""
    taken: list[tuple[float, int]] = []
    write = Keeper._write

    def timed(keeper: Keeper) -> None:
        begun = time.perf_counter()
        write(keeper)
        taken.append((time.perf_counter() - begun, keeper.path.stat().st_size))

    Keeper._write = timed
    begun = time.perf_counter()
    try:
        run(LARGE.but(rounds=rounds), 0, device="cpu", checkpoint=Checkpoints(folder, 1))
    finally:
        Keeper._write = write
    whole = time.perf_counter() - begun
    each = sum(seconds for seconds, _ in taken) / len(taken)
    size = taken[-1][1] / 2**20
    least = max(checkpoints._SECONDS, checkpoints._SPARING * each)
    print(
        f"{len(taken)} checkpoints of up to {size:.1f} MiB took {1000 * each:.0f} ms each, "
        f"{100 * each * len(taken) / whole:.1f} % of {whole:.0f} s with one after each round; by "
        f"default they are {least:.0f} s apart or more: {100 * each / least:.2f} % at most"
    )
    return int(each / least > 0.02)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the run (20)")
