"""Until: another attack up to a round; from then on its clients work honestly.

How long a backdoor outlives the attackers' last round is its durability: Zhang, Panda, Song, Yang,
Mahoney, Mittal, Kannan and Gonzalez, "Neurotoxin: Durable Backdoors in Federated Learning", 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.attacks.attack import ATTACKS, Attack, DataAttack, LocalWork, UpdateAttack
from fedcore.components.parameters import param

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario


@ATTACKS.register("until", "another attack, up to a round (Zhang et al. 2022)")
class Until(Attack):
    """Malicious clients do what ``of`` says up to ``last_round``, and then what all others do.

    They then train on clean images and labels for the honest number of epochs, and send what they
    have trained. Success is that of ``of``, in every round that is evaluated.
    """

    of: Attack = param("the attack")
    last_round: int = param("the last round of the attack", low=1)

    @property
    def data(self) -> DataAttack | None:
        return self.of.data

    @property
    def work(self) -> LocalWork | None:
        return self.of.work

    @property
    def update(self) -> UpdateAttack | None:
        return self.of.update

    @property
    def success(self) -> Attack | None:
        return self.of.success

    def acts(self, round: int) -> bool:
        """Up to the last round of the attack."""
        return round <= self.last_round

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        return self.of.data_problems(num_classes, shape)

    def problems(self, scenario: Scenario) -> list[str]:
        """What ``of`` needs; a round that ends nothing; a place inside another attack."""
        problems = self.of.problems(scenario)
        if scenario.parts.attack != self:
            problems.append(
                f"until stands around the whole attack: write until(of={scenario.parts.attack.name}"
                f"(of=...), last_round={self.last_round})"
            )
        if self.last_round >= scenario.rounds:
            problems.append(
                f"until with last_round={self.last_round} ends nothing in "
                f"rounds={scenario.rounds}: lower last_round, raise rounds, or name the attack "
                "alone"
            )
        if self.of.work is not None and scenario.privacy is not None:
            problems.append(
                f"until changes the local work of clients after round {self.last_round}, and "
                f"privacy={scenario.privacy!r} accounts for the same work in every round: leave "
                "either out"
            )
        return problems

    def audit_problems(self, record: Record) -> list[str]:
        """What ``of`` looks for; poison or attacked updates after the last round of the attack."""
        problems = self.of.audit_problems(record)
        evidence = record.audit.training
        rows = () if evidence is None else evidence.changed
        if evidence is not None and not record.audit.skew:  # else all images are copies
            rows += evidence.copies
        late = sorted({(round, client) for round, client, _ in rows if round > self.last_round})
        if late:
            round, client = late[0]
            problems.append(
                f"has poisoned samples of client {client} in round {round}, the attack ends with "
                f"round {self.last_round}"
            )
        attacked = record.audit.cohorts[: self.last_round]
        for each in record.audit.updates:
            most = sum(each.client in cohort for cohort in attacked)
            if each.participations > most:
                problems.append(
                    f"attacked {each.participations} updates of client {each.client}, which took "
                    f"part {most} times up to round {self.last_round}"
                )
        return problems
