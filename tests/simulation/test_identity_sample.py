"""Where the identity check looks, and how much memory that takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import IdentityError
from fedcore.exchange.cohort import ServerState
from fedcore.simulation.identity import IdentityCheck
from fedcore.simulation.identity_sample import Sample
from fedcore.strategies.aggregation import Aggregation
from tests.simulation.test_identity import NO_COUNTERS, of, sent, stepping, watch


@given(st.integers(1, 3_000_000), st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_a_sample_lies_within_the_vector_and_moves(size, seed) -> None:
    spans = [
        (0, size // 2),
        (size // 2, size - size // 2 - size // 3),
        (size - size // 3, size // 3),
    ]
    sample = Sample(np.random.default_rng(seed), spans)
    places = sample.draw(size)
    assert len(places) == len(places.unique()) >= min(size, 24)
    assert 0 <= int(places.min()) <= int(places.max()) < size
    if size > 100_000:
        assert not torch.equal(places, sample.draw(size))


def test_the_check_needs_no_copy_of_the_updates() -> None:
    """At most 6 MB beside a cohort of 80 MB, also where all coordinates are looked at."""
    rows = torch.zeros(20, 1_000_000)
    rows[:, -1] = torch.arange(20)
    cohort, start = sent(rows), torch.zeros(1_000_000)
    scenario = of("fedavg")
    strategy = scenario.parts.strategy
    check, state = IdentityCheck(Aggregation(strategy), scenario), ServerState(start, NO_COUNTERS)
    after = strategy.aggregate(state, cohort, 1_000_000)
    largest = 0
    with torch.profiler.profile(profile_memory=True) as profile:
        tracemalloc.start()
        check.before(state, cohort, 1_000_000, 1)
        check.after(after)
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert check.verdict().rounds_checked == 1
    live = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert peak > 0, "torch's memory was seen"
    assert peak + largest < 6e6


def test_a_bug_where_only_a_few_coordinates_move() -> None:
    """The sample misses them, so that they are looked for."""
    rows = torch.zeros(5, 300_000)
    rows[:, 123_456] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    start = torch.zeros(300_000)
    assert watch(of("fedavg").parts.strategy, sent(rows), start).rounds_checked == 1
    assert watch(of("fedavgm").parts.strategy, sent(rows), start, 3).rounds_checked == 3
    with pytest.raises(IdentityError, match="it equals the unweighted mean"):
        watch(stepping("fedavg", lambda u, c, m: u.mean(dim=0)), sent(rows), start)
