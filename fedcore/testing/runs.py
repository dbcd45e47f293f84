"""Checks of a scenario in runs: repeats, engines that must agree, audit and evidence."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from typing import Any

from fedcore.attacks.attack import attack_of
from fedcore.engine.local_rules import kept_by, told_to
from fedcore.engine.parallel import can_fork
from fedcore.errors import FedcoreError
from fedcore.harness.proofs.arms import apart
from fedcore.harness.proofs.audit import audit_problems, effect_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import run_lockstep
from fedcore.simulation.runner import run

_ROUNDING = 1e-9  # of a loss in float64, as a share of it


def problems(scenario: Scenario, seed: int) -> Iterator[str]:
    """Where runs of ``scenario`` differ that must agree, and what their proofs find."""
    first = _made(scenario, seed)
    yield from proof_problems(first)
    repeated = _made(scenario, seed)
    if _bits(repeated) != _bits(first):
        yield "a second run of one seed gives other bits: draw from the generator that is given"
    if _made(scenario, seed + 1).model_digest == first.model_digest:
        yield f"seeds {seed} and {seed + 1} give the same model"
    for name, how in _same_bits(scenario):
        record = _made(scenario, seed, **how)
        if _bits(record) != _bits(first):
            yield f"{name} gives other bits than the sequential engine"
        yield from (f"{name}: {text}" for text in proof_problems(record))
    yield from _stacked(scenario, seed, first)
    if scenario.attack is not None:
        twin = _made(scenario.clean_twin(), seed)
        yield from effect_problems(twin, first)
        yield from (f"its clean twin differs in {what}" for what in apart(twin, first))


def proof_problems(record: Record) -> Iterator[str]:
    """What the audit and the evidence of training find in ``record``, and whether it is whole."""
    yield from audit_problems(record)
    yield from training_problems(record)
    if Record.from_json(record.to_json()) != record:
        yield "its record does not read back from JSON"


def _same_bits(scenario: Scenario) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ways to compute that change no bit."""
    if can_fork():
        yield "a run on two processes", {"processes": 2}
    attack = attack_of(scenario)
    released = scenario.privacy is not None  # clients draw, in another order of sums
    update = attack is not None and attack.update is not None
    memory = told_to(scenario) or kept_by(scenario)  # which does not go over Flower
    flower = importlib.util.find_spec("flwr") is not None and not memory
    if flower and not (released and update):
        yield "a run over Flower", {"engine": "flower-grid"}


def _stacked(scenario: Scenario, seed: int, first: Record) -> Iterator[str]:
    """Where the stacked engine and lockstep, which may refuse, give other numbers."""
    if scenario.parts.strategy.foreign:
        return
    try:
        alone = _made(scenario, seed, engine="stacked")
        together = run_lockstep(
            [(scenario, seed + 1), (scenario, seed)], device="cpu", precision="float64"
        )[1]
    except FedcoreError:
        return
    for name, record in (("the stacked engine", alone), ("a run in lockstep", together)):
        if (record.accuracy, record.asr) != (first.accuracy, first.asr):
            yield f"{name} scores {record.accuracy}, the sequential one {first.accuracy}"
        elif not all(map(_close, record.loss, first.loss)):
            yield f"{name} has losses {record.loss}, the sequential one {first.loss}"
        yield from (f"{name}: {text}" for text in proof_problems(record))


def _made(scenario: Scenario, seed: int, **how: Any) -> Record:
    if scenario.parts.strategy.foreign:
        how["engine"] = "flower-grid"
    elif "engine" not in how:
        how["engine"] = "sequential"
    return run(scenario, seed, device="cpu", precision="float64", **how)


def _bits(record: Record) -> tuple[Any, ...]:
    scores = record.accuracy, record.loss, record.asr
    audit = record.audit
    clients = audit.shares, audit.client_accuracy
    return record.model_digest, *scores, audit.updates, audit.work, audit.poison, *clients


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_ROUNDING)
