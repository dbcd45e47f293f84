"""An arm at a horizon: its level there, and whether it has converged.

A run's stream of random choices does not depend on its number of rounds, so that the first H rounds
of a longer run are the run of H rounds, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedcore.harness.statistics.convergence import FEWEST_ROUNDS, Convergence, progress, trend
from fedcore.harness.statistics.curves import level_at, tail_length, until
from fedcore.records.record import Record


def level(record: Record, horizon: int) -> float:
    """Tail accuracy of the first ``horizon`` rounds of ``record``, in percent.

    Of a record that is shorter, of all its rounds. ValueError where none of them is evaluated.
    """
    return 100 * level_at(record, min(horizon, record.rounds[-1]))


def rising(records: Sequence[Record], horizon: int) -> str | None:
    """Why the arm with ``records``, one by seed, has not converged at ``horizon``; None if it has.

    The test of `fedcore.harness.statistics.convergence` on the rounds of the tail, or on the last
    `FEWEST_ROUNDS` where the tail has fewer. What noise hides counts as not converged, of attacked
    arms, too: a verdict needs more than a place in a table.
    """
    trends = []
    for record in records:
        rounds, accuracy = until(record, min(horizon, record.rounds[-1]))
        first = max(0, len(rounds) - max(tail_length(len(rounds)), FEWEST_ROUNDS))
        line = trend(rounds[first:], [100 * a for a in accuracy[first:]])
        if line is None:
            return f"fewer than {FEWEST_ROUNDS} rounds show no slope"
        trends.append(line)
    found = progress(trends)
    if found.state is Convergence.FLAT:
        return None
    word = "rises" if found.state is Convergence.RISING else "may rise"
    span = f"{found.rise.mean:+.1f} [{found.rise.low:+.1f}, {found.rise.high:+.1f}]"
    return f"{word} by {span} points in ten rounds"
