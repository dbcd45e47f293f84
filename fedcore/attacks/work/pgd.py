"""Projected gradient descent: attackers train within a ball around the global model.

Sun, Kairouz, Suresh and McMahan, "Can You Really Backdoor Federated Learning?", 2019, section 3;
Wang et al., "Attack of the Tails", NeurIPS 2020, section 4: the attacker's model is projected onto
{w : |w - x| <= radius}, x the global model, while it trains, so that a bound on the norm of updates
does not touch what is sent.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from fedcore.attacks.attack import ATTACKS, Work
from fedcore.attacks.work.over import WorkOver
from fedcore.components.parameters import param
from fedcore.exchange.worked import ball_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record


@ATTACKS.register("pgd", "trains within a ball around the global model (Sun et al. 2019)")
class Pgd(WorkOver):
    """The parameters are projected after every ``project_every``-th local step, and after the last.

    Float buffers are no parameters, and stay as training leaves them. A radius that no step ever
    leaves is an error of the audit, as then nothing was projected.
    """

    radius: float = param("radius of the ball, in parameters", low=0, open_low=True, token="radius")
    project_every: int = param("local steps from one projection to the next", default=1, low=1)

    def changed(self, base: Work) -> Work:
        """What ``of`` asks for, within the ball."""
        return dataclasses.replace(self.inner(base), radius=self.radius, every=self.project_every)

    def audit_problems(self, record: Record) -> list[str]:
        """Updates longer than the radius, and steps that were not projected onto the ball."""
        return [*super().audit_problems(record), *ball_problems(record, self.radius)]
