from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario
from fedcore.harness.claims.claims import Claim, ClaimError, ClaimVerdict
from fedcore.harness.claims.contrasts import ACCURACY, BOTH, DROP, Role, costs_more
from fedcore.harness.claims.rule import Finding, Row, combined, decide
from fedcore.harness.statistics.simultaneous import Span

MILD = Scenario(attack="labelflip", malicious_fraction=0.3, poison_ratio=0.5)
MORE = costs_more("more", MILD.but(poison_ratio=1.0), MILD, {"poison_ratio"})
D, G, C, R = Role.DECIDES, Role.GUARDS, Role.CONTROL, Role.REPORTED
S, E, N, U = (ClaimVerdict.SUPPORTED, ClaimVerdict.EQUIVALENT, ClaimVerdict.REFUTED,
              ClaimVerdict.UNDECIDED)  # fmt: skip
# beside a margin of 1
ABOVE, HALF, INSIDE, EDGE, ACROSS, UNDER = (
    (1.5, 3.0), (0.5, 2.0), (-0.9, 0.9), (-1.0, 1.0), (-2.0, 2.0), (-3.0, -1.5)
)  # fmt: skip


def claim(roles: tuple[Role, ...] = (D,), margin: float = 1.0, below: bool = False) -> Claim:
    parts = (dataclasses.replace(MORE, name=str(i), role=role) for i, role in enumerate(roles))
    return Claim("made-up", "a statement", tuple(parts), 10, margin, below)


def row(of: Claim, number: int, each: Span, together: Span | None = None, **changes: object) -> Row:
    made = Row(of.contrasts[number], BOTH, (0.0,), sum(each) / 2, 1.0, each, together or each)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def rows(of: Claim, spans: tuple[Span, ...]) -> list[Row]:
    return [row(of, number, span) for number, span in enumerate(spans)]


@pytest.mark.parametrize(
    ("roles", "spans", "verdict"),
    [
        ((D,), (ABOVE,), S),
        ((D,), (HALF,), U),  # above 0, and not above the margin
        ((D,), (INSIDE,), E),
        ((D,), (EDGE,), E),  # the margin itself is still a trifle
        ((D,), (ACROSS,), U),
        ((D,), (UNDER,), N),
        ((D,), ((-0.9, -0.1),), E),  # below 0 for certain, by a trifle: no refutation
        ((D,), ((1.0, 2.0),), U),
        ((D,), ((-1.01, 0.5),), U),  # outside of the margin on one side: not equivalent
        ((D,), ((-0.5, 1.01),), U),
        ((D, D), (ABOVE, ABOVE), S),
        ((D, D), (ABOVE, ACROSS), U),
        ((D, D), (ABOVE, INSIDE), U),
        ((D, D), (INSIDE, INSIDE), E),
        ((D, D), (ABOVE, UNDER), N),
        ((D, G), (ABOVE, ACROSS), S),
        ((D, G), (INSIDE, ABOVE), E),
        ((D, G), (ABOVE, UNDER), N),
        ((D, C), (ABOVE, HALF), S),  # a control is held against 0 ...
        ((D, C), (ABOVE, ACROSS), U),
        ((D, C), (ABOVE, UNDER), U),
        ((D, C), (INSIDE, HALF), U),  # ... and of equivalence against the margin
        ((D, C), (INSIDE, ABOVE), E),
        ((D, R), (ABOVE, UNDER), S),
        ((D, R), (ACROSS, ABOVE), U),
    ],
)
def test_decisions_above_a_margin(
    roles: tuple[Role, ...], spans: tuple[Span, ...], verdict: ClaimVerdict
) -> None:
    made = claim(roles)
    found = decide(made, 40, rows(made, spans))
    assert found.verdict is verdict
    assert bool(found.reason) == (verdict is U)


@pytest.mark.parametrize(
    ("spans", "verdict"),
    [
        (((0.5, 1.9), (3, 9)), S),
        (((-3, -1), (3, 9)), S),
        (((0.5, 2.1), (3, 9)), U),
        (((2.1, 3), (3, 9)), N),
        (((0.5, 1.9), (0.1, 1)), S),  # a control is held against 0, not the margin
        (((0.5, 1.9), (-0.1, 1)), U),
    ],
)
def test_decisions_below_a_margin_with_a_control(
    spans: tuple[Span, ...], verdict: ClaimVerdict
) -> None:
    made = claim((D, C), margin=2, below=True)
    assert decide(made, 40, rows(made, spans)).verdict is verdict


def two(of: Claim, drop: Span, accuracy: Span) -> list[Row]:
    return [
        row(of, 0, drop, estimand=DROP),
        row(of, 0, accuracy, estimand=ACCURACY),
    ]


def test_the_estimands_must_agree() -> None:
    """FedNova drops 4.6 points less and ends 4.7 lower: that supports nothing."""
    made = claim()
    assert decide(made, 40, two(made, ABOVE, ABOVE)).verdict is S
    assert decide(made, 40, two(made, INSIDE, INSIDE)).verdict is E
    for other in (INSIDE, HALF, ACROSS):
        assert decide(made, 40, two(made, ABOVE, other)).verdict is U
        assert decide(made, 40, two(made, other, ABOVE)).verdict is U
        assert decide(made, 40, two(made, UNDER, other)).verdict is U
        assert decide(made, 40, two(made, other, UNDER)).verdict is U
    assert decide(made, 40, two(made, UNDER, UNDER)).verdict is N
    for contrary in ((ABOVE, UNDER), (UNDER, ABOVE)):
        found = decide(made, 40, two(made, *contrary))
        assert found.verdict is U
        assert found.reason == "drop and poisoned accuracy contradict each other: 0"


def test_only_intervals_of_all_together_refute() -> None:
    """Any of several refutes, so each needs more; all of several support, so each needs its own."""
    made = claim((D, G))
    wide = (-4.0, 0.5)
    assert decide(made, 40, [row(made, 0, ABOVE), row(made, 1, UNDER, wide)]).verdict is S
    assert decide(made, 40, [row(made, 0, ABOVE, (-1, 5)), row(made, 1, ACROSS)]).verdict is S
    assert decide(made, 40, [row(made, 0, ABOVE), row(made, 1, UNDER, UNDER)]).verdict is N


@pytest.mark.parametrize("span", [ABOVE, INSIDE, UNDER])
def test_an_arm_that_still_rises_decides_nothing(span: Span) -> None:
    made = claim()
    found = decide(made, 10, [row(made, 0, span, rising=("arm rises by +5.0",))])
    assert (found.verdict, found.rising) == (U, True)
    assert found.reason == "open: still rising at 10 rounds: arm rises by +5.0"


def test_what_has_converged_may_refute_beside_what_rises() -> None:
    made = claim((D, D))
    still = row(made, 1, ABOVE, rising=("arm rises by +5.0",))
    assert decide(made, 40, [row(made, 0, UNDER), still]).verdict is N
    assert decide(made, 40, [row(made, 0, ABOVE), still]).verdict is U
    controlled = claim((D, C))
    still = row(controlled, 1, ABOVE, rising=("arm rises by +5.0",))
    assert decide(controlled, 40, [row(controlled, 0, ABOVE), still]).verdict is U
    guarded = claim((D, G))
    still = row(guarded, 1, UNDER, rising=("arm rises by +5.0",))
    assert decide(guarded, 40, [row(guarded, 0, ABOVE), still]).verdict is S


@pytest.mark.parametrize(
    ("early", "last", "verdict", "reason"),
    [
        (S, S, S, "at 80 rounds"),
        (E, E, E, "at 80 rounds"),
        ("rising", S, S, "at 80 rounds; open: still rising at 40"),
        (U, S, U, "supported at 80 rounds, undecided at 40 (wide)"),
        (N, S, U, "supported at 80 rounds, refuted at 40"),
        (S, "rising", U, "rising"),
        (S, U, U, "wide"),
    ],
)
def test_the_last_horizon_decides_and_an_earlier_one_must_agree(
    early: ClaimVerdict | str, last: ClaimVerdict | str, verdict: ClaimVerdict, reason: str
) -> None:
    def finding(horizon: int, what: ClaimVerdict | str) -> Finding:
        if what == "rising":
            return Finding(horizon, (), U, "rising", rising=True)
        assert isinstance(what, ClaimVerdict)
        return Finding(horizon, (), what, "wide" if what is U else "")

    assert combined([finding(40, early), finding(80, last)]) == (verdict, reason)


def test_a_claim_states_a_margin_and_horizons_that_rise() -> None:
    for margin in (0.0, -1.0):
        with pytest.raises(ClaimError, match="margin must be > 0 points, got"):
            claim(margin=margin)
    for horizons in ((40, 40), (80, 40), (0, 10)):
        with pytest.raises(ClaimError, match="horizons must be rising numbers of rounds"):
            dataclasses.replace(claim(), horizons=horizons)


EDGES = st.floats(-5, 5, allow_nan=False)


@given(st.lists(st.tuples(EDGES, EDGES, st.floats(0, 2)), min_size=1, max_size=3))
def test_of_one_contrast_what_supports_refutes_with_its_sign_turned(
    drawn: list[tuple[float, float, float]],
) -> None:
    """And no verdict is strong in two ways: each is that of disjoint places."""
    made = claim()
    for a, b, more in drawn:
        low, high = sorted((a, b))
        span, turned = (low, high), (-high, -low)
        wide, other = (low - more, high + more), (-high - more, -low + more)
        one = decide(made, 40, [row(made, 0, span, wide)]).verdict
        two = decide(made, 40, [row(made, 0, turned, other)]).verdict
        if more == 0:
            assert (one is S) == (two is N)
        assert (one is N) <= (two is S)  # all together need more than each
        assert (one is E) == (two is E)
