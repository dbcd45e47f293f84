"""Identity check: an arm that equals FedAvg where it must not is not what it is named after."""

from __future__ import annotations

import math

import torch

from fedcore.errors import IdentityError
from fedcore.record import Identity
from fedcore.strategies.base import Cohort, ServerState

# Relative difference under which two steps are the same up to rounding in float32.
_SAME = 1e-6
# Multiples of the rounding of the weights that a difference needs in order to be seen.
_RESOLVED = 100.0


class IdentityCheck:
    """Compares each round's step with FedAvg's, computed here independently of any strategy."""

    def __init__(self, strategy: str) -> None:
        self.strategy = strategy
        self._due = self._differing = self._unequal = 0

    def see(
        self,
        due: bool,
        before: ServerState,
        after: ServerState,
        cohort: Cohort,
        num_parameters: int,
    ) -> None:
        """Note one round; ``due`` says that its step must differ from FedAvg's."""
        self._unequal += len(set(cohort.steps)) > 1
        if not due:
            return
        weights = cohort.weights.to(cohort.updates)
        fedavg = (weights[:, None] * cohort.updates[:, :num_parameters]).sum(dim=0)
        made = after.vector[:num_parameters] - before.vector[:num_parameters]
        size = float(fedavg.norm())
        spread = float((cohort.updates[:, :num_parameters] - fedavg).norm())
        # adding a small step to large weights rounds it: allow for that rounding
        rounding = float(before.vector[:num_parameters].norm()) * torch.finfo(made.dtype).eps
        if not math.isfinite(spread):  # FedAvg's step is not finite, and the one made is
            self._due += 1
            self._differing += 1
            return
        if size == 0 or spread <= max(_SAME * size, _RESOLVED * rounding):
            return  # nobody moved, or all alike as far as can be seen: nothing to tell
        self._due += 1
        self._differing += float((made - fedavg).norm()) > _SAME * size + rounding

    def verdict(self) -> Identity:
        """What was seen over the run.

        Raises IdentityError if most of the rounds that had to differ did not. Single rounds may
        tie by chance: a model that has blown up can move by what its own size rounds away.
        """
        if 2 * self._differing < self._due:
            raise IdentityError(
                f"an arm named {self.strategy!r} equals FedAvg's in {self._due - self._differing} "
                f"of the {self._due} rounds whose cohorts must make a difference "
                f"({self._unequal} with unequal work): the arm is not what its name says"
            )
        return Identity(self._due, self._differing, self._unequal)
