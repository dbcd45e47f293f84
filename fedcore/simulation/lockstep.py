"""Several runs in lockstep: the clients of all of them train as one network.

For GPUs: a round of one small federation leaves a GPU waiting for launches. Runs share a training
if they share `lockstep_key`: they may differ in seed, partition, attack, strategy and epochs. Each
run's record is what the stacked engine gives for it alone, within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from fedcore.engine.execution import Execution
from fedcore.errors import FedcoreError
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep_group import Event, Group
from fedcore.simulation.trial import RoundReport


def lockstep_key(scenario: Scenario) -> tuple[Any, ...]:
    """What must be equal for two runs to train together: images, network, batches, solver."""
    parts = scenario.parts
    images = parts.dataset, scenario.image_size, scenario.grayscale, scenario.normalize
    solver = parts.optimizer, scenario.lr, scenario.mu, scenario.weight_decay
    return (*images, parts.model, scenario.batch_size, *solver)


def run_lockstep(
    runs: Sequence[tuple[Scenario, int]],
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    precision: str = "float32",
    engine: str = "stacked",
    memory_budget: int | None = None,
    on_round: Callable[[int, RoundReport], None] | None = None,
) -> list[Record]:
    """The records of ``runs`` (scenario, seed), in their order, made together where possible.

    ``memory_budget`` is how many bytes training may take (None: 70 % of a GPU's free memory, 2 GiB
    on the CPU); runs that do not fit together follow one another. ``on_round`` hears the position
    of a run and its report. An error of one run is raised when all the others are made: to keep
    their records, take them from `lockstep` as they come. Other parameters as of `run`.
    """
    records: dict[int, Record] = {}
    errors: list[FedcoreError] = []
    execution = Execution(engine, device, precision)
    if not execution.stacks:
        raise FedcoreError(
            f"runs in lockstep need engine 'stacked' or 'stacked-graphs', got {engine!r}"
        )
    for place, event in lockstep(runs, execution, data_dir, memory_budget):
        if isinstance(event, Record):
            records[place] = event
        elif isinstance(event, FedcoreError):
            errors.append(event)
        elif on_round is not None:
            on_round(place, event)
    if errors:
        raise errors[0]
    return [records[place] for place in range(len(runs))]


def lockstep(
    runs: Sequence[tuple[Scenario, int]],
    execution: Execution,
    data_dir: str | Path | None = None,
    memory_budget: int | None = None,
) -> Generator[Event, None, None]:
    """Make ``runs``; yields (position, event) as it happens: reports of rounds, then the result.

    A run that cannot be made yields its error as its result and does not disturb the others.
    Where memory runs out although the estimate fits, in training or around it, fewer clients,
    then fewer runs go together: no round that is done is lost. MemoryShortage is the result of a
    run for which memory runs out even so.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, (scenario, _) in enumerate(runs):
        groups.setdefault(lockstep_key(scenario), []).append(place)
    for places in groups.values():
        wanted = {place: runs[place] for place in places}
        yield from Group(wanted, execution, data_dir, memory_budget).events()
