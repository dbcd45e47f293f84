"""Sides of a comparison: a stored session in one form, whatever file it comes from.

The unit is an arm: a scenario over its seeds. A clean twin that several cells share is one arm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedcore.errors import FedcoreError
from fedcore.harness.exact.trace import Trace
from fedcore.scenario import Scenario, naming

#: Keys of `Side.facts` in the order in which they are shown.
FACTS = (
    "commit",
    "code",
    "machine",
    "class",
    "device",
    "engine",
    "precision",
    "kernels",
    "command",
)


class ComparisonError(FedcoreError, ValueError):
    """A stored session that is missing, damaged or of no known kind, or that fits no other."""


@dataclass(frozen=True)
class Known:
    """A stored scenario: its key, and the scenario itself where this version knows all of it."""

    key: str
    values: Mapping[str, Any]
    scenario: Scenario | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Known:
        """What ``values``, a scenario's fields with or without those that are None, stand for.

        A field that did not exist when they were written has its default. Where a component or a
        field is unknown here, the key is of the values as they are.
        """
        try:
            return cls.known(Scenario.from_dict(values))
        except (FedcoreError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
            return cls(f"unknown {_digest(values)}", values, None)

    @classmethod
    def known(cls, scenario: Scenario) -> Known:
        """That of ``scenario``."""
        return cls(scenario.hash, scenario.to_dict(), scenario)

    @property
    def clean(self) -> bool:
        """Whether nobody attacks."""
        return self.values.get("attack") is None

    @property
    def twin(self) -> Known:
        """The clean twin; where the scenario is not known here, the same without its attack."""
        if self.scenario is not None:
            return Known.known(self.scenario.clean_twin())
        off = {"attack": None, "malicious_fraction": 0.0, "poison_ratio": 0.0}
        values = {n: v for n, v in {**self.values, **off}.items() if n != "malicious_set"}
        return Known(f"unknown {_digest(values)}", values, None)

    @property
    def data(self) -> str:
        """The name under which the digest of its data set is stored."""
        return str(self.values.get("dataset")) if self.scenario is None else self.scenario.data

    @property
    def partition(self) -> str:
        """The token of its partition, as dirichlet0.1."""
        if self.scenario is None:
            return str(self.values.get("partition"))
        return naming.partition_token(self.scenario)


@dataclass
class Arm:
    """What one session measured of a scenario.

    ``accuracy`` and ``asr`` are tail means in percent by seed, ``traces`` the rounds of each run
    where they are stored, ``curve`` the mean accuracy over all seeds by round, ``diverged`` the
    seeds whose run left the finite numbers. ``data`` and ``weights`` are digests, None where the
    session does not say. ``state`` is that of `statistics.convergence.Convergence`, None where
    nothing is known of it.
    """

    name: str
    known: Known
    data: str | None = None
    weights: str | None = None
    accuracy: dict[int, float] = field(default_factory=dict)
    asr: dict[int, float] = field(default_factory=dict)
    traces: dict[int, Trace] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    diverged: set[int] = field(default_factory=set)
    state: str | None = None

    @property
    def strategy(self) -> str:
        """The name of its strategy."""
        return str(self.known.values.get("strategy"))


@dataclass(frozen=True)
class Cell:
    """A cell of a session: its scenario, and the errors of its runs and proofs."""

    known: Known
    errors: tuple[str, ...] = ()


@dataclass
class Side:
    """A stored session. ``kind`` is "results", "store" or "baseline", ``name`` as it was given.

    ``cells`` are by id, ``arms`` by the key of the scenario. ``facts`` say what made the numbers
    (`FACTS`, and versions by distribution), ``data`` and ``weights`` have digests by name.
    ``machine_class`` is None where it is not stored, ``rows`` are those of results.json. ``notes``
    say what a reader must know, such as stored runs that were passed over.
    """

    name: str
    kind: str
    cells: dict[str, Cell] = field(default_factory=dict)
    arms: dict[str, Arm] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    machine_class: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def arm(self, known: Known, cell: str, *, twin: bool) -> Arm:
        """The arm of ``known``, made if need be, for the cell with that id or its clean ``twin``.

        A cell of its own gives the arm its name.
        """
        arm = self.arms.get(known.key)
        if arm is None:
            arm = self.arms[known.key] = Arm(f"the clean twin of {cell}", known)
            arm.data = self.data.get(known.data)
            arm.weights = self.weights.get(str(known.values.get("weights")))
        if not twin:
            arm.name = cell
        return arm

    def add(self, name: str, known: Known) -> list[tuple[Arm, str]]:
        """Add the cell ``name``; its arms, each with the metric that its accuracies are stored as.

        That is "clean" of a clean twin and of a clean cell, else "poisoned".
        """
        self.cells[name] = Cell(known)
        own = self.arm(known, name, twin=False)
        if known.clean:
            return [(own, "clean")]
        return [(self.arm(known.twin, name, twin=True), "clean"), (own, "poisoned")]


def different_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """``field: value -> value`` for each field in which two stored scenarios differ."""
    names = [*after, *(name for name in before if name not in after)]
    return [
        f"{name}: {before.get(name, '-')} -> {after.get(name, '-')}"
        for name in names
        if _frozen(before.get(name)) != _frozen(after.get(name))
    ]


def _digest(values: Mapping[str, Any]) -> str:
    chosen = {name: value for name, value in values.items() if value is not None}
    text = json.dumps(chosen, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
