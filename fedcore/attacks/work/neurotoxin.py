"""Neurotoxin: attackers leave alone the parameters that benign clients move most.

Zhang, Panda, Song, Yang, Mahoney, Gonzalez, Ramchandran and Mittal, "Neurotoxin: Durable Backdoors
in Federated Learning", ICML 2022, algorithm 1: the attacker's gradient is projected onto the
coordinates that are not among the k % largest of the last global update. The authors' code takes
the largest gradients of the global model on clean data of the attacker instead; here it is the
paper's definition.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from fedcore.attacks.attack import ATTACKS, Work
from fedcore.attacks.work.over import WorkOver
from fedcore.components.parameters import param
from fedcore.exchange.worked import mask_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario


@ATTACKS.register("neurotoxin", "spares what benign clients move most (Zhang et al. 2022)")
class Neurotoxin(WorkOver):
    """Masked is the ``masked_share`` of all parameters that the last global update moved most.

    Ties count as masked, coordinates that did not move do not. In round 1, and until the server has
    made a step, there is no last update: the attacker trains without a mask, and the audit counts
    such rounds apart. The last update is the change of the global model by the round before, with
    server momentum and all: what every client can see. Under FedBN a client's own layers are masked
    at its own values, and not audited, as they differ from the global ones anyway.
    """

    masked_share: float = param(
        "share of the parameters that are left alone", default=0.05, low=0, high=1,
        open_low=True, open_high=True, token="top",
    )  # fmt: skip

    def changed(self, base: Work) -> Work:
        """What ``of`` asks for, with the mask."""
        return dataclasses.replace(self.inner(base), masked=self.masked_share)

    def problems(self, scenario: Scenario) -> list[str]:
        """A single round, and clients whose updates hold more than what a round trains."""
        problems = super().problems(scenario)
        if scenario.rounds < 2:
            problems.append(
                "attack 'neurotoxin' needs the update of the round before, got rounds="
                f"{scenario.rounds}: raise rounds"
            )
        rule = scenario.parts.optimizer.local_rule(scenario)
        if rule is not None and rule.keeps:
            problems.append(
                f"attack 'neurotoxin' masks by the last round, and optimizer "
                f"{scenario.optimizer!r} sends what earlier rounds trained: choose another"
            )
        return problems

    def audit_problems(self, record: Record) -> list[str]:
        """Updates that move what they must leave alone, or leave alone more than that."""
        return [*super().audit_problems(record), *mask_problems(record)]
