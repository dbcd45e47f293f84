"""What two sides have in common: arms paired by scenario, their runs by seed, and what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedcore.harness.comparisons.side import Arm, Cell, Side, different_fields


@dataclass(frozen=True)
class Pair:
    """One scenario on both sides. Values are (A, B) in percent, by each seed that both have."""

    a: Arm
    b: Arm

    @property
    def name(self) -> str:
        """The id of the cell, of either side, or whose clean twin it is."""
        return self.b.name if self.a.name.startswith("the clean twin") else self.a.name

    @property
    def strategy(self) -> str:
        """The name of the strategy."""
        return self.a.strategy

    @property
    def accuracy(self) -> dict[int, tuple[float, float]]:
        """Tail accuracies."""
        return _common(self.a.accuracy, self.b.accuracy)

    @property
    def asr(self) -> dict[int, tuple[float, float]]:
        """Tail attack success rates; empty where one side has none.

        Without the seeds on which either run diverged: a broken model is no weaker attack.
        """
        broken = self.a.diverged | self.b.diverged
        found = _common(self.a.asr, self.b.asr)
        return {seed: both for seed, both in found.items() if seed not in broken}

    @property
    def uneven(self) -> tuple[list[int], list[int]]:
        """The seeds that only A has, and those that only B has."""
        mine, other = self.a.accuracy, self.b.accuracy
        return sorted(mine.keys() - other.keys()), sorted(other.keys() - mine.keys())


@dataclass
class Pairing:
    """The cells of both sides by what can be said of them, and the ``arms`` that are compared.

    ``both``, ``only_a`` and ``only_b`` are ids of cells by their scenario; ``renamed`` has those of
    ``both`` whose id differs. ``redefined`` ids stand for different scenarios, field by field:
    each of the two is then in ``only_a`` or ``only_b``, too. ``other_data`` are arms by what their
    runs were made of on each side, ``unpaired`` arms without a seed in common; neither are
    compared. ``failed_a`` and ``failed_b`` are cells that one side measured and in which the other
    has errors.
    """

    both: list[str] = field(default_factory=list)
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    redefined: dict[str, list[str]] = field(default_factory=dict)
    other_data: dict[str, list[str]] = field(default_factory=dict)
    unpaired: list[str] = field(default_factory=list)
    failed_a: dict[str, str] = field(default_factory=dict)
    failed_b: dict[str, str] = field(default_factory=dict)
    failed_both: list[str] = field(default_factory=list)
    arms: list[Pair] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """How many pairs of runs are compared."""
        return sum(len(pair.accuracy) for pair in self.arms)


def pair(a: Side, b: Side) -> Pairing:
    """Pair the arms of ``a`` and ``b`` by scenario; nothing else ever pairs them."""
    found = Pairing()
    _cells(found, a, b)
    for name in a.cells.keys() & b.cells.keys():
        one, other = a.cells[name].known, b.cells[name].known
        if one.key != other.key:
            found.redefined[name] = different_fields(one.values, other.values)
    for key in [key for key in a.arms if key in b.arms]:
        arms = Pair(a.arms[key], b.arms[key])
        differing = _other_data(arms)
        if differing is not None:
            found.other_data.setdefault(differing, []).append(arms.name)
        elif not arms.accuracy:
            if arms.a.accuracy and arms.b.accuracy:
                found.unpaired.append(arms.name)
        else:
            found.arms.append(arms)
    return found


def _cells(found: Pairing, a: Side, b: Side) -> None:
    """Sort the cells of both sides; a clean twin counts as what a clean cell measures."""
    names_b = {cell.known.key: name for name, cell in b.cells.items()}
    failed_a, failed_b = _failed(a), _failed(b)
    for name, cell in a.cells.items():
        key = cell.known.key
        if key in failed_a and key in failed_b:
            found.failed_both.append(name)
        elif key in failed_b:
            found.failed_b[name] = failed_b[key]
        elif key in failed_a and key in b.arms:
            found.failed_a[name] = failed_a[key]
        elif key in a.arms and key in b.arms:
            found.both.append(name)
            if names_b.get(key, name) != name:
                found.renamed[name] = names_b[key]
        else:
            found.only_a.append(name)
    mine: Mapping[str, object] = {cell.known.key: cell for cell in a.cells.values()}
    for name, cell in b.cells.items():
        key = cell.known.key
        if key in mine:
            continue
        if key in failed_b and key in a.arms:
            found.failed_b[name] = failed_b[key]
        elif key in a.arms and key in b.arms:
            found.both.append(name)
        else:
            found.only_b.append(name)


def _failed(side: Side) -> dict[str, str]:
    """The first error of each cell of ``side`` that has any, by the key of the scenario."""
    cells: list[Cell] = list(side.cells.values())
    return {cell.known.key: cell.errors[0] for cell in cells if cell.errors}


def _other_data(arms: Pair) -> str | None:
    """How the data or weights of two arms differ; None where they do not, or nobody knows."""
    a, b = arms.a, arms.b
    if a.data is not None and b.data is not None and a.data != b.data:
        return f"{a.known.data}: {a.data} -> {b.data}"
    if a.weights is not None and b.weights is not None and a.weights != b.weights:
        return f"weights {a.known.values.get('weights')}: {a.weights} -> {b.weights}"
    return None


def _common(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, tuple[float, float]]:
    return {seed: (a[seed], b[seed]) for seed in sorted(a) if seed in b}
