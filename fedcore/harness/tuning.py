"""Tuned local work: each strategy's learning rate and solver, chosen on clean data by one rule.

The rule: of the candidates, the highest mean tail accuracy over the tuning partitions and seeds,
without attack, on a fifth of the training samples held out (`holdout:`); never the test set. Ties
go to the smaller learning rate. `fedcore tune` applies it and writes the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedcore.errors import FedcoreError
from fedcore.scenario import Scenario

#: What may be tuned, and nothing else.
FIELDS = ("optimizer", "lr")


class TuningError(FedcoreError, ValueError):
    """A tuning file that cannot be read or sets what it must not."""


def read_tuning(path: Path) -> Callable[[Scenario], Scenario]:
    """A function that gives a scenario the local work tuned for its model and strategy.

    The file holds tables ``[model.strategy]``. A pair that it does not hold keeps its scenario as
    it is. Raises TuningError with path and rule.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # a TOMLDecodeError and bad UTF-8 are ValueErrors
        raise TuningError(f"tuning {path}: {error}") from error
    choices: dict[tuple[str, str], Mapping[str, Any]] = {}
    for model, strategies in content.items():
        if not isinstance(strategies, dict):
            raise TuningError(f"tuning {path}: {model!r} must hold a table per strategy")
        for strategy, values in strategies.items():
            if not isinstance(values, dict) or set(values) != set(FIELDS):
                raise TuningError(
                    f"tuning {path}, [{model}.{strategy}]: must hold {' and '.join(FIELDS)}, "
                    "nothing else"
                )
            choices[model, strategy] = values

    def local(scenario: Scenario) -> Scenario:
        return scenario.but(**choices.get((scenario.model, scenario.strategy), {}))

    return local
