"""Train longer: malicious clients make more local epochs, so that their updates are longer.

Bhagoji, Chakraborty, Mittal and Calo, "Analyzing Federated Learning through an Adversarial Lens",
2019, train the malicious objective for more epochs than benign clients train; Wang et al., "Attack
of the Tails", 2020, section 4, too.
"""

from __future__ import annotations

import dataclasses

from fedcore.attacks.attack import ATTACKS, Work
from fedcore.attacks.work.over import WorkOver
from fedcore.components.parameters import param


@ATTACKS.register("trainlonger", "trains more local epochs (Bhagoji et al. 2019)")
class TrainLonger(WorkOver):
    """Every malicious client makes ``factor`` times its honest local epochs, halves up, at least 1.

    The audit compares the steps that were made with those of its seed.
    """

    factor: float = param("local epochs over the honest ones", default=5.0, low=0, open_low=True)

    def changed(self, base: Work) -> Work:
        """``factor`` times the epochs of what ``of`` asks for."""
        work = self.inner(base)
        epochs = int(self.factor * work.epochs + 0.5 + 1e-9)  # as `round_half_up`
        return dataclasses.replace(work, epochs=max(1, epochs))
