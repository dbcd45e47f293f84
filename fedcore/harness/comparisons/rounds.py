"""The rounds of an arm's runs: where they are stored, whether they still rise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from fedcore.harness.comparisons.side import Arm
from fedcore.harness.exact.trace import Trace
from fedcore.harness.statistics.convergence import progress, trend
from fedcore.records.record import TAIL_SHARE


def note_traces(arm: Arm, traces: Mapping[int, Trace]) -> None:
    """Add ``traces`` by seed to ``arm``, and what follows from them."""
    arm.traces |= traces
    arm.diverged |= {seed for seed, trace in traces.items() if trace.diverged is not None}
    arm.state = state_of(arm.traces.values()) or arm.state


def state_of(traces: Iterable[Trace]) -> str | None:
    """Whether an arm with these runs still rises: flat, rising or open; None for too few rounds.

    Of the tails, the last 30 % of the evaluated rounds: what the tail accuracy is a mean of.
    """
    trends = []
    for trace in traces:
        count = max(1, math.ceil(TAIL_SHARE * len(trace.rounds) - 1e-9))
        line = trend(trace.rounds[-count:], [100 * share for share in trace.shares[-count:]])
        if line is None:
            return None
        trends.append(line)
    return progress(trends).state.value if trends else None
