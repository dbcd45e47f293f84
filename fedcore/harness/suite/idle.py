"""Attacks on data that changed nothing on some seed: their arm shows no effect of an attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedcore.harness.suite.cells import Cell
from fedcore.records.record import Record
from fedcore.records.store import Run


def idle(cell: Cell, seeds: Sequence[int], records: Mapping[Run, Record]) -> list[str]:
    """Where an attack on data changed no label and no image: its arm teaches nothing."""
    reasons = []
    for arm in dict.fromkeys((cell.scenario, cell.control)):
        if arm is None or arm.attack is None:
            continue
        audits = [records[Run(arm, seed)].audit for seed in seeds]
        idle = [
            seed
            for seed, audit in zip(seeds, audits, strict=True)
            if audit.poison and not any(c.changed or c.images_changed for c in audit.poison)
        ]
        if idle:
            source = "" if arm.source_class is None else f" of class {arm.source_class}"
            reasons.append(
                f"{arm.id} changed no label on {named_seeds(idle)}: its malicious clients hold no "
                f"training sample{source} to poison"
            )
    return reasons


def named_seeds(seeds: Sequence[int]) -> str:
    """``seeds`` as a message names them."""
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
