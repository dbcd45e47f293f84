"""The same scenario and seed ends in the same bits, in process and through Flower."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.strategies.strategy import STRATEGIES

#: What clients keep of "scaffold" and "feddyn" does not go over Flower.
OURS = [name for name in STRATEGIES if name not in ("flower", "scaffold", "feddyn")]
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}


def results(record: Record) -> tuple:
    """What must be equal bit for bit."""
    return (
        record.accuracy, record.loss, record.recall, record.asr, record.diverged,
        record.model_digest, record.audit,
    )  # fmt: skip


@pytest.mark.parametrize("strategy", OURS)
@pytest.mark.parametrize("attack", [{}, ATTACK, {**ATTACK, "redraw": True}])
def test_in_process_grid_equals_the_plain_engine(tiny: Scenario, strategy, attack) -> None:
    size = {"num_clients": 8} if strategy == "bulyan" else {}  # it takes a cohort of 7
    scenario = tiny.but(strategy=strategy, **size, **attack)
    plain = run(scenario, seed=3, device="cpu", engine="sequential")
    grid = run(scenario, seed=3, device="cpu", engine="flower-grid")
    assert results(grid) == results(plain)
    assert grid.engine == "flower-grid"


@pytest.mark.parametrize("changes", [
    {"fraction_train": 0.5, "rounds": 5, "strategy": "fedbn"},  # clients return after a pause
    {"optimizer": "adam", "lr": 0.01},  # no normalizer
    {"model": "mlp", "norm": "none", "optimizer": "momentum", "strategy": "fednova"},
    {"partition": "dirichlet", "alpha": 0.3, "min_partition_size": 2},
])  # fmt: skip
def test_grid_equals_plain_in_other_settings(tiny: Scenario, changes) -> None:
    scenario = tiny.but(**changes)
    plain = run(scenario, device="cpu", engine="sequential")
    assert results(run(scenario, device="cpu", engine="flower-grid")) == results(plain)


def test_float64(tiny: Scenario) -> None:
    one, other = (
        run(tiny, device="cpu", engine=name, precision="float64")
        for name in ("sequential", "flower-grid")
    )
    assert results(one) == results(other)
    assert other.engine == "flower-grid-float64"
