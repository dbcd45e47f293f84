"""Train longer: malicious clients make more local epochs, so that their updates are longer.

Bhagoji, Chakraborty, Mittal and Calo, "Analyzing Federated Learning through an Adversarial Lens",
2019: the malicious agent trains for more epochs than the benign ones.
"""

from __future__ import annotations

import dataclasses

from fedcore.attacks.attack import ATTACKS, Work
from fedcore.attacks.work.over import WorkOver
from fedcore.components.parameters import param


@ATTACKS.register("trainlonger", "trains more local epochs (Bhagoji et al. 2019)")
class TrainLonger(WorkOver):
    """Every malicious client makes ``epoch_factor`` times its honest local epochs, at least 1.

    Halves are rounded up. Where a scenario counts local steps, they are as many times more.

    The audit compares the steps that were made with those of its seed.
    """

    epoch_factor: float = param(
        "local epochs over the honest ones", default=5.0, low=0, open_low=True
    )

    def changed(self, base: Work) -> Work:
        """``epoch_factor`` times the epochs, or steps, of what ``of`` asks for."""
        work = self.inner(base)
        if work.steps is not None:
            return dataclasses.replace(work, steps=self._longer(work.steps))
        return dataclasses.replace(work, epochs=self._longer(work.epochs))

    def _longer(self, count: int) -> int:
        return max(1, int(self.epoch_factor * count + 0.5 + 1e-9))  # as `round_half_up`
