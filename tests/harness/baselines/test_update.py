from __future__ import annotations

import dataclasses

import pytest

from fedcore.harness.baselines.file import (
    BaselineCell,
    BaselineError,
)
from fedcore.harness.baselines.update import difference, source
from tests.harness.baselines.baseline_values import (
    BASELINE,
    BIT_OFF,
    CLEAN,
    HERE,
    MILD,
    OUTCOMES,
    SOURCE,
    STRONG,
    covering,
    outcome,
    trace,
    updated,
)

LATER = dataclasses.replace(SOURCE, date="2026-01-01", commit="beef", code="other")


def test_an_update_of_equal_values_keeps_the_file_and_its_source() -> None:
    assert updated(BASELINE, OUTCOMES, covering(), LATER) is BASELINE


def test_a_changed_file_is_of_one_source() -> None:
    new = updated(BASELINE, BIT_OFF, covering(), LATER)
    assert new.source == LATER
    assert list(difference(BASELINE, new)) == [
        "changed  mild: clean 96.500, poisoned 60.467 -> 60.467"
    ]
    only = {"mild": BIT_OFF["mild"]}
    with pytest.raises(BaselineError) as refused:
        updated(BASELINE, only, covering(("mild",)), LATER)
    assert str(refused.value).startswith(
        "a baseline is of one machine and one commit, and 2 recorded cells (clean, strong) would "
        "keep numbers of others (commit c0ffee -> beef; code code -> other): record all cells"
    )
    assert (
        updated(BASELINE, only, covering(("mild",)), SOURCE).entries["clean"]
        == (BASELINE.entries["clean"])
    )


def test_bits_below_the_tail_values_are_a_difference() -> None:
    seeds = dict(BASELINE.traces[CLEAN.hash])
    seeds[0] = dataclasses.replace(seeds[0], model="another")
    old = dataclasses.replace(BASELINE, traces={**BASELINE.traces, CLEAN.hash: seeds})
    new = updated(old, OUTCOMES, covering(), LATER)
    # the arm is the clean twin of every cell
    assert list(difference(old, new)) == [
        f"changed  {name}: bits below the tail values" for name in OUTCOMES
    ]


def test_a_partial_update_keeps_the_traces_of_the_other_cells() -> None:
    new = updated(BASELINE, {"mild": BIT_OFF["mild"]}, covering(("mild",)), SOURCE)
    assert set(new.traces) == {CLEAN.hash, MILD.hash, STRONG.hash}
    assert new.traces[STRONG.hash] == BASELINE.traces[STRONG.hash]
    assert new.traces[MILD.hash][1] == trace(0.3)
    fewer = {"mild": outcome(MILD, (97.0, 96.5), (90.1, 0.3))}
    new = updated(BASELINE, fewer, covering(("mild",)), SOURCE)
    assert set(new.traces[CLEAN.hash]) == {0, 1, 2}  # the other cells have a third seed
    assert set(new.traces[MILD.hash]) == {0, 1}


def test_an_update_shows_each_difference() -> None:
    entries: dict[str, BaselineCell] = {**BASELINE.entries, "old": BASELINE.entries["clean"]}
    old = dataclasses.replace(BASELINE, entries=entries)
    found = {
        "clean": outcome(CLEAN, (95.0, 94.5)),
        "mild": OUTCOMES["mild"],
        "strong": outcome(STRONG.but(lr=0.7), (97.0, 96.5, 96.0), (50.0, 60.0, 58.0)),
        "fresh": outcome(CLEAN.but(lr=0.3), (1.0, 2.0)),
    }
    new = updated(old, found, covering(tuple(found), ("fresh",)), SOURCE)
    assert list(difference(old, new)) == [
        "changed  clean: clean 96.500 -> 94.750, seeds 3 -> 2",
        "changed  strong: clean 96.500, poisoned 55.000 -> 56.000, another scenario",
        "new      fresh: clean 1.500",
        "gone     old: clean 96.500",
    ]


def test_the_source_is_this_code_and_machine() -> None:
    made = source(HERE, "pytest benchmark")
    assert made.fingerprint == HERE
    assert made.machine
    assert len(made.code) == 16
