"""What defending and heterogeneity cost with no attacker: paired differences of clean arms.

    defence          clean accuracy of undefended FedAvg minus that of the strategy, same partition
    heterogeneity    clean accuracy on IID minus that under the partition, same strategy

Both from the records of the selected cells alone. A pair is formed only where the confound lint
finds nothing beyond the declared factor, and where both arms have been shown to have converged: at
ten rounds such a difference is mostly one of learning speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcore.harness.reports.horizons import unsettled_arm
from fedcore.harness.reports.rows import labels
from fedcore.harness.statistics.estimates import Estimate, Noise, estimate
from fedcore.harness.suite.cells import UNDEFENDED
from fedcore.harness.suite.comparability import confounds
from fedcore.harness.suite.outcome import Outcome
from fedcore.scenario import Scenario, naming
from fedcore.scenario.validation import entries

#: What each comparison refers to.
REFERENCES: Mapping[str, Mapping[str, Any]] = {
    "defence": UNDEFENDED,
    "heterogeneity": {"partition": "iid"},
}
#: The factor of each comparison. Solver and learning rate are tuned per strategy; a fixed
#: partition seed says which partition it is, and IID has no counterpart to it.
FACTORS = {
    "defence": frozenset({"strategy", "preaggregation", "optimizer", "lr"}),
    "heterogeneity": frozenset({"partition", "partition_seed"}),
}
#: The component whose chosen parameters are part of the factor: they say which arm it is.
CHOSEN = {"defence": "strategy", "heterogeneity": "partition"}


@dataclass(frozen=True)
class Cost:
    """``reference`` minus ``arm``, both clean, on the ``seeds`` that they share.

    ``values`` by seed and ``estimate`` in percentage points; above 0 the arm costs accuracy.
    ``estimate`` is None where the seeds are too few for an interval.
    """

    kind: str
    arm: Scenario
    reference: Scenario
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    estimate: Estimate | None


def clean_arms(outcomes: Sequence[Outcome]) -> dict[Scenario, dict[int, float]]:
    """Clean tail accuracy in percent by seed, of every distinct clean arm in ``outcomes``."""
    found: dict[Scenario, dict[int, float]] = {}
    for outcome in outcomes:
        if not outcome.errors:
            by_seed = zip(outcome.seeds, outcome.clean, strict=True)
            found.setdefault(outcome.cell.scenario.clean_twin(), {}).update(by_seed)
    return found


def reference_of(kind: str, arm: Scenario, arms: Mapping[Scenario, Any]) -> Scenario | None:
    """What ``arm`` is compared with: of ``arms``, the one that differs in nothing but the factor.

    None where there is none, or where several remain that tuning could not tell apart.
    """
    if _refers(kind, arm):
        return None
    factor = factor_of(kind, arm)
    fitting = [
        other for other in arms if _refers(kind, other) and not confounds(other, arm, factor)
    ]
    return fitting[0] if len(fitting) == 1 else None


def factor_of(kind: str, arm: Scenario) -> frozenset[str]:
    """The factor of ``arm``'s comparison: `FACTORS`, and what was chosen of its own component."""
    component = entries(arm).get(CHOSEN[kind])
    parameters = {} if component is None else component.parameters
    chosen = {name for name, default in parameters.items() if getattr(arm, name) != default}
    return FACTORS[kind] | chosen


def _refers(kind: str, arm: Scenario) -> bool:
    return all(getattr(arm, field) == value for field, value in REFERENCES[kind].items())


def reasons(outcomes: Sequence[Outcome]) -> dict[Scenario, str]:
    """Why no cost is made of a clean arm, by arm: on most seeds it was not shown to converge."""
    best: dict[Scenario, Outcome] = {}
    for outcome in outcomes:
        arm = outcome.cell.scenario.clean_twin()
        if not outcome.errors and len(outcome.seeds) >= len(getattr(best.get(arm), "seeds", ())):
            best[arm] = outcome
    found = {
        arm: unsettled_arm(None if outcome.course is None else outcome.course.clean)
        for arm, outcome in best.items()
    }
    return {arm: reason for arm, reason in found.items() if reason is not None}


def costs(outcomes: Sequence[Outcome], noise: Noise, confidence: float = 0.9) -> list[Cost]:
    """The costs of all clean arms in ``outcomes``, in their order, that can be paired.

    Not of arms that have not converged: `left_out` has these.
    """
    arms, open_arms = clean_arms(outcomes), reasons(outcomes)
    found = []
    for kind, arm, reference, seeds in _pairs(arms):
        if arm in open_arms or reference in open_arms:
            continue
        differences = tuple(arms[reference][seed] - arms[arm][seed] for seed in seeds)
        enough = noise.df + len(seeds) > 1
        interval = estimate(differences, noise, confidence) if enough else None
        found.append(Cost(kind, arm, reference, seeds, differences, interval))
    return found


def _pairs(
    arms: Mapping[Scenario, Mapping[int, float]],
) -> Iterator[tuple[str, Scenario, Scenario, tuple[int, ...]]]:
    """(kind, arm, reference, the seeds that they share) of all that can be compared."""
    for arm, values in arms.items():
        for kind in FACTORS:
            reference = reference_of(kind, arm, arms)
            seeds = () if reference is None else tuple(sorted({*values} & {*arms[reference]}))
            if reference is not None and seeds:
                yield kind, arm, reference, seeds


def left_out(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The costs that are not made, as the arm or what it is compared with has not converged.

    Keys: kind, arm (what has no cost), id (of the arm that has not converged), rounds, reason. A
    pair of two such arms is here once, with its own arm.
    """
    named, open_arms = _named(outcomes), reasons(outcomes)
    found = []
    for kind, arm, reference, _ in _pairs(clean_arms(outcomes)):
        guilty = next((one for one in (arm, reference) if one in open_arms), None)
        if guilty is not None:
            found.append(
                {
                    "kind": kind,
                    "arm": named[arm]["id"],
                    "id": named[guilty]["id"],
                    "rounds": guilty.rounds,
                    "reason": open_arms[guilty],
                }
            )
    return found


def _named(outcomes: Sequence[Outcome]) -> dict[Scenario, dict[str, Any]]:
    """strategy, partition, note and id of each clean arm; ids tell them apart."""
    named: dict[Scenario, dict[str, Any]] = {}
    for outcome in outcomes:
        cell = outcome.cell
        known = labels(cell.id, cell.scenario)
        parts = {name: known[name] or "" for name in ("strategy", "partition", "note")}
        parts["id"] = "-".join(filter(None, (*list(parts.values())[:2], "clean", parts["note"])))
        named.setdefault(cell.scenario.clean_twin(), parts)
    names = naming.apart([(parts["id"], arm) for arm, parts in named.items()])
    for name, parts in zip(names, named.values(), strict=True):
        further = name.removeprefix(parts["id"]).removeprefix("-")
        parts |= {"id": name, "note": "-".join(filter(None, (parts["note"], further)))}
    return named


def cost_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """`costs` as JSON takes them, accuracies in percent and differences in percentage points.

    Keys: kind, strategy, partition, note, id, hash (of the clean scenario), clean (its mean over
    ``seeds``), rounds, reference, factor, seeds, values, effect, low, high, confidence.
    """
    if not outcomes:
        return []
    named = _named(outcomes)
    arms = clean_arms(outcomes)
    found = []
    for cost in costs(outcomes, outcomes[0].noise):
        spread = cost.estimate
        found.append(
            {
                "kind": cost.kind,
                **named[cost.arm],
                "hash": cost.arm.hash,
                "clean": sum(arms[cost.arm][seed] for seed in cost.seeds) / len(cost.seeds),
                "rounds": cost.arm.rounds,
                "reference": named[cost.reference]["id"],
                "factor": sorted(factor_of(cost.kind, cost.arm)),
                "seeds": list(cost.seeds),
                "values": list(cost.values),
                "effect": sum(cost.values) / len(cost.values),
                "low": None if spread is None else spread.low,
                "high": None if spread is None else spread.high,
                "confidence": None if spread is None else spread.confidence,
            }
        )
    return found
