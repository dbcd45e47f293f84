"""Requirements: what a user asks of a defence, in one line of a file or of the command line.

::

    [require]
    fedx-holds = "poisoned >= 80 where strategy = fedx, malicious_fraction = 30 % with 95 %"

    pytest benchmark --require "retention >= 90 where attack = labelflip"

A requirement is METRIC, >= or <=, and a number; then, if wanted, ``where`` with conditions on
scenario fields, and ``with`` the confidence, by default 95 %. It holds where the one-sided bound of
the mean over the paired seeds does, at that confidence over all looks of the cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import unknown_name
from fedcore.harness.statistics.estimates import (
    ERROR,
    CellVerdict,
    Estimate,
    Noise,
    estimate,
    judge,
)
from fedcore.harness.statistics.ratio import ratio_estimate
from fedcore.harness.suite.thresholds import Threshold, ThresholdError, check_name
from fedcore.scenario import Scenario
from fedcore.scenario.declared import registries

#: What may be asked for: tail accuracies, retention and success rate in percent, drop in points.
METRICS = ("clean", "poisoned", "drop", "retention", "asr")
FORM = "METRIC >= NUMBER [where FIELD = VALUE, ...] [with NUMBER %]"
_LINE = re.compile(
    r"\s*(?P<metric>\w+)\s*(?P<sign>>=|<=)\s*(?P<value>[^\s%]+)\s*%?"
    r"(?:\s+where\s+(?P<where>.+?))?(?:\s+with\s+(?P<level>[^\s%]+)\s*%)?\s*"
)


@dataclass(frozen=True)
class Requirement:
    """``threshold`` on cells of which its conditions hold, with one-sided ``confidence``."""

    threshold: Threshold
    confidence: float

    @classmethod
    def parse(cls, text: str, name: str | None = None) -> Requirement:
        """The requirement that ``text`` words; ``name`` is its key in a file.

        Raises ThresholdError with the text and the rule that it breaks.
        """
        place = f"requirement {text!r}" + (f" ({name})" if name else "")
        found = _LINE.fullmatch(text)
        if found is None:
            raise ThresholdError(f"{place}: must read {FORM}")
        metric = found["metric"]
        if metric not in METRICS:
            raise ThresholdError(f"{place}: {unknown_name('metric', metric, METRICS)}")
        value = _number(place, "the limit", found["value"])
        level = _number(place, "the confidence", found["level"] or "95") / 100
        if not 0.5 < level < 1:
            raise ThresholdError(f"{place}: the confidence must be above 50 and below 100 %")
        low, high = (value, None) if found["sign"] == ">=" else (None, value)
        _require_failable(place, metric, low, high)
        where = {} if found["where"] is None else _conditions(place, found["where"])
        reason = f"required with {100 * level:g} % confidence"
        label = f"require.{name}" if name else f"require {text.strip()}"
        return cls(Threshold(label, metric, low, high, reason, where), level)

    def fits(self, scenario: Scenario) -> bool:
        """Whether it is asked of a cell of ``scenario``."""
        if (self.threshold.metric == "clean") != (scenario.attack is None):
            return False
        return all(getattr(scenario, f) in values for f, values in self.threshold.where.items())

    def level(self, confidence: float) -> float:
        """The two-sided level whose sides are one-sided bounds at the confidence asked for.

        ``confidence`` is that of the cell's intervals, 1 - 2 x `ERROR` over its looks: the error of
        the requirement is spent over the looks alike.
        """
        return 1 - (1 - self.confidence) * (1 - confidence) / ERROR

    def interval(self, values: Sequence[float], noise: Noise, confidence: float) -> Estimate:
        """The mean of ``values`` with the interval at `level`."""
        return estimate(values, noise, self.level(confidence))

    def ratio(
        self, poisoned: Sequence[float], clean: Sequence[float], noise: Noise, confidence: float
    ) -> Estimate:
        """The retention in percent with Fieller's interval at `level`, as tables have it.

        ``noise`` is that of the drop. ValueError as of `ratio_estimate`.
        """
        share = ratio_estimate(poisoned, clean, noise, self.level(confidence))
        mean, low, high = (100 * end for end in (share.mean, share.low, share.high))
        return Estimate(mean, low, high, share.confidence, share.seeds)

    def judge(self, interval: Estimate) -> CellVerdict:
        """PASS where the bound holds, FAIL where the other bound misses it, else unsure."""
        return judge(interval, self.threshold.min, self.threshold.max)


def read_requirements(path: Path, values: Any) -> tuple[Requirement, ...]:
    """Those of the table [require] in the file at ``path``. Raises ThresholdError."""
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise ThresholdError(
            f"thresholds {path}, [require]: every line must be NAME = {FORM!r} as a text"
        )
    try:
        return tuple(Requirement.parse(text, name) for name, text in values.items())
    except ThresholdError as error:
        raise ThresholdError(f"thresholds {path}, [require]: {error}") from error


def unasked(requirements: Sequence[Requirement], scenarios: Sequence[Scenario]) -> list[str]:
    """The names of ``requirements`` that fit none of ``scenarios``."""
    return [
        requirement.threshold.name
        for requirement in requirements
        if not any(requirement.fits(scenario) for scenario in scenarios)
    ]


def _require_failable(place: str, metric: str, low: float | None, high: float | None) -> None:
    """Refuse a limit that every model holds, or none can."""
    bottom, top = (-100.0, 100.0) if metric == "drop" else (0.0, 100.0)
    limit = low if low is not None else high
    assert limit is not None
    if not bottom < limit < top:
        raise ThresholdError(f"{place}: the limit must be above {bottom:g} and below {top:g}")


def _conditions(place: str, text: str) -> Mapping[str, tuple[Any, ...]]:
    """Values by scenario field; several for one field are alternatives."""
    where: dict[str, tuple[Any, ...]] = {}
    for part in text.split(","):
        field, sign, word = (piece.strip() for piece in part.partition("="))
        if not sign or not field or not word:
            raise ThresholdError(f"{place}: a condition reads FIELD = VALUE, got {part.strip()!r}")
        specs = Scenario.specs()
        name = field.replace("-", "_")
        if name not in specs:
            raise ThresholdError(f"{place}: {unknown_name('field', field, specs)}")
        spec = specs[name]
        unset = spec.optional and word == "none" and "none" not in spec.choices
        value = None if unset else _value(place, name, word)
        where[name] = (*where.get(name, ()), value)
    return where


def _value(place: str, name: str, word: str) -> Any:
    """``word`` in the type of the field ``name``; shares may be percentages."""
    spec = Scenario.specs()[name]
    if name in registries():
        check_name(place, name, word)
        return word
    try:
        share = word.endswith("%")
        value = spec.coerce(float(word[:-1]) / 100 if share else spec.read(word))
    except (TypeError, ValueError) as error:
        raise ThresholdError(f"{place}: {name} = {word}: {error}") from error
    problems = spec.problems(name, value)
    if problems:
        raise ThresholdError(f"{place}: {'; '.join(problems)}")
    return value


def _number(place: str, what: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ThresholdError(f"{place}: {what} must be a number, got {word!r}") from None
