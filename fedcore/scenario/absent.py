"""Clients that are absent: what the fields about them mean, and the rules between these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fedcore.errors import ScenarioError

if TYPE_CHECKING:
    from fedcore.scenario.scenario import Scenario

FIELDS: Final = ("absent_fraction", "absent_rounds", "min_present")


def transitions(scenario: Scenario) -> tuple[float, float]:
    """Probabilities that a present client is absent in the next round, and that an absent one is.

    They make a Markov chain that is absent in a share ``absent_fraction`` of all rounds, for
    ``absent_rounds`` at a time in the mean; where that is None, each round is independent.
    """
    share = scenario.absent_fraction
    assert share is not None
    if scenario.absent_rounds is None:
        return share, share
    back = 1 / scenario.absent_rounds
    return share * back / (1 - share), 1 - back


def absence_problems(scenario: Scenario) -> list[str]:
    """Problems of the fields, and of components with the smallest cohort that there may be."""
    share, length, least = (getattr(scenario, name) for name in FIELDS)
    if share is None:
        return [
            f"{name}={value} needs absent_fraction: give it, or leave {name} out"
            for name, value in (("absent_rounds", length), ("min_present", least))
            if value is not None
        ]
    problems = []
    if transitions(scenario)[0] > 1 + 1e-12:
        most = length / (1 + length)
        problems.append(
            f"absent_fraction={share:g} with absent_rounds={length:g} would have clients present "
            f"for less than a round at a time: lower absent_fraction to {most:.3g}, or raise "
            "absent_rounds"
        )
    if scenario.privacy is not None:
        problems.append(
            f"privacy={scenario.privacy!r} accounts for cohorts of one size: leave absent_fraction "
            "or privacy out"
        )
    size, least = scenario.cohort_size, least or 1
    if least > size:
        problems.append(f"min_present={least} must be <= the cohort, {size}: lower it")
    if problems or least == size:
        return problems
    none = dict.fromkeys(FIELDS)
    try:
        scenario.but(**none, fraction_train=least / scenario.num_clients)
    except ScenarioError as error:
        problems += [
            f"a cohort may have min_present={least} of {size} clients, and then: {text} (or raise "
            "min_present)"
            for text in error.problems
        ]
    return problems
