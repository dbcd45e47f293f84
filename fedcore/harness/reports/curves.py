"""Curves of cells as plain values and CSV fields: the mean by round, rounds to a level, areas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedcore.harness.suite.learning import Curves, Learning

Spread = Callable[[Sequence[float]], Mapping[str, Any] | None]
#: The arms by the names of their fields in results.csv.
ARMS = {"clean": "clean", "poisoned": "attacked"}


def curves_row(found: Curves | None, spread: Spread) -> dict[str, Any] | None:
    """``found`` as JSON takes it, in percent; None without it.

    Keys: rounds (the evaluated ones), confidence (of the band of each round on its own), level (by
    seed: 90 % of the clean tail accuracy), clean and attacked (None without an attack). An arm has
    mean, low and high by round, rounds_to_level by seed (None: not reached by the last round),
    median_rounds (None: of half of the seeds or more it is not known), censored (the number of
    seeds that did not get there), area by seed and area_estimate. ``spread`` makes an estimate.
    """
    if found is None:
        return None
    return {
        "rounds": list(found.clean.curve.rounds),
        "confidence": found.clean.curve.confidence,
        "level": list(found.level),
        "clean": _arm(found.clean, spread),
        "attacked": None if found.attacked is None else _arm(found.attacked, spread),
    }


def _arm(found: Learning, spread: Spread) -> dict[str, Any]:
    curve = found.curve
    return {
        "mean": _rounded(curve.mean),
        "low": None if curve.low is None else _rounded(curve.low),
        "high": None if curve.high is None else _rounded(curve.high),
        "rounds_to_level": list(found.reached.values),
        "median_rounds": found.reached.median,
        "censored": found.reached.censored,
        "area": list(found.area),
        "area_estimate": spread(found.area),
    }


def _rounded(values: Sequence[float]) -> list[float]:
    """To 0.0001 points: a file of thousands of cells is read by people, too."""
    return [round(value, 4) for value in values]


def flat(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of results.csv: convergence, rounds to 90 % of the clean level, and the area.

    ``>10`` by seed is one that had not got there in 10 rounds.
    """
    curves, course = cell.get("curves") or {}, cell.get("course") or {}
    found: dict[str, Any] = {}
    for name, key in ARMS.items():
        rise, arm = course.get(key) or {}, curves.get(key) or {}
        found[f"{name}_convergence"] = rise.get("state")
        for part in ("mean", "low", "high"):
            found[f"{name}_rise_per_ten_rounds_{part}"] = rise.get(part)
        found[f"{name}_rounds_to_90_median"] = arm.get("median_rounds")
        found[f"{name}_rounds_to_90_censored"] = arm.get("censored")
        found[f"{name}_rounds_to_90_values"] = " ".join(
            f">{curves['rounds'][-1]}" if value is None else str(value)
            for value in arm.get("rounds_to_level", ())
        )
        for part in ("mean", "low", "high"):
            found[f"{name}_area_{part}"] = (arm.get("area_estimate") or {}).get(part)
    return found


def reached_text(arm: Mapping[str, Any] | None, last: int) -> str | None:
    """``4.3``, ``4.3 (1 of 3 not by 10)``, ``>10 (2 of 3 not by 10)``: the median over seeds."""
    if arm is None:
        return None
    median, missing, seeds = arm["median_rounds"], arm["censored"], len(arm["rounds_to_level"])
    text = f">{last}" if median is None else f"{median:.1f}"
    return text + (f" ({missing} of {seeds} not by {last})" if missing else "")
