"""Tuned local work: each strategy's learning rate and solver, chosen on clean data by one rule.

The rule: of the candidates, the one whose worst tuning partition has the highest mean tail accuracy
over the seeds, without attack, on a fifth of the training samples held out (`holdout:`); never the
test set. Ties go to the smaller learning rate. A mean over partitions would let a gain on even data
pay for an arm that learns nothing on skewed data, and what such an arm loses says nothing.
What is chosen must stay finite on twenty seeds of each partition, else the next best is taken:
four seeds do not show that a rate diverges in one run of thirty. No choice is at the edge of what
was tried: further rates are tried until a better one has worse ones on both sides. Strategies that
a claim compares share a solver, the one under which the worse off does best, and what is struck
out.
`fedcore tune` applies the rule and prints the file's tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import FedcoreError
from fedcore.records.tables import read_toml, table
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class TunedWork:
    """What may be tuned: ``optimizer`` and ``lr``, and nothing else.

    The other fields say how: on how many ``seeds``, what the strategy would have had ``untuned``,
    and the points that it ``gain``-ed over that on its worse partition.
    """

    optimizer: str
    lr: float
    seeds: int | None = None
    untuned: str | None = None
    gain: float | None = None

    def __str__(self) -> str:
        how = "" if self.seeds is None else f", chosen on {self.seeds} seeds"
        if self.untuned is not None and self.gain is not None:
            how += f", {self.gain:+.1f} points over {self.untuned} on the worse partition"
        return f"{self.optimizer} {self.lr:g}{how}"


#: What a table of the file changes in a scenario.
FIELDS = ("optimizer", "lr")


class TuningError(FedcoreError, ValueError):
    """A tuning file that cannot be read or sets what it must not."""


def read_tuning(path: Path) -> Callable[[Scenario], Scenario]:
    """A function that gives a scenario the local work tuned for its data, model and strategy.

    The file holds tables ``[model.strategy]``, tuned on the default data set, and
    ``[dataset.model.strategy]``, which come first for theirs. What it does not hold keeps its
    scenario as it is. Raises TuningError with path and rule.
    """
    choice = read_choices(path)

    def local(scenario: Scenario) -> Scenario:
        work = choice(scenario)
        return scenario if work is None else scenario.but(optimizer=work.optimizer, lr=work.lr)

    return local


def read_choices(path: Path) -> Callable[[Scenario], TunedWork | None]:
    """A function that gives what was tuned for a scenario's data, model and strategy, or None.

    The file as of `read_tuning`. Raises TuningError with path and rule.
    """
    content = read_toml(path, "tuning", TuningError)
    choices: dict[tuple[str | None, str, str], TunedWork] = {}

    def add(key: tuple[str | None, str, str], values: Any) -> None:
        place = f"tuning {path}, [{'.'.join(filter(None, key))}]"
        choices[key] = table(TunedWork, values, place, TuningError)

    for first, tables in content.items():
        if not isinstance(tables, dict):
            raise TuningError(f"tuning {path}: {first!r} must hold a table per strategy")
        for second, values in tables.items():
            if isinstance(values, dict) and any(isinstance(v, dict) for v in values.values()):
                for third, own in values.items():
                    add((first, second, third), own)
            else:
                add((None, first, second), values)

    def chosen(scenario: Scenario) -> TunedWork | None:
        pair = scenario.model, scenario.strategy
        return choices.get((scenario.dataset, *pair), choices.get((None, *pair)))

    return chosen
