"""Under pytest-xdist: each worker sends what it judged, the controller shows and writes it whole.

A worker has the outcomes of its own tests only, and no terminal; a report of these would replace
the other workers'.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fedcore.harness.suite.outcome import Outcome

_KEY = "fedcore"


@dataclass
class Share:
    """What one worker has to tell, or all of them: ``outcomes`` by the place of their cell.

    A cell that several workers have judged counts once. ``origin`` is what their labs say of
    device, engine, precision and data.
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    stored: int = 0
    made: int = 0
    origin: dict[str, Any] = field(default_factory=dict)

    def add(self, other: Share) -> None:
        """Take over what another worker sent."""
        self.outcomes |= other.outcomes
        self.remarks += other.remarks
        self.stored += other.stored
        self.made += other.made
        self.origin = joined(self.origin, other.origin)

    @property
    def in_order(self) -> list[Outcome]:
        """The outcomes in the order in which the suite lists their cells."""
        return [outcome for _, outcome in sorted(self.outcomes.items())]

    @property
    def effort(self) -> str:
        """What the workers found and made; a run that two of them needed may count twice."""
        return f"{self.stored} runs from the store, {self.made} made by the workers of pytest-xdist"


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of both; where two workers differ, both values, separated by ``; ``."""
    result = dict(one)
    for name, value in other.items():
        known = result.get(name, value)
        if isinstance(value, Mapping):
            result[name] = joined(known, value)
        elif str(value) not in str(known).split("; "):
            result[name] = f"{known}; {value}"
        else:
            result[name] = known
    return result


#: Marker of tests that time something, or measure memory: alone, or not at all.
TIMING = "timing"
GATHERED = pytest.StashKey[Share]()


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of pytest-xdist's workers."""
    return hasattr(config, "workerinput")


def skip_timings(config: Any, items: Iterable[pytest.Item]) -> None:
    """In a worker: skip what is marked `TIMING`, with the reason.

    Of several workers the others train or time at the same moment. In a single one (-n 1) a test
    has the cores for itself, but pytest-benchmark measures nothing under xdist.
    """
    if not is_worker(config):
        return
    count = int(config.workerinput.get("workercount", 2))
    reasons = {
        True: "pytest-benchmark measures nothing under pytest-xdist: leave out -n, or give -n 0",
        False: f"a timing beside {count - 1} other worker(s) measures their load: leave out -n, "
        "or give -n 0",
    }
    for item in items:
        if item.get_closest_marker(TIMING) is None:
            continue
        measured = "benchmark" in getattr(item, "fixturenames", ())
        if count > 1 or measured:
            item.add_marker(pytest.mark.skip(reason=reasons[count == 1]))


def send(config: Any, share: Share) -> None:
    """In a worker: hand ``share`` to the controller at the end of the session."""
    config.workeroutput[_KEY] = pickle.dumps(share)


def receive(config: pytest.Config, workeroutput: dict[str, Any]) -> None:
    """In the controller: add what a worker has sent, if it has, to `GATHERED`."""
    if _KEY in workeroutput:
        config.stash.setdefault(GATHERED, Share()).add(pickle.loads(workeroutput[_KEY]))
