"""Thresholds: named limits with a reason each, read from a TOML file.

::

    [noise]
    sd = 1.5
    df = 4
    strata = "noise.toml"  # may be left out: priors by stratum, see `read_strata`

    [drop.mild]
    max = 8.0
    reason = "..."
    where = { partition = "iid", malicious_fraction = [0.1, 0.3] }

The table before the dot is the metric: ``clean`` (tail accuracy without attack, percent), ``drop``
(clean minus poisoned, percentage points), ``asr`` (attack success rate, percent), ``control`` or
``control_asr`` (drop and attack success rate of the undefended control), ``skill`` of a clean cell
and ``twin_skill`` of an attacked one's clean twin (`suite.skill`, percent of the way from
guessing to no error). Of the thresholds whose ``where`` fits, the one with the most conditions
holds. In ``where``, "none" is a parameter that is not set. A recorded value holds at the ``rounds``
that it was recorded at: name them.

A table ``[require]`` holds what a user asks of a defence, one line each
(`fedcore.harness.suite.requirements`).

A limit must be able to fail: one whose window covers everything from no effect to chance is
refused (`cannot_fail`). ``none = true`` in place of min and max says that there is no limit, and
the reason why; it takes the place of less specific ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcore.data.medmnist import SETS
from fedcore.errors import FedcoreError, unknown_name
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.statistics.prior import Priors, Trend
from fedcore.harness.suite.strata import read_strata
from fedcore.records.tables import read_toml, table
from fedcore.scenario import Scenario
from fedcore.scenario.declared import registered, registries

if TYPE_CHECKING:
    from fedcore.harness.suite.requirements import Requirement

#: What must hold for a cell to prove anything.
CONTROLS = ("control", "control_asr", "twin_skill")
LIMITED = ("clean", "skill", "drop", "asr", *CONTROLS)
#: Metrics whose limits are values once recorded, of the settings that they were recorded for.
RECORDED = ("clean", "drop", "asr")
#: What the names of limits begin with that a user asks for (`suite.requirements`).
REQUIRED = "require"
_SHORT = {"poisoned": "poi", "retention": "ret", "drop": "drop", "asr": "ASR"}
#: No model is taken to be better, in percent: beyond it test data have leaked.
PERFECT = 99.9


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

    @property
    def horizon(self) -> str:
        """The rounds that it was recorded at: ``10``; "" where it names none."""
        return " or ".join(str(value) for value in self.where.get("rounds", ()))

    def fits(self, scenario: Scenario, changed: Collection[str] = ()) -> bool:
        """Whether every condition holds for ``scenario``.

        A limit on a recorded metric must name each field of ``changed``, in which ``scenario``
        differs from what was recorded.
        """
        if self.metric in RECORDED and not set(changed) <= set(self.where):
            return False
        return self._holds(scenario, self.where)

    def misses_by_rounds(self, scenario: Scenario, changed: Collection[str] = ()) -> bool:
        """Whether it is a limit for ``scenario`` at another horizon, and not at its own."""
        others = [field for field in self.where if field != "rounds"]
        return (
            self.exists
            and scenario.rounds not in self.where.get("rounds", (scenario.rounds,))
            and {*changed} <= {*self.where}
            and self._holds(scenario, others)
        )

    def _holds(self, scenario: Scenario, fields: Collection[str]) -> bool:
        return all(getattr(scenario, field) in self.where[field] for field in fields)

    @property
    def exists(self) -> bool:
        """Whether there is a limit at all: False for one that says ``none``."""
        return self.min is not None or self.max is not None

    @property
    def limit(self) -> str:
        """As printed: ``<=8``, ``>=80``, ``80..99``; of a requirement ``poi>=80``, ``ret>=90``."""
        return _SHORT.get(self.metric, "") * self.name.startswith(REQUIRED) + self._window

    @property
    def _window(self) -> str:
        if self.min is not None and self.max is not None:
            return f"{self.min:g}..{self.max:g}"
        if self.min is None and self.max is None:
            return "none"
        return f">={self.min:g}" if self.min is not None else f"<={self.max:g}"


def cannot_fail(threshold: Threshold, chance: float, clean: float) -> str | None:
    """Why ``threshold`` holds whatever happens, or None where something can break it.

    ``chance`` is the accuracy of guessing and ``clean`` that without an attack, both in percent. A
    limit cannot fail if its window holds all of: for ``clean``, guessing to `PERFECT`; for
    ``skill``, guessing (0) to all (100); for ``drop``, no effect (0) to the fall from ``clean`` to
    ``chance``; for ``asr``, never (0) to always (100). A control must fail where there is no effect
    (0): its min must be above that.
    """
    low = -math.inf if threshold.min is None else threshold.min
    high = math.inf if threshold.max is None else threshold.max
    if threshold.metric in CONTROLS:
        return f"without any effect it is 0, so min must be > 0, got {low:g}" if low <= 0 else None
    bottom, top, what = {
        "clean": (chance, PERFECT, f"from guessing, {chance:.3g} %, to no error"),
        "skill": (0.0, PERFECT, "from guessing, 0, to no error, 100"),
        "drop": (
            0.0,
            max(clean - chance, 0.0),
            f"from no effect, 0, to the fall to guessing, {clean - chance:.3g} points",
        ),
        "asr": (0.0, 100.0, "from never, 0, to always, 100"),
    }[threshold.metric]
    return f"it allows everything {what}" if low <= bottom and high >= top else None


@dataclass(frozen=True)
class Thresholds:
    """The limits of a suite and what it assumes about noise; ``path`` is the file they are from."""

    entries: tuple[Threshold, ...]
    noise: Noise
    path: Path | None = None
    requirements: tuple[Requirement, ...] = ()
    strata: Mapping[tuple[str, str], Trend] = member(default_factory=dict, hash=False)

    @property
    def priors(self) -> Priors:
        """What is known about the deviations between seeds, by stratum."""
        return Priors(self.noise, self.strata)

    def at_other_rounds(
        self, metric: str, scenario: Scenario, changed: Collection[str] = ()
    ) -> list[Threshold]:
        """The recorded limits on ``metric`` that ``scenario`` misses by its rounds alone.

        What was recorded at one horizon says nothing of another.
        """
        return [
            t for t in self.entries if t.metric == metric and t.misses_by_rounds(scenario, changed)
        ]

    @classmethod
    def none(cls) -> Thresholds:
        """No limits, and nothing known about noise: intervals are Student's t of the seeds."""
        return cls((), Noise(1.0, 0.0))

    def of(
        self, metric: str, scenario: Scenario, changed: Collection[str] = ()
    ) -> Threshold | None:
        """The most specific threshold on ``metric`` that fits ``scenario``, or None.

        ``changed`` as in `Threshold.fits`. Raises ThresholdError where two fit equally well.
        """
        fitting = [t for t in self.entries if t.metric == metric and t.fits(scenario, changed)]
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
        from fedcore.harness.suite.requirements import read_requirements  # it reads limits

        content = read_toml(path, "thresholds", ThresholdError)
        requirements = read_requirements(path, content.pop("require", {}))
        if "noise" not in content:
            raise ThresholdError(f"thresholds {path}: a table [noise] with sd and df is needed")
        place = f"thresholds {path}, [noise]"
        values = content.pop("noise")
        file = values.pop("strata", None) if isinstance(values, dict) else None
        if file is not None and not isinstance(file, str):
            raise ThresholdError(f"{place}: strata must be the name of a file, got {file!r}")
        strata = {} if file is None else read_strata(path.parent / file, ThresholdError)
        noise = table(Noise, values, place, ThresholdError)
        entries: list[Threshold] = []
        for metric, group in content.items():
            if metric not in LIMITED:
                raise ThresholdError(
                    f"thresholds {path}: {unknown_name('metric', metric, LIMITED)}"
                )
            if not isinstance(group, dict):
                raise ThresholdError(f"thresholds {path}: {metric!r} must hold named tables")
            for name, values in group.items():
                entries.append(_threshold(path, metric, name, values))
        return cls(tuple(entries), noise, path, requirements, strata)


def check_name(place: str, field: str, value: Any) -> None:
    """Refuse a component that nothing is registered under: the condition could never hold."""
    registry = registries().get(field)
    if registry is None or not isinstance(value, str):
        return
    if registered(field, value) not in registry:
        raise ThresholdError(f"{place}: {unknown_name(field, value, registry)}")


@dataclass(frozen=True)
class _Limit:
    """The table of one threshold."""

    reason: str
    min: float | None = None
    max: float | None = None
    none: bool = False
    where: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        low, high = self.min, self.max
        if self.none and (low is not None or high is not None):
            raise ValueError("none must be true, without min and max, or left out")
        empty = low is None and high is None and not self.none
        if empty or (low is not None and high is not None and low > high):
            raise ValueError(f"needs min or max, and min <= max; got {low} and {high}")


def _threshold(path: Path, metric: str, name: str, values: Any) -> Threshold:
    place = f"thresholds {path}, [{metric}.{name}]"
    if isinstance(values, dict) and not values.get("reason"):  # the one key that is often forgotten
        raise ThresholdError(f"{place}: a reason is needed")
    limit = table(_Limit, values, place, ThresholdError)
    where = {}
    for field, wanted in (limit.where or {}).items():
        if field not in Scenario.specs():
            raise ThresholdError(f"{place}: {unknown_name('field', field, Scenario.specs())}")
        spec = Scenario.specs()[field]
        listed = wanted if isinstance(wanted, list) else [wanted]
        unset = spec.optional and "none" not in spec.choices
        where[field] = tuple(None if unset and value == "none" else value for value in listed)
        for value in where[field]:
            check_name(place, field, value)
    threshold = Threshold(f"{metric}.{name}", metric, limit.min, limit.max, limit.reason, where)
    if threshold.exists:
        _require_bite(place, threshold)
    return threshold


def _require_bite(place: str, threshold: Threshold) -> None:
    """Refuse a limit that cannot fail on any data set that it may be put on.

    What the file does not say counts in the limit's favour: a clean accuracy of 100 %, and of the
    data sets that it names the most classes (more than any, where that is not known). Where it
    names none, the most that a data set with a name has.
    """
    published = {"mnist5k": 10, **{name: facts.num_classes for name, facts in SETS.items()}}
    named = threshold.where.get("dataset", tuple(published))
    classes = max(published.get(str(name).removeprefix("holdout:"), math.inf) for name in named)
    why = cannot_fail(threshold, 100 / classes, 100.0)
    if why is not None:
        raise ThresholdError(
            f"{place}: the limit {threshold.limit} cannot fail: {why} (of {classes:g} classes); "
            "narrow it, name the data set in where, or say none = true"
        )
