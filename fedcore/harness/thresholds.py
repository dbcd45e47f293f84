"""Thresholds: named limits with a reason each, read from a TOML file.

::

    [noise]
    sd = 1.5
    df = 4

    [drop.mild]
    max = 8.0
    reason = "..."
    where = { partition = "iid", malicious_fraction = [0.1, 0.3] }

The table before the dot is the metric: ``clean`` (tail accuracy without attack, percent), ``drop``
(clean minus poisoned, percentage points), ``asr`` (attack success rate, percent), ``control`` or
``control_asr`` (drop and attack success rate of the undefended control), ``skill`` of a clean cell
and ``twin_skill`` of an attacked one's clean twin (`fedcore.harness.skill`, percent of the way from
guessing to no error). Of the thresholds whose ``where`` fits, the one with the most conditions
holds.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import FedcoreError, unknown_name
from fedcore.harness.gates import Noise
from fedcore.scenario import Scenario
from fedcore.validation import registered_name, registries

#: What must hold for a cell to prove anything.
CONTROLS = ("control", "control_asr", "twin_skill")
METRICS = ("clean", "skill", "drop", "asr", *CONTROLS)


class ThresholdError(FedcoreError, ValueError):
    """A thresholds file that cannot be read or breaks a rule."""


@dataclass(frozen=True)
class Threshold:
    """A limit on the mean of ``metric``; ``min`` or ``max`` None leaves that side open."""

    name: str
    metric: str
    min: float | None
    max: float | None
    reason: str
    where: Mapping[str, tuple[Any, ...]]

    def fits(self, scenario: Scenario) -> bool:
        """Whether every condition holds for ``scenario``."""
        return all(getattr(scenario, field) in values for field, values in self.where.items())

    @property
    def limit(self) -> str:
        """As printed: ``<=8``, ``>=80``, ``80..99``."""
        if self.min is not None and self.max is not None:
            return f"{self.min:g}..{self.max:g}"
        return f">={self.min:g}" if self.min is not None else f"<={self.max:g}"


@dataclass(frozen=True)
class Thresholds:
    """The limits of a suite and what it assumes about noise."""

    entries: tuple[Threshold, ...]
    noise: Noise

    def of(self, metric: str, scenario: Scenario) -> Threshold | None:
        """The most specific threshold on ``metric`` that fits ``scenario``, or None.

        Raises ThresholdError where two fit equally well.
        """
        fitting = [t for t in self.entries if t.metric == metric and t.fits(scenario)]
        fitting.sort(key=lambda t: -len(t.where))
        if len(fitting) > 1 and len(fitting[0].where) == len(fitting[1].where):
            raise ThresholdError(
                f"{fitting[0].name} and {fitting[1].name} fit {scenario.id} equally well: "
                "add a condition to one of them"
            )
        return fitting[0] if fitting else None

    @classmethod
    def read(cls, path: Path) -> Thresholds:
        """The thresholds in ``path``. Raises ThresholdError with path, place and rule."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # a TOMLDecodeError and bad UTF-8 are ValueErrors
            raise ThresholdError(f"thresholds {path}: {error}") from error
        noise = content.pop("noise", None)
        if not isinstance(noise, dict) or not {"sd", "df"} <= set(noise):
            raise ThresholdError(f"thresholds {path}: a table [noise] with sd and df is needed")
        entries: list[Threshold] = []
        for metric, group in content.items():
            if metric not in METRICS:
                raise ThresholdError(
                    f"thresholds {path}: {unknown_name('metric', metric, METRICS)}"
                )
            if not isinstance(group, dict):
                raise ThresholdError(f"thresholds {path}: {metric!r} must hold named tables")
            for name, values in group.items():
                entries.append(_threshold(path, metric, name, values))
        sd, df = (_number(f"thresholds {path}, [noise]", key, noise[key]) for key in ("sd", "df"))
        try:
            return cls(tuple(entries), Noise(sd, df))
        except ValueError as error:
            raise ThresholdError(f"thresholds {path}, [noise]: {error}") from error


def _check_name(place: str, field: str, value: Any) -> None:
    """Refuse a component that nothing is registered under: the condition could never hold."""
    registry = registries().get(field)
    if registry is None or not isinstance(value, str):
        return
    if registered_name(field, value) not in registry:
        raise ThresholdError(f"{place}: {unknown_name(field, value, registry)}")


def _number(place: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ThresholdError(f"{place}: {key} must be a finite number, got {value!r}")
    return float(value)


def _threshold(path: Path, metric: str, name: str, values: Any) -> Threshold:
    place = f"thresholds {path}, [{metric}.{name}]"
    if not isinstance(values, dict):
        raise ThresholdError(f"{place}: must be a table, got {values!r}")
    unknown = set(values) - {"min", "max", "reason", "where"}
    if unknown:
        raise ThresholdError(f"{place}: unknown key {sorted(unknown)[0]!r}")
    if not values.get("reason"):
        raise ThresholdError(f"{place}: a reason is needed")
    low, high = (
        _number(place, key, values[key]) if key in values else None for key in ("min", "max")
    )
    if (low is None and high is None) or (low is not None and high is not None and low > high):
        raise ThresholdError(f"{place}: needs min or max, and min <= max; got {low} and {high}")
    where = {}
    conditions = values.get("where", {})
    if not isinstance(conditions, dict):
        raise ThresholdError(f"{place}: where must be a table of fields, got {conditions!r}")
    for field, wanted in conditions.items():
        if field not in Scenario.specs():
            raise ThresholdError(f"{place}: {unknown_name('field', field, Scenario.specs())}")
        where[field] = tuple(wanted) if isinstance(wanted, list) else (wanted,)
        for value in where[field]:
            _check_name(place, field, value)
    return Threshold(f"{metric}.{name}", metric, low, high, values["reason"], where)
