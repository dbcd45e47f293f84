"""Verdicts of simulated studies, by the very code that judges: `python -m` prints more of them."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from fedcore.harness.claims.claims import ClaimVerdict
from fedcore.harness.claims.contrasts import Role
from fedcore.harness.claims.simulation import main, noise, shares

STUDIES = 400
#: Three standard errors of a share of 2.5 %.
SLACK = 3 * math.sqrt(0.025 * 0.975 / STUDIES)


@pytest.mark.parametrize(
    ("means", "roles", "verdict"),
    [
        ([1.0], None, ClaimVerdict.SUPPORTED),  # the margin itself is not beyond it
        ([1.0, 9.0], None, ClaimVerdict.SUPPORTED),
        ([1.0], None, ClaimVerdict.EQUIVALENT),  # nor within
        ([-1.0] * 3, [Role.DECIDES, Role.GUARDS, Role.GUARDS], ClaimVerdict.REFUTED),
    ],
)
def test_a_strong_verdict_is_wrong_in_at_most_one_of_forty_over_all_looks(
    means: list[float], roles: list[Role] | None, verdict: ClaimVerdict
) -> None:
    assert shares(means, studies=STUDIES, roles=roles)[verdict][-1] <= 0.025 + SLACK


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [
        (0.0, ClaimVerdict.EQUIVALENT),
        (2.0, ClaimVerdict.SUPPORTED),
        (-2.0, ClaimVerdict.REFUTED),
    ],
)
def test_what_is_true_is_found_in_time(mean: float, verdict: ClaimVerdict) -> None:
    found = shares([mean] * 2, studies=200)[verdict]
    assert list(found) == sorted(found)
    assert found[0] < 0.2  # five seeds are few for one deviation
    assert found[-1] > 0.99


def test_noise_is_one_of_those_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="kind of noise must be one of normal, heavy-tailed"):
        noise("loud", 1, 1, np.random.default_rng(0))
    monkeypatch.setattr(sys, "argv", ["simulation", "--studies=3"])
    main()
    shown = capsys.readouterr().out
    assert "3 % diverging, mean of the others" in shown
    assert "2, 4" in shown
