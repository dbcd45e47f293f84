"""All metrics of a cell in results: values by seed, intervals, exposure, the adjusted estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fedcore.harness.statistics.bounded import bounded_estimate
from fedcore.harness.statistics.estimates import Estimate
from fedcore.harness.statistics.prior import Priors
from fedcore.harness.statistics.ratio import ratio_estimate
from fedcore.harness.suite.course import expected_above

if TYPE_CHECKING:
    from fedcore.harness.suite.course import Exposure
    from fedcore.harness.suite.outcome import Outcome

Row = Mapping[str, Any]

#: Metrics beside those of `fedcore.harness.reports.rows.MEASURED`, with what heads their column.
FURTHER = {
    "retention": "retention",
    "balanced": "balanced",
    "worst_recall": "worst class",
    "asr_net": "ASR net",
    "exposure": "exposure",
}
_BOUNDS = {"worst_recall": (0.0, 100.0), "asr_net": (-100.0, 100.0), "exposure": (0.0, 100.0)}


def metrics_row(outcome: Outcome) -> dict[str, Any]:
    """What a row of results.json holds of the metrics, to be joined with its other keys.

    values and estimates, by metric of `FURTHER`; exposure (nominal and realised shares in percent),
    assumption (rounds with more malicious clients than the rule withstands), adjusted, and
    unadjusted, why that is None. Percent and points, but for retention, a ratio of the means.
    """
    found = outcome.metrics
    pairs = list(zip(outcome.poisoned, outcome.clean, strict=False))
    values: dict[str, Sequence[float]] = dict.fromkeys(FURTHER, ())
    if all(clean for _, clean in pairs):
        values["retention"] = [poisoned / clean for poisoned, clean in pairs]
    rest: dict[str, Any] = dict.fromkeys(("exposure", "assumption", "adjusted", "unadjusted"))
    if found is not None:
        for name in ("balanced", "worst_recall", "asr_net"):
            values[name] = getattr(found, name)
        if found.exposure is not None:
            values["exposure"] = found.exposure.poisoned
        rest = {
            "exposure": None if found.exposure is None else asdict(found.exposure),
            "assumption": _assumption(outcome, found.assumption),
            "adjusted": None if found.adjusted is None else asdict(found.adjusted),
            "unadjusted": found.unadjusted,
        }
    spreads = {name: _spread(outcome, name, values[name]) for name in _BOUNDS | {"balanced": None}}
    return {
        "values": {name: list(own) for name, own in values.items()},
        "estimates": spreads | {"retention": retention_of(outcome)},
        **rest,
    }


def _assumption(outcome: Outcome, found: Exposure | None) -> dict[str, Any] | None:
    """Counts, ``share`` of the rounds, and ``expected``, that share over all seeds."""
    if found is None:
        return None
    expected = expected_above(outcome.cell.scenario, found.declared)
    return {**asdict(found), "share": found.above / found.rounds, "expected": expected}


def retention_of(outcome: Outcome) -> dict[str, Any] | None:
    """Mean poisoned over mean clean accuracy with its interval; None for a clean cell."""
    mean = outcome.retention
    if mean is None:
        return None
    try:
        lost = sum(outcome.drop) / len(outcome.drop)
        priors = Priors(outcome.noise, outcome.strata)  # the drop's, so that both agree
        noise = priors.of(outcome.cell.scenario.partition, "drop", lost)
        found = ratio_estimate(outcome.poisoned, outcome.clean, noise, outcome.confidence)
        return as_row(found) | {"mean": mean}  # to the last bit the one that a row has
    except ValueError:  # a single seed, or a clean accuracy that may be 0
        return _alone(mean)


def as_row(found: Estimate) -> dict[str, Any]:
    """Mean and interval as JSON takes them."""
    return {name: getattr(found, name) for name in ("mean", "low", "high", "confidence")}


def flat(cell: Row) -> dict[str, Any]:
    """What a CSV row shows of `metrics_row`."""
    shown: dict[str, Any] = {}
    for name in FURTHER:
        found = cell["estimates"].get(name) or {}
        for part in ("mean", "low", "high"):
            shown[f"{name}_{part}"] = found.get(part)
        shown[f"{name}_values"] = " ".join(map(str, cell["values"].get(name, ())))
    shown["exposure_nominal"] = (cell.get("exposure") or {}).get("nominal")
    assumption = cell.get("assumption") or {}
    shown["withstands"] = assumption.get("declared")
    shown["rounds_beyond"] = assumption.get("above")
    shown["rounds_beyond_share"] = assumption.get("share")
    shown["rounds_beyond_expected"] = assumption.get("expected")
    adjusted = cell.get("adjusted") or {}
    for part in ("mean", "low", "high", "df", "gain"):
        shown[f"adjusted_{part}"] = adjusted.get(part)
    for name in ("twin", "exposure"):
        shown[f"adjusted_weight_{name}"] = (adjusted.get("coefficients") or {}).get(name)
        shown[f"adjusted_target_{name}"] = (adjusted.get("targets") or {}).get(name)
    shown["unadjusted"] = cell.get("unadjusted")
    return shown


def beyond(cell: Row) -> bool:
    """Whether some round had more malicious clients than the rule of ``cell`` withstands."""
    return bool((cell.get("assumption") or {}).get("above"))


def _spread(outcome: Outcome, name: str, values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    try:
        if name == "balanced":  # an accuracy, too
            like = "clean" if outcome.cell.scenario.attack is None else "poisoned"
            found = outcome.spread(values, like)
            assert found is not None
            return as_row(found)
        least = 0.0 if name == "exposure" else outcome.noise.sd
        return as_row(bounded_estimate(values, _BOUNDS[name], least, outcome.confidence))
    except ValueError:  # a single seed
        return _alone(sum(values) / len(values))


def _alone(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": None, "high": None, "confidence": None}
