"""Durability of a backdoor: its success in the rounds after the attackers have left."""

from __future__ import annotations

from dataclasses import dataclass

from fedcore.attacks.attack import attack_of
from fedcore.errors import FedcoreError
from fedcore.records.record import Record


@dataclass(frozen=True)
class Durability:
    """Attack success rates, shares in [0, 1], from the last attacked round on.

    ``last_round`` is the last evaluated round in which the attack acted, ``at_last`` the rate in
    it, ``base`` what of it the clean twin has, too (0 without a twin). ``after`` are (rounds since
    ``last_round``, rate) of the later evaluated rounds. ``half_life`` is the number of rounds after
    which the rate above the twin's first is half of that at ``last_round`` or less: None where that
    does not happen within the run, or where there was nothing above the twin's rate to lose.
    """

    last_round: int
    at_last: float
    base: float
    after: tuple[tuple[int, float], ...]
    half_life: int | None

    def rate(self, rounds: int) -> float:
        """The rate ``rounds`` after the last attacked round; FedcoreError if not evaluated."""
        known = {0: self.at_last, **dict(self.after)}
        if rounds not in known:
            raise FedcoreError(
                f"no success rate {rounds} rounds after the attack: evaluated are "
                f"{', '.join(map(str, known))}"
            )
        return known[rounds]


def durability(record: Record, twin: Record | None = None) -> Durability:
    """The durability of the attack of ``record``, which ends within the run: ``until(of=...)``.

    ``twin`` is its clean twin of the same seed. After Zhang et al., "Neurotoxin", 2022, who count
    the rounds until the rate falls below a threshold; the threshold here is half of what the attack
    achieved. FedcoreError where no attack ends, no rate is measured or the twin is another's.
    """
    attack, name = attack_of(record.scenario), f"{record.scenario.id} seed {record.seed}"
    if record.asr is None or attack is None:
        raise FedcoreError(f"{name} measures no attack success rate: name an attack that has one")
    acting = [attack.acts(round) for round in record.rounds]
    if all(acting) or not any(acting):
        raise FedcoreError(
            f"{name} has no evaluated round of each kind, attacked and not: write "
            "until(of=..., last_round=...), or lower eval_every"
        )
    base = [0.0] * len(record.rounds)
    if twin is not None:
        same = twin.scenario == record.scenario.clean_twin() and twin.seed == record.seed
        if not same or twin.asr is None:
            raise FedcoreError(f"{twin.scenario.id} seed {twin.seed} is not the twin of {name}")
        base = list(twin.asr)
    last = max(place for place, acts in enumerate(acting) if acts)
    start = record.rounds[last]
    later = range(last + 1, len(record.rounds))
    gained = record.asr[last] - base[last]
    fallen = [p for p in later if record.asr[p] - base[p] <= gained / 2]
    return Durability(
        last_round=start,
        at_last=record.asr[last],
        base=base[last],
        after=tuple((record.rounds[p] - start, record.asr[p]) for p in later),
        half_life=record.rounds[fallen[0]] - start if fallen and gained > 0 else None,
    )
