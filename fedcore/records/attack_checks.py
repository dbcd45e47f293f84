"""What must hold in a record of its attack, whoever wrote it: counts, clients, ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedcore.attacks.attack import attack_of
from fedcore.scenario import round_half_up

if TYPE_CHECKING:
    from fedcore.records.record import Record

_DIGEST = re.compile("[0-9a-f]{16}")


def _attacked(record: Record) -> list[tuple[int, ...]]:
    """The cohorts of the rounds in which the attack acts."""
    attack, cohorts = attack_of(record.scenario), enumerate(record.audit.cohorts, start=1)
    return [cohort for round, cohort in cohorts if attack is not None and attack.acts(round)]


def poison_problems(record: Record) -> Iterator[str]:
    """Counts of poisoned samples that are not those of the attack, or cannot be."""
    audit = record.audit
    attack = attack_of(record.scenario)
    attacked = _attacked(record)
    data = attack.data if attack is not None else None
    expected = audit.malicious if data is not None else ()
    if tuple(each.client for each in audit.poison) != expected:
        yield "poison must have one entry for each malicious client, in their order"
        return
    for each in audit.poison:
        took_part = sum(each.client in cohort for cohort in attacked)
        redraw = data is not None and data.redraw
        draws = range(took_part + 1) if redraw else (1,)
        ratio = 0.0 if data is None else data.poison_ratio
        selected = each.draws * round_half_up(ratio * each.eligible)
        if each.poisoned != selected:
            yield (
                f"client {each.client} poisoned other numbers of samples than poison_ratio="
                f"{ratio:g} asks for: {each.poisoned} instead of {selected}"
            )
        elif (
            each.samples != audit.samples[each.client]
            or not 0 <= each.eligible <= each.samples
            or each.draws not in draws
            or not 0 <= each.changed <= each.poisoned
            or not 0 <= each.images_changed <= each.poisoned
        ):
            yield f"the counts of poison of client {each.client} do not agree: {each}"


def update_entry_problems(record: Record) -> Iterator[str]:
    """Entries of attacked updates that no run can have."""
    attack, audit = attack_of(record.scenario), record.audit
    attacked = _attacked(record)
    if audit.updates and (attack is None or attack.update is None):
        yield f"attack {record.scenario.attack!r} changes no updates, yet the audit has some"
    clients = [each.client for each in audit.updates]
    inside = all(0 <= client < record.scenario.num_clients for client in clients)
    if clients != sorted(set(clients)) or not inside:
        yield "updates must have one entry for each client, in ascending order"
    for each in audit.updates:
        took_part = sum(each.client in cohort for cohort in attacked)
        spans = [each.change, each.cosine, each.ratio, each.benign_cosine, each.benign_ratio]
        spans += [span for _, span in each.measured]
        few = all(0 <= count <= each.participations for count in (each.alone, each.broken))
        if not 1 <= each.participations <= took_part or not few:
            yield f"client {each.client} cannot have sent {each.participations} updates"
        elif any(span is not None and span[0] > span[1] for span in spans):
            yield f"updates of client {each.client} have spans whose ends are swapped"
        elif not _DIGEST.fullmatch(each.digest):
            yield f"updates of client {each.client} have no digest of 16 hexadecimal digits"
