"""Which runs do not repeat their recorded traces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fedcore.harness.exact.trace import Divergence, Trace, divergence
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.scenario import Scenario

#: Traces by the hash of the scenario and by seed; a clean twin that cells share stands once.
Traces = Mapping[str, Mapping[int, Trace]]


@dataclass(frozen=True)
class Change:
    """A run of the arm ``name`` that does not repeat its trace: where it parts and how far.

    ``tail`` is the difference of tail accuracy, now minus recorded, in percentage points.
    """

    name: str
    seed: int
    tail: float
    where: Divergence

    def __str__(self) -> str:
        return (
            f"{self.name}, seed {self.seed}: {self.where.text}; tail accuracy {self.tail:+.2f} pp"
        )


def arms_of(scenario: Scenario) -> tuple[Scenario, ...]:
    """The clean twin of ``scenario`` and itself, once where it is clean."""
    return tuple(dict.fromkeys((scenario.clean_twin(), scenario)))


def changes(
    scenarios: Mapping[str, Scenario], before: Traces, now: Traces
) -> dict[str, list[Change]]:
    """The runs of ``scenarios``, by id of the cell, that differ on a seed that both have.

    By the hash of the arm. A clean twin is named after a clean cell of its own, where there is one.
    """
    clean = {scenario.hash: name for name, scenario in scenarios.items() if not scenario.attack}
    changed: dict[str, list[Change]] = {}
    for name, scenario in scenarios.items():
        for arm in arms_of(scenario):
            label = name if arm == scenario else f"the clean twin of {name}"
            label = clean.get(arm.hash, label)
            old, new = before.get(arm.hash, {}), now.get(arm.hash, {})
            some = [
                Change(label, seed, new[seed].tail - old[seed].tail, where)
                for seed in sorted(new)
                if seed in old and (where := divergence(old[seed], new[seed]))
            ]
            if some:
                changed.setdefault(arm.hash, some)
    return changed


def traces_of(
    runs: Iterable[Run], record: Callable[[Run], Record], tested: Callable[[Scenario], int]
) -> dict[str, dict[int, Trace]]:
    """The traces of ``runs``, each once.

    ``record`` gives a run's record, ``tested`` the number of test images of a
    scenario's data.
    """
    found: dict[str, dict[int, Trace]] = {}
    for run in dict.fromkeys(runs):
        trace = Trace.of(record(run), tested(run.scenario))
        found.setdefault(run.scenario.hash, {})[run.seed] = trace
    return found
