"""Under pytest-xdist: each worker sends what it judged, the controller shows and writes it whole.

A worker has the outcomes of its own tests only, and no terminal; a report of these would replace
the other workers'. Nor can it end the session: what it refuses the controller says, once.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError

if TYPE_CHECKING:
    from fedcore.harness.claims.report import Judged
    from fedcore.harness.suite.outcome import Outcome

_KEY = "fedcore"


@dataclass
class Share:
    """What one worker has to tell, or all of them: ``outcomes`` by the place of their cell.

    A cell that several workers have judged counts once. ``claims`` are by place, too. ``origin`` is
    what their labs say of device, engine, precision and data; ``refusals`` end the session.
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    claims: dict[int, Judged] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    stored: int = 0
    made: int = 0
    origin: dict[str, Any] = field(default_factory=dict)

    def add(self, other: Share) -> None:
        """Take over what another worker sent."""
        self.outcomes |= other.outcomes
        self.claims |= other.claims
        self.remarks += other.remarks
        self.refusals += other.refusals
        self.stored += other.stored
        self.made += other.made
        self.origin = joined(self.origin, other.origin)

    @property
    def in_order(self) -> list[Outcome]:
        """The outcomes in the order in which the suite lists their cells."""
        return [outcome for _, outcome in sorted(self.outcomes.items())]

    @property
    def claims_in_order(self) -> list[Judged]:
        """The judged claims in the order in which the suite lists them."""
        return [judged for _, judged in sorted(self.claims.items())]

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
_REFUSED = pytest.StashKey[list[str]]()


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of pytest-xdist's workers."""
    return hasattr(config, "workerinput")


def distributed(config: pytest.Config) -> bool:
    """Whether pytest-xdist spreads the tests over processes."""
    return is_worker(config) or bool(getattr(config.option, "numprocesses", 0))


def refuse(config: pytest.Config, *messages: str) -> None:
    """Take note that the session must end with status 4 before any run, and why."""
    config.stash.setdefault(_REFUSED, []).extend(messages)


def end_if_refused(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Raise UsageError with all that was refused; a worker runs no test, its controller ends."""
    refused = list(dict.fromkeys(config.stash.get(_REFUSED, ())))
    if refused and is_worker(config):
        items.clear()
    elif refused:
        raise pytest.UsageError("\n".join(refused))


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
    """In a worker: hand ``share`` to the controller at the end of the session.

    With the names of what this process imported: a controller collects no tests.
    """
    share.refusals = list(config.stash.get(_REFUSED, ()))
    if not share.outcomes and not share.claims:
        config.workeroutput[_KEY] = pickle.dumps(share)
        return
    from fedcore.harness.runs.imports import Parcel, imports_of

    scenarios = [outcome.cell.scenario for outcome in share.outcomes.values()]
    scenarios += [s for judged in share.claims.values() for s in judged.outcome.claim.scenarios]
    config.workeroutput[_KEY] = pickle.dumps(Parcel.of(share, imports_of(scenarios)))


def receive(config: pytest.Config, workeroutput: Mapping[str, Any]) -> None:
    """In the controller: add what a worker has sent, if it has, to `GATHERED`."""
    if _KEY not in workeroutput:
        return
    gathered = config.stash.setdefault(GATHERED, Share())
    sent = pickle.loads(workeroutput[_KEY])
    if not isinstance(sent, Share):
        try:
            sent = sent.open()
        except FedcoreError as error:
            sent = Share(refusals=[f"what a worker of pytest-xdist judged is lost: {error}"])
    gathered.add(sent)


def end_for_workers(session: pytest.Session) -> None:
    """In the controller: status 4 where a worker refused to run."""
    if session.config.stash.get(GATHERED, Share()).refusals:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
