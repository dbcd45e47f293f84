"""Pairs: what a record, and a poisoned run with its clean twin, must be before they count."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedcore.harness.proofs.arms import apart
from fedcore.harness.suite.cells import Cell
from fedcore.records.record import Record
from fedcore.records.store import Run


def _in_both(name: str, *records: Record) -> list[str]:
    """Keys that each record has in a part of its provenance."""
    keys = [{key for key, _ in getattr(record.provenance, name)} for record in records]
    return sorted(set.intersection(*keys))


def _entry(name: str, key: str, record: Record) -> str | None:
    """The digest or version of ``key`` in a part of the provenance."""
    return dict(getattr(record.provenance, name)).get(key)


def strange(run: Run, record: Record) -> list[str]:
    """Whether ``record`` is of another scenario or seed than the ``run`` that was asked for."""
    problems = []
    if record.seed != run.seed:
        problems.append(f"{run.id} was made with seed {record.seed}")
    if record.scenario != run.scenario:
        wanted, made = run.scenario.to_dict(), record.scenario.to_dict()
        odd = [
            f"{k}={made.get(k)!r} instead of {wanted.get(k)!r}"
            for k in {**wanted, **made}
            if made.get(k) != wanted.get(k)
        ]
        problems.append(f"{run.id} was made as another scenario: {', '.join(odd)}")
    return problems


def no_twin(clean: Record, poisoned: Record) -> list[str]:
    """Whether ``clean`` is of another scenario than ``poisoned`` without what its attack reads."""
    one, other = clean.scenario, poisoned.scenario
    own = () if other.attack is None else other.parts.attack.specs()
    brought = {"attack", "malicious_fraction", "malicious_set", "poison_ratio", *own}
    due = {**other.to_dict(), "probe": other.clean_twin().probe}
    odd = [
        f"{field}={getattr(one, field)!r}, and not {due.get(field)!r}"
        for field in {**one.to_dict(), **due}
        if field not in brought and one.to_dict().get(field) != due.get(field)
    ]
    name = f"{other.id} seed {poisoned.seed}"
    return [f"{name} and its clean twin are no pair: the twin has {', '.join(odd)}"] * bool(odd)


def unpaired(clean: Record, poisoned: Record) -> list[str]:
    """What a clean twin and a poisoned run of one seed fail to share, as messages."""
    attack = poisoned.scenario.parts.attack
    works = attack is not None and attack.work is not None
    working = set(poisoned.audit.malicious) if works else set()
    shared: dict[str, Callable[[Record], Any]] = {
        "samples per client": lambda r: r.audit.samples,
        "local epochs": lambda r: [e for c, e in enumerate(r.audit.epochs) if c not in working],
        "cohorts": lambda r: (r.audit.cohorts, r.audit.absent),
        "data": lambda r: r.provenance.data,
        "code": lambda r: r.provenance.code,
        "machine": lambda r: (r.provenance.torch, r.provenance.machine, r.provenance.device),
        "kernels": lambda r: r.provenance.kernels,
    }
    one, other = clean.scenario, poisoned.scenario
    if one.weights == other.weights:
        shared["weights"] = lambda r: r.provenance.weights
    # what only one of them has need of is no difference, nor is the code of another component
    for key in _in_both("versions", clean, poisoned):
        shared[f"version of {key}"] = functools.partial(_entry, "versions", key)
    for key in _in_both("foreign", clean, poisoned):
        if getattr(one, key, None) == getattr(other, key, None):
            shared[f"code of {key}"] = functools.partial(_entry, "foreign", key)
    name = f"{poisoned.scenario.id} seed {poisoned.seed}"
    return [
        f"{name} and its clean twin are no pair: they differ in {what}"
        for what, value in shared.items()
        if value(clean) != value(poisoned)
    ] or [
        f"{name} and its clean twin are no pair: they differ in {what}"
        for what in apart(clean, poisoned)
    ]


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
