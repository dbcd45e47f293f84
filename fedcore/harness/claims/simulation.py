"""How often verdicts are wrong, and how soon they are right, in simulated studies.

    python -m fedcore.harness.claims.simulation [--studies N]

prints shares of studies by truth and kind of noise, over all looks. A study stops at the first look
that decides.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from fedcore.harness.claims.claims import Claim, ClaimVerdict
from fedcore.harness.claims.contrasts import BOTH, Role, costs_more
from fedcore.harness.claims.rule import Row, decide
from fedcore.harness.statistics.looks import LOOKS
from fedcore.harness.statistics.simultaneous import Values, simultaneous
from fedcore.scenario import Scenario

#: Of the noise: normal; Student's t with 3 degrees of freedom; normal, and 3 % of the runs lose 25
#: deviations, which the true mean counts, or does not.
KINDS = ("normal", "heavy-tailed", "3 % diverging", "3 % diverging, mean of the others")
#: Correlation of the contrasts of one seed.
SHARED = 0.5


def noise(
    kind: str, studies: int, contrasts: int, generator: np.random.Generator
) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """Values [studies, seeds, contrasts] of deviation 1 (but for outliers) and true mean 0."""
    if kind not in KINDS:
        raise ValueError(f"kind of noise must be one of {', '.join(KINDS)}, got {kind!r}")
    shape = studies, LOOKS[-1], contrasts
    shared = generator.standard_normal((*shape[:2], 1))
    values = math.sqrt(SHARED) * shared + math.sqrt(1 - SHARED) * generator.standard_normal(shape)
    if kind == "heavy-tailed":
        values /= np.sqrt(generator.chisquare(3, (*shape[:2], 1)))
    elif kind.startswith("3 % diverging"):
        diverged = generator.random(shape) < 0.03
        values -= 25 * (diverged - (0.03 if kind == "3 % diverging" else 0.0))
    return values


def claim_of(roles: Sequence[Role], margin: float = 1.0) -> Claim:
    """A claim with a contrast of each of ``roles``."""
    mild = Scenario(attack="labelflip", malicious_fraction=0.3, poison_ratio=0.5)
    part = costs_more("", mild.but(poison_ratio=1.0), mild, {"poison_ratio"})
    parts = (dataclasses.replace(part, name=str(i), role=r) for i, r in enumerate(roles))
    return Claim("simulated", "a statement", tuple(parts), LOOKS[-1], margin)


def verdict_at_looks(claim: Claim, values: Values) -> tuple[ClaimVerdict, int]:
    """Verdict and look of one study, ``values`` [seeds, contrasts], that stops when decided."""
    for look in LOOKS:
        spans = simultaneous(values[:look], look)
        rows = [
            Row(contrast, BOTH, (), spans.mean[i], spans.sd[i], spans.each[i], spans.together[i])
            for i, contrast in enumerate(claim.contrasts)
        ]
        verdict = decide(claim, 0, rows).verdict
        if verdict is not ClaimVerdict.UNDECIDED:
            return verdict, look
    return ClaimVerdict.UNDECIDED, LOOKS[-1]


def shares(
    means: Sequence[float],
    kind: str = "normal",
    studies: int = 1000,
    sd: float = 1.0,
    roles: Sequence[Role] | None = None,
) -> dict[ClaimVerdict, tuple[float, ...]]:
    """By verdict the share of studies that have it by each of `LOOKS`; margin 1.

    ``means`` are the true effects of the contrasts, which all decide unless ``roles`` are given.
    """
    claim = claim_of(roles or [Role.DECIDES] * len(means))
    drawn = noise(kind, studies, len(means), np.random.default_rng(17))
    found = [verdict_at_looks(claim, sd * one + np.array(means)) for one in drawn]
    return {
        verdict: tuple(
            sum(v is verdict and at <= look for v, at in found) / studies for look in LOOKS
        )
        for verdict in ClaimVerdict
        if verdict is not ClaimVerdict.ERROR
    }


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--studies", type=int, default=2000)
    studies = parser.parse_args().studies
    print(f"false verdicts over all looks, % of {studies} studies (margin 1, deviation 1)")
    print(f"{'noise':36}{'supported':>12}{'equivalent':>12}{'refuted':>12}")
    guards = [Role.DECIDES, *[Role.GUARDS] * 7]
    for kind in KINDS:
        wrong = (
            shares([1.0], kind, studies)[ClaimVerdict.SUPPORTED],
            shares([1.0], kind, studies)[ClaimVerdict.EQUIVALENT],
            shares([-1.0] * 8, kind, studies, roles=guards)[ClaimVerdict.REFUTED],
        )
        print(f"{kind:36}" + "".join(f"{100 * at[-1]:12.1f}" for at in wrong))
    print("supported: one contrast whose true effect is the margin; equivalent: the same; refuted:")
    print("eight contrasts whose true effects are the margin on the other side\n")
    print("decided by the look, % of studies (two contrasts that decide, normal noise)")
    print(f"{'effects, deviation':24}{'verdict':12}" + "".join(f"{look:>7}" for look in LOOKS))
    for mean, verdict in ((0.0, ClaimVerdict.EQUIVALENT), (2.0, ClaimVerdict.SUPPORTED)):
        for sd in (0.5, 1.0, 2.0, 4.0):
            at = shares([mean] * 2, "normal", studies, sd)[verdict]
            line = "".join(f"{100 * share:7.0f}" for share in at)
            print(f"{f'{mean:g}, {sd:g}':24}{verdict.value:12}{line}")


if __name__ == "__main__":
    main()
