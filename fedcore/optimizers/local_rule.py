"""Local rules: what a client does around the steps of its solver, and what it keeps of them.

A strategy or an optimizer has one (`local_rule`) where its clients do more than step by their
gradients: SCAFFOLD's correct each gradient by control variates that they keep between rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Participation:
    """One client's work in a round, as its rules see it; all tensors are [P].

    ``anchor`` are the global parameters. ``told`` are what the server sends beside these, of the
    names in `LocalRule.told`; what it does not have yet is zero. ``kept`` are the client's own, of
    the names in `LocalRule.keeps`, which a rule changes in place; zero at first, and ``first`` says
    so. ``steps`` is how many local steps there will be.
    """

    round: int
    client: int
    steps: int
    anchor: torch.Tensor
    told: Mapping[str, torch.Tensor]
    kept: Mapping[str, torch.Tensor]
    first: bool


class LocalRule:
    """What is done around local steps; of one run, for one client after the other.

    ``told`` names tensors of the server's memory that clients are sent, ``keeps`` those that a
    client keeps between rounds.
    """

    told: ClassVar[tuple[str, ...]] = ()
    keeps: ClassVar[tuple[str, ...]] = ()

    def start(self, work: Participation) -> None:
        """Begin the work of a client; forget the one before."""

    def before(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        """Change ``gradient`` [P] at ``weights`` [P] in place, before the solver takes it."""

    def after(self, weights: torch.Tensor) -> bool:
        """Change ``weights`` [P] in place after a step; whether that was done."""
        return False

    def end(self, weights: torch.Tensor) -> None:
        """Take note of where the work has led, and change in place what is sent, ``weights``."""


def private_steps_problems(name: str, scenario: Scenario) -> list[str]:
    """A mechanism of privacy, where ``name`` (as in "strategy 'scaffold'") has a local rule.

    What clients keep or send beside their releases would be private as little as it was before.
    """
    if scenario.privacy is None:
        return []
    return [
        f"{name} lets clients keep what they have trained from round to round, of which privacy="
        f"{scenario.privacy!r} keeps no account: choose another, or leave privacy out"
    ]
