"""An arm at a horizon: its level there, and whether it has converged.

A run's stream of random choices does not depend on its number of rounds, so that the first H rounds
of a longer run are the run of H rounds, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedcore.harness.statistics.convergence import FEWEST_ROUNDS, Convergence, progress, trend
from fedcore.records.record import TAIL_SHARE, Record, tail_mean


def level_at(record: Record, horizon: int) -> float:
    """Tail accuracy of the first ``horizon`` rounds of ``record``, in percent.

    Of a record that is shorter, of all its rounds. ValueError where none of them is evaluated.
    """
    count = sum(number <= horizon for number in record.rounds)
    if count == 0:
        raise ValueError(f"no round up to {horizon} of {record.scenario.id} is evaluated")
    return 100 * tail_mean(record.accuracy[:count])


def rising(records: Sequence[Record], horizon: int) -> str | None:
    """Why the arm with ``records``, one by seed, has not converged at ``horizon``; None if it has.

    The test of `fedcore.harness.statistics.convergence` on the rounds of the tail, or on the last
    `FEWEST_ROUNDS` where the tail has fewer. What noise hides counts as not converged.
    """
    trends = []
    for record in records:
        count = sum(number <= horizon for number in record.rounds)
        tail = max(math.ceil(TAIL_SHARE * count - 1e-9), FEWEST_ROUNDS)
        first = max(0, count - tail)
        line = trend(record.rounds[first:count], [100 * a for a in record.accuracy[first:count]])
        if line is None:
            return f"fewer than {FEWEST_ROUNDS} rounds show no slope"
        trends.append(line)
    found = progress(trends)
    if found.state is Convergence.FLAT:
        return None
    word = "rises" if found.state is Convergence.RISING else "may rise"
    span = f"{found.rise.mean:+.1f} [{found.rise.low:+.1f}, {found.rise.high:+.1f}]"
    return f"{word} by {span} points in ten rounds"
