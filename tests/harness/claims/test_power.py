from __future__ import annotations

import dataclasses

import pytest

from fedcore.harness.claims.claims import Claim, ClaimVerdict
from fedcore.harness.claims.contrasts import BOTH, Role
from fedcore.harness.claims.judging import ClaimOutcome
from fedcore.harness.claims.power import needs
from fedcore.harness.claims.rule import Finding, Row
from fedcore.harness.claims.simulation import claim_of
from fedcore.harness.statistics.simultaneous import seeds_needed

D, G, C = Role.DECIDES, Role.GUARDS, Role.CONTROL


def outcome(
    claim: Claim,
    rows: list[tuple[float, float]],
    verdict: ClaimVerdict = ClaimVerdict.UNDECIDED,
    rising: bool = False,
) -> ClaimOutcome:
    """Of a claim whose contrasts have ``rows`` of mean and deviation."""
    span = (-9.0, 9.0)
    made = tuple(
        Row(contrast, BOTH, (), mean, sd, span, span)
        for contrast, (mean, sd) in zip(claim.contrasts, rows, strict=True)
    )
    finding = Finding(40, made, verdict, "reason", rising)
    return ClaimOutcome(claim, tuple(range(5)), 5, (finding,), verdict, "reason", (), ())


def test_all_that_decide_are_needed_and_guards_are_not() -> None:
    claim = claim_of([D, D, G])
    assert seeds_needed(1.0, 1.0) == 20
    text = needs(outcome(claim, [(2.0, 0.1), (2.0, 1.0), (2.0, 50.0)]))
    assert text == "20 seeds (1, both)"
    # within: the nearer of both margins counts, as far away as that one above
    assert needs(outcome(claim, [(0.0, 1.0), (-0.4, 0.1), (0.0, 50.0)])) == "20 seeds (0, both)"


def test_one_against_is_enough() -> None:
    text = needs(outcome(claim_of([D, D]), [(-2.0, 1.0), (2.0, 40.0)]))
    assert text == "20 seeds (0, both)"


def test_what_lies_in_two_places_stays_undecided() -> None:
    text = needs(outcome(claim_of([D, D]), [(2.0, 1.0), (0.0, 0.5)]))
    assert text.startswith("no number of seeds, if the effects are those observed: some lie beyond")
    assert text.endswith("20 seeds (0, both)")


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (3.0, 10.0, "about 240 seeds (0, both)"),
        (1.001, 5.0, "more than 10,000 seeds (0, both)"),
        (1.0, 5.0, "more than 10,000 seeds (0, both)"),  # on the margin itself
        (3.0, 0.0, ""),  # a single seed, or no spread: nothing is known
    ],
)
def test_numbers_are_as_exact_as_a_deviation_of_few_seeds(
    mean: float, sd: float, text: str
) -> None:
    assert needs(outcome(claim_of([D]), [(mean, sd)])) == text


def test_controls_are_needed_too() -> None:
    claim = claim_of([D, C])
    assert needs(outcome(claim, [(9.0, 1.0), (2.0, 2.0)])) == "20 seeds (1, both)"  # above 0
    assert needs(outcome(claim, [(0.0, 0.1), (3.0, 2.0)])) == "20 seeds (1, both)"  # above 1
    text = needs(outcome(claim, [(0.0, 0.1), (0.9, 0.1)]))
    assert text == "an attack that costs more than 1: 1"
    assert needs(outcome(claim, [(-9.0, 1.0), (0.0, 2.0)])) == "5 seeds (0, both)"


def test_below_a_margin_there_is_one_edge() -> None:
    claim = dataclasses.replace(claim_of([D]), margin=2.0, below=True)
    assert needs(outcome(claim, [(-2.0, 4.0)])) == "20 seeds (0, both)"
    assert needs(outcome(claim, [(3.0, 1.0)])) == "20 seeds (0, both)"


def test_arms_that_rise_need_rounds_and_what_is_decided_nothing() -> None:
    claim = claim_of([D])
    text = needs(outcome(claim, [(2.0, 1.0)], rising=True))
    assert text == "longer runs: at 40 rounds arms still rise"
    for verdict in (ClaimVerdict.SUPPORTED, ClaimVerdict.EQUIVALENT, ClaimVerdict.REFUTED):
        assert needs(outcome(claim, [(2.0, 1.0)], verdict)) == ""
    none = dataclasses.replace(outcome(claim, [(2.0, 1.0)]), findings=())
    assert needs(none) == ""
