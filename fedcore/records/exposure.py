"""Realised exposure: how much of what the server was sent came from poison, by chance.

A malicious fraction is of clients. Under Dirichlet 0.1 some hold a hundred times what others do,
and a cohort is a draw: on three seeds 12.4 % of the samples may be poisoned where 15 % is nominal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedcore.attacks.attack import attack_of
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Shares:
    """Shares in [0, 1] of the training samples in all cohorts of a run.

    ``malicious``: held by malicious clients. ``poisoned``: poisoned where the attack is on data,
    else all that malicious clients hold, as their whole update is hostile; of the rounds in which
    the attack acts. ``whole``: whether every sample of a malicious client may be poisoned.
    """

    malicious: float
    poisoned: float
    whole: bool


@dataclass(frozen=True)
class Realised:
    """Exposure of an attacked arm by seed, in percent, beside its nominal values.

    ``nominal`` is malicious_fraction x poison_ratio x the share of rounds in which the attack acts,
    None of an attack on samples of some classes only, whose share of the data no record has;
    ``nominal_malicious`` is the malicious fraction. A poison ratio that the attack does not have
    counts as 1.
    """

    malicious: tuple[float, ...]
    poisoned: tuple[float, ...]
    nominal_malicious: float
    nominal: float | None


def shares_of(record: Record) -> Shares | None:
    """The realised shares of ``record``, weighted by the samples of each cohort's clients.

    Whoever's reply was left out of the aggregation does not count. None for a clean run, one
    without rounds or without the clients' sample counts.
    """
    attack, audit = attack_of(record.scenario), record.audit
    if attack is None or len(audit.samples) != record.scenario.num_clients:
        return None
    poison = {client.client: client for client in audit.poison}
    malicious, missing = set(audit.malicious), {(e.round, e.client) for e in audit.excluded}
    total = held = poisoned = 0
    for round, cohort in enumerate(audit.cohorts, start=1):
        for client in cohort:
            if (round, client) in missing:
                continue
            samples = audit.samples[client]
            total += samples
            if client not in malicious:
                continue
            held += samples
            if not attack.acts(round):
                continue
            if attack.data is None:
                poisoned += samples
            elif client in poison and poison[client].draws:
                poisoned += poison[client].poisoned // poison[client].draws  # alike in each draw
    if not total:
        return None
    whole = attack.data is None or all(each.eligible == each.samples for each in audit.poison)
    return Shares(held / total, poisoned / total, whole)


def realised(
    scenario: Scenario, seeds: Sequence[int], records: Mapping[Run, Record]
) -> Realised | None:
    """The exposure of the runs of ``scenario`` on ``seeds``; None where one is not known."""
    shares = [shares_of(records[Run(scenario, seed)]) for seed in seeds]
    known = [each for each in shares if each is not None]
    attack = attack_of(scenario)
    if attack is None or not known or len(known) < len(shares):
        return None
    ratio = 1.0 if attack.data is None else float(attack.data.poison_ratio)
    rounds = range(1, scenario.rounds + 1)
    acting = sum(map(attack.acts, rounds)) / scenario.rounds
    nominal = 100 * scenario.malicious_fraction * ratio * acting
    return Realised(
        malicious=tuple(100 * each.malicious for each in known),
        poisoned=tuple(100 * each.poisoned for each in known),
        nominal_malicious=100 * scenario.malicious_fraction,
        nominal=nominal if all(each.whole for each in known) else None,
    )
