"""The privacy statement of a run: everything that a claim of differential privacy must say."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: What every mechanism here leaves open, and what the statement therefore names.
IN_CLEAR = (
    "sample counts, local steps with their normalizer, who took part and which generator are sent "
    "in clear; neighbours have the same"
)
#: Where a mechanism runs.
AT_CLIENT = "each client makes its release itself; nothing else of its update leaves it"
TO_SERVER = "what is released travels to the server without noise, which clips and adds it there"
SIMULATED = "simulated in one place: the mechanism runs between training and aggregation"
ATTACKERS = "malicious clients run the mechanism too, on what they trained from poisoned labels"


@dataclass(frozen=True)
class PrivacyStatement:
    """What was released about whom, and what that promises.

    ``unit`` is what is protected, ``relation`` which data sets count as neighbours,
    ``against`` from whom; ``released`` names the ``dimension`` coordinates that were sent.
    ``sigma`` is the deviation of the noise (the largest, where it varies by round), ``sensitivity``
    what it is measured against. ``epsilon_nominal`` is what the mechanism's own formula
    says of one release, ``epsilon_round`` the truth about one, ``epsilon_total`` about all of the
    client with the largest; None stands for no finite bound. ``epsilons`` and ``participations``
    are per client, of the releases that took place. ``stopped`` is the round before which the
    run ended because it would have exceeded ``budget``. ``clipped`` is the share of updates longer
    than the clip norm, ``non_finite`` how many updates were not finite and became zero: None where
    nobody counts them, as where clients clip, who tell nobody. Over a network ``participations``
    counts every client that was asked, whether its reply was used or not.
    """

    mechanism: str
    unit: str
    relation: str
    against: str
    released: str
    dimension: int
    clip_norm: float
    sensitivity: float
    sigma: float
    delta: float | None
    epsilon_nominal: float | None
    epsilon_round: float | None
    epsilon_total: float | None
    epsilons: tuple[float | None, ...]
    participations: tuple[int, ...]
    accountant: str
    version: str
    generator: str
    budget: float | None
    stopped: int | None
    clipped: float | None
    non_finite: int | None
    notes: tuple[str, ...]

    @property
    def max_participations(self) -> int:
        """T: the most releases that any client made."""
        return max(self.participations, default=0)

    def lines(self) -> list[str]:
        """The statement for people, a fact or two a line."""
        count = len(self.participations)
        mean = sum(self.participations) / count if count else 0.0
        at = "" if self.delta is None else f" at delta {self.delta:g}"
        nominal = ""
        if self.epsilon_nominal and not math.isclose(
            self.epsilon_nominal, self.epsilon_round or math.inf, rel_tol=1e-9
        ):
            nominal = f" (nominally {self.epsilon_nominal:g})"
        lines = [
            f"{self.mechanism}: protects {self.unit} against {self.against}",
            f"neighbours: {self.relation}; sent: {self.released}",
            f"clip norm {self.clip_norm:g}, sensitivity {self.sensitivity:g}, sigma {self.sigma:g}",
            f"epsilon {_shown(self.epsilon_round)}{nominal} a release, "
            f"{_shown(self.epsilon_total)} in all{at}; "
            f"{self.max_participations} releases at most, {mean:.1f} on average",
            f"accountant: {self.accountant}, {self.version}; noise: {self.generator}",
        ]
        if self.stopped is not None:
            lines.append(
                f"stopped before round {self.stopped}: a client would exceed epsilon "
                f"{self.budget:g} in all"
            )
        if self.non_finite:
            lines.append(f"{self.non_finite} updates were not finite and were sent as zero")
        return [*lines, *self.notes]


def _shown(epsilon: float | None) -> str:
    return "infinite" if epsilon is None else f"{epsilon:.4g}"
