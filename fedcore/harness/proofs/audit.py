"""Audit of a run: what it realised must be what its scenario asks for.

An attack at half strength, or averages with other weights, still train and still give a number.
"""

from __future__ import annotations

from fedcore.attacks.attack import attack_of
from fedcore.exchange.updates import update_problems
from fedcore.records.record import Record
from fedcore.scenario import round_half_up


def audit_problems(record: Record) -> list[str]:
    """Where the realised attack is not the one of the scenario, as messages.

    The malicious clients must be as many as the scenario asks for and poison round_half_up(ratio *
    eligible) samples each in every draw, and every poisoned label must have changed, unless the
    attack says ``may_keep_labels``. Under an attack on updates each must have sent something else
    than it trained, with the signature that the attack's ``audit_problems`` look for. What privacy
    promises: see `privacy_problems`.
    """
    scenario, audit = record.scenario, record.audit
    name = f"{scenario.id} seed {record.seed}"
    problems = privacy_problems(record)
    poisoned = [client for client in audit.poison if client.poisoned or client.changed]
    if scenario.attack is None:
        clients = ", ".join(str(client.client) for client in poisoned)
        text = f"{name} has no attack, yet poisoned samples on client {clients}"
        return problems + [text] * bool(poisoned)
    if len(audit.malicious) != scenario.num_malicious:
        problems.append(
            f"{name} has {len(audit.malicious)} malicious clients, malicious_fraction="
            f"{scenario.malicious_fraction:g} of {scenario.num_clients} asks for "
            f"{scenario.num_malicious}"
        )
    attack = attack_of(scenario)
    assert attack is not None
    if attack.update is not None:
        problems += [f"{name} {text}" for text in update_problems(record)]
    problems += [f"{name} {text}" for text in attack.audit_problems(record)]
    if attack.data is None:
        return problems
    if tuple(client.client for client in audit.poison) != audit.malicious:
        problems.append(f"{name} poisoned other clients than the malicious ones")
    wrong, kept = [], []
    for client in audit.poison:
        due = round_half_up(attack.data.poison_ratio * client.eligible) * client.draws
        if client.poisoned != due:
            wrong.append(f"client {client.client} {client.poisoned} instead of {due}")
        if client.changed != client.poisoned:
            kept.append(f"client {client.client} {client.changed} of {client.poisoned}")
    if wrong:
        problems.append(
            f"{name} poisoned other numbers of samples than poison_ratio="
            f"{attack.data.poison_ratio:g} asks for: {'; '.join(wrong)}"
        )
    if kept and not attack.data.may_keep_labels:
        problems.append(f"{name} changed fewer labels than it poisoned: {'; '.join(kept)}")
    if attack.data.changes_images and not any(client.images_changed for client in audit.poison):
        problems.append(f"{name} changed no image of those that it poisoned")
    return problems


def effect_problems(clean: Record, poisoned: Record) -> list[str]:
    """Whether what was attacked left no trace in the model, as messages.

    Then nobody trained on it, or sent it, whatever was counted. Rules that choose clients may
    have passed over the malicious ones, and what has diverged has no bits to compare.
    """
    audit = poisoned.audit
    acting = {c.client for c in audit.poison if c.changed or c.images_changed}
    attack = attack_of(poisoned.scenario)
    beyond = attack is not None and (attack.update is not None or attack.work is not None)
    if beyond:
        acting = set(audit.malicious)
    took_part = any(acting.intersection(cohort) for cohort in audit.cohorts)
    told = took_part and not audit.excluded and poisoned.diverged is None
    parts = poisoned.scenario.parts
    if not told or any(rule.may_ignore_clients for rule in (parts.strategy, *parts.preaggregation)):
        return []
    if poisoned.model_digest != clean.model_digest:
        return []
    what = f"{audit.samples_changed} labels were changed: nobody trained on them"
    if beyond:
        what = f"{len(acting)} malicious clients attacked: what they did had no effect"
    elif not audit.samples_changed:
        count = sum(client.images_changed for client in audit.poison)
        what = f"{count} images were changed: nobody trained on them"
    return [
        f"{poisoned.scenario.id} seed {poisoned.seed} ends in its clean twin's model, bit for bit, "
        f"although {what}"
    ]


def privacy_problems(record: Record) -> list[str]:
    """Where what was released is not what the scenario promises, as messages.

    A run with a mechanism has its statement; every participation up to a divergence was
    accounted, and no total exceeds the budget.
    """
    scenario, told = record.scenario, record.audit.privacy
    name = f"{scenario.id} seed {record.seed}"
    if (scenario.privacy is None) != (told is None):
        return [f"{name} has {'no' if told is None else 'a'} privacy statement"]
    if told is None:
        return []
    problems = []
    cohorts = record.audit.cohorts[: record.diverged]
    due = [sum(client in cohort for cohort in cohorts) for client in range(scenario.num_clients)]
    if list(told.participations) != due:
        problems.append(f"{name} accounts for other participations than took place")
    total, budget = told.epsilon_total, scenario.epsilon_budget
    if budget is not None and (total is None or total > budget * (1 + 1e-9)):
        problems.append(f"{name} spent epsilon {total}, its budget is {budget:g}")
    return problems
