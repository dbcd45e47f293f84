"""What scenario and seed ask for, drawn a second time, apart from the code that runs it.

Who is malicious, who takes part, how samples are dealt and in which order clients train. What an
attack makes of it is in `fedcore.harness.proofs.poison`. Nothing here is imported from where a run
draws the same: a mistake on one side shows as a difference. Components of other packages are asked
for what only they know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

Indices = npt.NDArray[np.int64]

# the numbers of `fedcore.streams.Purpose`, which are part of every stored result
_PARTITION, _WEIGHTS, _COHORT, _ORDER, _MALICIOUS = 1, 2, 3, 4, 5
_EPOCHS, _VALIDATION, _ROOT, _ABSENCES, _BALANCED = 10, 12, 20, 21, 24
_CANDIDATES = 5  # among which the next client of a balanced set is chosen


def generator(seed: int, purpose: int, round: int = -1, client: int = -1) -> np.random.Generator:
    """PCG64 of a choice of its own."""
    return np.random.default_rng(np.random.SeedSequence((seed, purpose, round + 1, client + 1)))


def weights_seed(seed: int) -> int:
    """What torch's generator is seeded with before the initial weights are drawn."""
    words = np.random.SeedSequence((seed, _WEIGHTS, 0, 0)).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def half_up(value: float) -> int:
    """The nearest integer, halves up."""
    return math.floor(value + 0.5 + 1e-9)


def malicious(scenario: Scenario, seed: int, sizes: Sequence[int] | None = None) -> tuple[int, ...]:
    """The malicious clients, ascending."""
    return tuple(sorted(malicious_order(scenario, seed, sizes)))


def malicious_order(scenario: Scenario, seed: int, sizes: Sequence[int] | None = None) -> list[int]:
    """The malicious clients, in the order in which they are drawn.

    ``sizes`` are the clients' training samples, by which a balanced set is chosen.
    """
    count = half_up(scenario.malicious_fraction * scenario.num_clients)
    if scenario.malicious_set != "balanced":
        order = generator(seed, _MALICIOUS).permutation(scenario.num_clients)
        return [int(client) for client in order[:count]]
    assert sizes is not None, "a balanced set is drawn by the clients' samples"
    line = generator(seed, _BALANCED).permutation(scenario.num_clients)
    mean = Fraction(sum(sizes), scenario.num_clients)
    chosen: list[int] = []
    while len(chosen) < count:
        due = mean * (len(chosen) + 1) - sum(sizes[client] for client in chosen)
        others = [int(client) for client in line if client not in chosen][:_CANDIDATES]
        chosen.append(min(others, key=lambda client: abs(sizes[client] - due)))
    return chosen


def epochs(scenario: Scenario, seed: int) -> tuple[int, ...]:
    """Local epochs of each client."""
    given = scenario.local_epochs
    low, high = given if isinstance(given, tuple) else (given, given)
    drawn = generator(seed, _EPOCHS).integers(low, high + 1, size=scenario.num_clients)
    return tuple(drawn.tolist())


def works(scenario: Scenario, seed: int, sizes: Sequence[int]) -> list[tuple[int, int | None]]:
    """(epochs, None) of each client of ``sizes`` samples, or (epochs begun, steps)."""
    given = scenario.local_steps
    if given is None:
        return [(count, None) for count in epochs(scenario, seed)]
    low, high = given if isinstance(given, tuple) else (given, given)
    drawn = generator(seed, _EPOCHS).integers(low, high + 1, size=scenario.num_clients).tolist()
    pairs = zip(sizes, drawn, strict=True)
    return [(counted(n, 1, steps, scenario.batch_size)[0], steps) for n, steps in pairs]


def counted(samples: int, epochs: int, steps: int | None, size: int) -> tuple[int, int]:
    """(epochs that are begun, steps) of a client, of whole ``epochs`` where ``steps`` is None."""
    number = len(batches(samples, size))
    if steps is None:
        return epochs, epochs * number
    return (math.ceil(steps / number), steps) if number else (1, 0)


def cohorts(
    scenario: Scenario, seed: int, parts: Sequence[Indices]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """By round the clients that train, and those that were drawn and are absent, ascending.

    Clients without samples are never drawn; the second is empty where nobody is ever absent.
    """
    able = np.array([client for client, part in enumerate(parts) if len(part)])
    size = half_up(scenario.fraction_train * scenario.num_clients)
    result = []
    for round in range(1, scenario.rounds + 1):
        drawn = generator(seed, _COHORT, round).choice(len(able), size=size, replace=False)
        result.append(tuple(sorted(able[drawn].tolist())))
    if scenario.absent_fraction is None:
        return tuple(result), ()
    away = {c: _away(scenario, seed, c) for c in set().union(*result)}
    absent = []
    for round, clients in enumerate(result, start=1):
        missing = [client for client in clients if away[client][round - 1]]
        called = (scenario.min_present or 1) - len(clients) + len(missing)
        if called > 0:
            order = generator(seed, _ABSENCES, round).permutation(len(missing))
            missing = [missing[place] for place in order[called:]]
        absent.append(tuple(sorted(missing)))
    pairs = zip(result, absent, strict=True)
    return tuple(tuple(c for c in drawn if c not in gone) for drawn, gone in pairs), tuple(absent)


def _away(scenario: Scenario, seed: int, client: int) -> list[bool]:
    """In which rounds a client is absent."""
    share, mean = scenario.absent_fraction or 0.0, scenario.absent_rounds
    numbers = generator(seed, _ABSENCES, client=client).random(scenario.rounds).tolist()
    result = [numbers[0] < share]
    for number in numbers[1:]:
        if mean is None:
            result.append(number < share)
        elif result[-1]:
            result.append(number < 1 - 1 / mean)
        else:
            result.append(number < share * (1 / mean) / (1 - share))
    return result


def parts(scenario: Scenario, seed: int, labels: Indices) -> list[Indices]:
    """The training samples of each client, ``labels`` [n] being those of the data set."""
    fixed = scenario.partition_seed
    drawing = generator(seed, _PARTITION) if fixed is None else np.random.default_rng(fixed)
    if scenario.partition == "iid":
        dealt = np.array_split(drawing.permutation(len(labels)), scenario.num_clients)
    else:
        dealt = scenario.parts.partition.split(labels, scenario.num_clients, drawing)
    owner = seed if fixed is None else fixed
    return [_kept(scenario, owner, client, part) for client, part in enumerate(dealt)]


def _kept(scenario: Scenario, seed: int, client: int, part: Indices) -> Indices:
    held = min(half_up(scenario.validation_fraction * len(part)), len(part) - 1)
    if held <= 0:
        return part
    out = generator(seed, _VALIDATION, client=client).permutation(len(part))[:held]
    return np.delete(part, out)


def batches(samples: int, size: int) -> list[int]:
    """Sizes of the batches of an epoch: a last batch of one sample joins the one before."""
    sizes = [min(size, samples - start) for start in range(0, samples, size)]
    if len(sizes) > 1 and size > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    return sizes


def places(
    scenario: Scenario, seed: int, round: int, client: int, samples: int, epochs: int, steps: int
) -> Indices:
    """The places, in its part, of the samples that a client trains on in a round, in order."""
    sizes = batches(samples, scenario.batch_size)
    drawing = generator(seed, _ORDER, round, client)
    if not scenario.parts.per_example:
        whole, rest = divmod(steps, len(sizes))
        images = whole * samples + sum(sizes[:rest])
        return np.concatenate([drawing.permutation(samples) for _ in range(epochs)])[:images]
    rate = min(1.0, scenario.batch_size / samples)
    return np.concatenate([np.flatnonzero(drawing.random(samples) < rate) for _ in range(steps)])


def root(scenario: Scenario, seed: int, test_samples: int) -> Indices | None:
    """The test samples that a server trains on, which are not scored; None where it does not."""
    size = scenario.parts.strategy.root_samples
    if not size:
        return None
    drawn: Indices = generator(seed, _ROOT).choice(test_samples, size=size, replace=False)
    return drawn
