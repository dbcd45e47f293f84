"""ALIE: a little is enough, a shift that hides in the spread of the benign updates."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.attacks.crafting import deviation, lonely, lonely_problems, mean
from fedcore.components.parameters import param
from fedcore.exchange.cohort import Memory
from fedcore.exchange.sent import Piece, Sent, off_by
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario


@ATTACKS.register("alie", "mean less z standard deviations (Baruch et al. 2019)")
class Alie(UpdateAttack):
    """All malicious clients send mu - z sigma, coordinate by coordinate, of the updates they see.

    ``z`` None is the paper's: of n clients in the round, m of them malicious, z = Phi^-1((n - m -
    s) / (n - m)) with s = floor(n / 2 + 1) - m supporters. It is small where cohorts
    are: 0 at n = 5, m = 1, below 0 at n = 10, m = 1. Where it cannot be above 0 the scenario is
    refused; a run in whose rounds it varies says so in its notes. The formula presumes that m <=
    n / 2: a majority of attackers takes the z of m = floor(n / 2), and z = 0 stands for a quantile
    of 0. ByzFL and the authors' script set a constant 1.5.

    ``divisor`` is that of the variance: the authors' script has n, other code n - 1. ``sign`` is
    the side of the mean. The paper's attackers see their own updates only (``knows="own"``).
    Source: Baruch, Baruch, Goldberg, "A Little Is Enough: Circumventing Defenses For Distributed
    Learning", NeurIPS 2019, the attack that prevents convergence.
    """

    one_row = True
    knows: str = param("which updates they see", default="benign", choices=("own", "benign"))
    z: float | None = param(
        "standard deviations from the mean; None: the paper's formula",
        default=None,
        low=0,
        open_low=True,
    )
    sign: str = param("side of the mean", default="minus", choices=("minus", "plus"))
    divisor: str = param("divisor of the variance", default="n", choices=("n", "n-1"))

    def problems(self, scenario: Scenario) -> list[str]:
        """A z that is not above 0 in any round; one malicious client that sees itself only."""
        problems = lonely_problems(self, scenario)
        n, most = scenario.cohort_size, min(scenario.num_malicious, scenario.cohort_size)
        least = max(1, most) if n == scenario.num_clients else 1
        best = max((paper_z(n, m) for m in range(least, most + 1)), default=0.0)
        if self.z is None and most and best <= 0:
            problems.append(
                f"attack {self.name!r}: the paper's z = Phi^-1((n - m - s) / (n - m)), s = "
                f"floor(n / 2 + 1) - m, is {best:.3g} at a cohort of n = {n} with up to m = {most} "
                "malicious clients, so that it would send the mean: give z (1.5 is usual), or "
                "raise malicious_fraction"
            )
        return problems

    def strength(self, clients: int, malicious: int) -> float:
        """Z in a round of ``clients``, ``malicious`` of them the attackers'."""
        return paper_z(clients, malicious) if self.z is None else self.z

    def craft(self, seen: Seen) -> torch.Tensor:
        z = self.strength(seen.clients, len(seen.own))
        tallies = seen.memory.tallies
        tallies["rounds"] = tallies.get("rounds", 0) + 1
        tallies["idle"] = tallies.get("idle", 0) + (z <= 0)
        tallies["least"] = min(z, tallies.get("least", z))
        tallies["most"] = max(z, tallies.get("most", z))
        sigma = deviation(seen.visible, less=int(self.divisor == "n-1"))
        shift = -z if self.sign == "minus" else z
        return mean(seen.visible).add_(sigma, alpha=shift).expand_as(seen.own)

    def sends_own(self, clients: int, malicious: int) -> bool:
        return lonely(self, clients, malicious)

    def remarks(self, memory: Memory) -> tuple[str, ...]:
        tallies = memory.tallies
        if self.z is not None or not tallies.get("idle"):
            return ()
        return (
            f"attack {self.name!r}: the paper's z was {tallies['least']:.3g} to "
            f"{tallies['most']:.3g}; in {tallies['idle']:g} of {tallies['rounds']:g} attacked "
            "rounds it was not above 0, so that the mean was sent, or a little beyond it",
        )

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """``z`` as it was sent; ``off``, how far the row is from mu - z sigma, over |sigma|."""
        n, m = sent.clients, min(sent.malicious, sent.clients // 2)
        z = self.z
        if z is None:
            share = (n - m - (n // 2 + 1 - m)) / (n - m) if n > m else 0.0
            z = NormalDist().inv_cdf(share) if share > 0 else 0.0
        side = -1.0 if self.sign == "minus" else 1.0
        visible = len(sent.visible)
        stretch = visible / (visible - 1) if self.divisor == "n-1" and visible > 1 else 1.0

        def terms(piece: Piece) -> torch.Tensor:
            centre = piece.visible.sum(dim=0) / visible
            square = (piece.visible - centre).square().sum(dim=0) / visible
            sigma = (stretch * square).sqrt()
            gap = piece.row - centre
            rest = gap - side * z * sigma
            return torch.stack((rest @ rest, gap @ sigma, sigma @ sigma, centre @ centre))

        rest, along, square, centre = sent.sums(terms).tolist()
        shown = side * along / square if square > 1e-6 * centre else z
        return {"z": shown, "off": off_by(rest, z * z * square + centre), "same": sent.same}

    def audit_problems(self, record: Record) -> list[str]:
        """Rows that are not z standard deviations from the mean, or not the same for all."""
        problems = [
            *measured_problems(record, "off", 0, 1e-4),
            *measured_problems(record, "same", 1, 1),
        ]
        if self.z is not None:
            least, most = (1 - 1e-3) * self.z, (1 + 1e-3) * self.z
            problems += measured_problems(record, "z", least, most)
        return problems


def paper_z(clients: int, malicious: int) -> float:
    """The paper's z of ``malicious`` among ``clients``; see `Alie`.

    >>> [round(paper_z(n, m), 2) for n, m in ((50, 24), (10, 3), (5, 1), (10, 1))]
    [1.43, 0.18, 0.0, -0.14]
    """
    malicious = min(malicious, clients // 2)
    supporters = clients // 2 + 1 - malicious
    benign = clients - malicious
    quantile = (benign - supporters) / benign
    return NormalDist().inv_cdf(quantile) if quantile > 0 else 0.0
