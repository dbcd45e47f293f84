"""A cell to plant bugs into, and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.federation import threat
from fedcore.harness.proofs.arms import Proofs
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.outcome import Outcome, judge_cell
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.simulation import runner as simulation

Patch = pytest.MonkeyPatch
ATTACKED = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=8, fraction_train=1.0, rounds=3,
    strategy="fednova", optimizer="sgd", local_epochs=(1, 3), attack="labelflip",
    malicious_fraction=0.5, poison_ratio=0.8,
)  # fmt: skip
LIMITS = Thresholds((), Noise(2, 4))
MALICIOUS = [int(c) for c in threat.malicious_clients(ATTACKED, 0)]


def judged(
    scenario: Scenario = ATTACKED, seeds: tuple[int, ...] = (0,), proofs: Proofs | None = None,
    **how: Any,
) -> Outcome:  # fmt: skip
    cell = Cell("cell", scenario, len(seeds))
    # by the module: a planted bug may lie in run itself
    found = {r: simulation.run(r.scenario, r.seed, device="cpu", **how) for r in cell.runs(seeds)}
    return judge_cell(cell, seeds, found, LIMITS, proofs=proofs)


def wrapped(patch: Patch, owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace ``owner.name`` by ``around(original, *arguments)``."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *a, **k: around(original, *a, **k))
