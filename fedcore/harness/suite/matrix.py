"""A matrix of defences and attacks as cells, the most compared ones first.

Every defence is told the same number f of malicious clients, honestly: the number that is expected
in a cohort. Every attacked cell has undefended averaging under the same attack as its control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fedcore.attacks.attack import Attack
from fedcore.components.component import Component, written
from fedcore.components.kinds import REFERENCE
from fedcore.components.parameters import REQUIRED
from fedcore.components.registry import REGISTRIES
from fedcore.components.written import choice, pieces
from fedcore.errors import ScenarioError
from fedcore.harness.suite.cells import OF_ATTACKS, UNDEFENDED, Cell
from fedcore.harness.suite.place import Place
from fedcore.scenario import Scenario, naming, round_half_up

#: Parameters by which a rule or a pre-aggregation is told what to withstand.
TOLD: Final = ("num_byzantine", "f")
#: One that is a share of the rows, and not a number of clients.
SHARE: Final = "trim_fraction"


@dataclass(frozen=True)
class Row:
    """A defence: the written forms of a strategy and of the ``chain`` in front of it ("": none).

    ``label`` is its name in tables; None makes one of the names, as in ``nnm + median``. ``more``
    are further changes of a scenario, as a strategy written for Flower needs.
    """

    strategy: str
    chain: str = ""
    label: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """An attack: its name in tables, and the changes of a scenario that it is."""

    label: str
    attack: Mapping[str, Any]


@dataclass(frozen=True)
class Matrix:
    """``rows`` x ``columns`` x ``partitions``; those that come first are compared most.

    ``base`` is what all cells share, ``malicious_fraction`` the share of attackers, ``overrides``
    what a user sets. A name that nothing is registered under is left out, as are pairs whose
    preconditions fail: ``note`` is told which, and why. A misspelt parameter is an error. With
    ``cross`` the cells are those of the first row and of the first column only.
    """

    base: Scenario
    rows: Sequence[Row]
    columns: Sequence[Column]
    partitions: Sequence[Mapping[str, Any]]
    malicious_fraction: float
    seeds: int
    overrides: Mapping[str, Any] = field(default_factory=dict)
    note: Callable[[str], None] = field(default=lambda line: None)
    cross: bool = False

    def cells(self) -> Iterator[Cell]:
        """The cells, each row's clean one before its attacked ones.

        In growing squares: of rows and columns the first k of each are complete before any other
        begins, so that a session that is stopped has a matrix without holes.
        """
        missing: dict[str, None] = {}
        rows = [row for row in self.rows if self._known(row, missing)]
        columns = [column for column in self.columns if self._exists(column, missing)]
        if missing:
            self.note(f"the matrix leaves out what is not registered: {', '.join(missing)}")
        places = [
            (_shell(i, len(rows), j, len(columns)), i, j)
            for i in range(len(rows))
            for j in range(-1, len(columns))
            if not self.cross or i == 0 or j <= 0
        ]
        seen: set[Scenario] = set()  # what a user sets may make two of them one
        for _, i, j in sorted(places):
            for partition in self.partitions:
                cell = self._cell(rows[i], columns[j] if j >= 0 else None, partition)
                if cell is not None and cell.scenario not in seen:
                    seen.add(cell.scenario)
                    yield cell

    def declared(self) -> int:
        """f: the expected number of malicious clients in a cohort, halves up."""
        scenario = self.base.but(**self._shared())
        return round_half_up(self._fraction() * scenario.cohort_size)

    def _fraction(self) -> float:
        return float(self.overrides.get("malicious_fraction", self.malicious_fraction))

    def _shared(self) -> dict[str, Any]:
        """What a user sets for all cells: not the shares, nor an alpha that nothing reads."""
        unread = (*OF_ATTACKS, "alpha")
        return {name: v for name, v in self.overrides.items() if name not in unread}

    def _cell(self, row: Row, column: Column | None, partition: Mapping[str, Any]) -> Cell | None:
        try:
            arm = self._arm(row, partition)
            scenario = arm if column is None else self._attacked(arm, column)
        except ScenarioError as error:
            if column is not None and self._broken(row, partition):
                return None  # the clean cell has said so
            where = row_label(row) + ("" if column is None else f" against {column.label}")
            self.note(f"the matrix leaves out {where}: {'; '.join(error.problems)}")
            return None
        control = None
        if column is not None:
            undefended = self._arm(Row(REFERENCE), partition)
            control = self._attacked(undefended.but(**UNDEFENDED), column)
        place = Place(
            defence=row_label(row),
            attack=None if column is None else column.label,
            declared=self.declared(),
            chain=row.chain,
            setting="" if column is None else setting(scenario),
            knows="" if column is None else knowledge(scenario.parts.attack),
        )
        return Cell(
            naming.identifier(scenario, self._plain(row, partition)),
            scenario,
            self.seeds,
            control,
            changed=tuple(self.overrides),
            place=place,
        )

    def _broken(self, row: Row, partition: Mapping[str, Any]) -> bool:
        """Whether a precondition of ``row`` fails with no attack at all."""
        try:
            self._arm(row, partition)
        except ScenarioError:
            return True
        return False

    def _plain(self, row: Row, partition: Mapping[str, Any]) -> Scenario:
        """What ids are relative to: all that the cells share, and what f is for this row."""
        arm = self._arm(row, partition)
        return arm.but(preaggregation=None) if row.chain and _stands_alone(arm) else arm

    def _arm(self, row: Row, partition: Mapping[str, Any]) -> Scenario:
        """The clean scenario of ``row``, told f. Raises ScenarioError."""
        f = self.declared()
        start = self.base.but(**partition, **self._shared())
        if "alpha" in self.overrides and start.alpha is not None:
            start = start.but(alpha=self.overrides["alpha"])
        changes: dict[str, Any] = {**row.more}
        if row.chain:
            steps = [_told("preaggregation", step, {}, f) for step in pieces(row.chain)]
            changes["preaggregation"] = ", ".join(steps)
        rows = start.but(preaggregation=changes.get("preaggregation")).rows
        changes["strategy"] = _told("strategy", row.strategy, {SHARE: f / rows}, f)
        return start.but(**changes)

    def _attacked(self, arm: Scenario, column: Column) -> Scenario:
        changes = {**column.attack, "malicious_fraction": self._fraction()}
        if "malicious_set" in self.overrides:
            changes["malicious_set"] = self.overrides["malicious_set"]
        ratio = self.overrides.get("poison_ratio")
        if ratio is not None and "poison_ratio" in changes:
            changes["poison_ratio"] = ratio
        chosen = choice("attack", changes["attack"]).cls
        if chosen is not None and set(chosen.specs()) & set(arm.parts.strategy.specs()):
            # a name that both read means each one's own, as it stands in its parentheses
            changes["strategy"] = str(arm.parts.strategy)
        return arm.but(**changes)

    def _known(self, row: Row, missing: dict[str, None]) -> bool:
        steps = [("preaggregation", step) for step in pieces(row.chain)]
        return _all_known([("strategy", row.strategy), *steps], missing)

    def _exists(self, column: Column, missing: dict[str, None]) -> bool:
        named = [("attack", text) for text in _texts(column.attack["attack"])]
        return _all_known(named, missing)


def _all_known(named: Sequence[tuple[str, str]], missing: dict[str, None]) -> bool:
    """Whether all that is ``named`` is registered, else it joins ``missing``.

    ScenarioError for what is, and is misspelt.
    """
    heads = [(kind, text.partition("(")[0].strip()) for kind, text in named]
    unknown = [head for kind, head in heads if head not in REGISTRIES[kind] and head.isidentifier()]
    missing |= dict.fromkeys(unknown)
    if unknown:
        return False
    for kind, text in named:
        chosen = choice(kind, text)
        if chosen.problems:
            raise ScenarioError(chosen.problems)
        if chosen.cls is not None:
            _made(chosen.cls, chosen.values)
    return True


def row_label(row: Row) -> str:
    """The name of ``row`` in tables: ``nnm + median``."""
    if row.label is not None:
        return row.label
    steps = [naming.token(step.partition("(")[0]) for step in pieces(row.chain)]
    return " + ".join([*steps, row.strategy])


def setting(scenario: Scenario) -> str:
    """The attack of ``scenario`` as it is written, with the parameters that are no defaults."""
    return str(scenario.parts.attack)


def knowledge(attack: Attack) -> str:
    """What attackers know: ``own`` or ``omniscient``; ``data`` where they only poison data."""
    update = attack.update
    if update is None:
        return "data" if attack.work is None else "own"
    return "own" if update.knows == "own" else "omniscient"


def _stands_alone(arm: Scenario) -> bool:
    try:
        arm.but(preaggregation=None)
    except ScenarioError:
        return False
    return True


def _told(kind: str, text: str, more: Mapping[str, Any], f: int) -> str:
    """``text``, told ``f`` and ``more`` where it reads that and does not say it itself.

    In its own parentheses: an attack may have a parameter of the same name.
    """
    chosen = choice(kind, text)
    reads = () if chosen.cls is None else chosen.cls.specs()
    values = {**dict.fromkeys(TOLD, f), **more}
    own = {n: v for n, v in values.items() if n in reads and n not in chosen.values}
    return written(text.partition("(")[0].strip(), {**chosen.values, **own}) if own else text


def _texts(text: str) -> Iterator[str]:
    """The attack ``text`` and the attacks within it, inner ones first: scaled(of=backdoor(...))."""
    rest = text.partition("(")[2].rpartition(")")[0]
    for piece in pieces(rest):
        name, _, value = piece.partition("=")
        if name.strip() == "of":
            yield from _texts(value.strip())
    yield text


def _made(cls: type[Component], values: Mapping[str, Any]) -> None:
    """Make a component, unless a parameter that it needs is given elsewhere. ScenarioError."""
    if all(name in values for name, spec in cls.specs().items() if spec.default is REQUIRED):
        cls(**values)


def _shell(row: int, rows: int, column: int, columns: int) -> float:
    """How far from the beginning of the matrix a place is; a clean cell comes with its row."""
    return max((row + 1) / rows, (column + 1) / max(columns, 1))
