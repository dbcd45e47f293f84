"""Hours of the study's factorial follow from a few rounds of its runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.gpu import factorial as gpu_factorial
from benchmark.gpu.measurements import Measurements, Setting
from benchmark.test_study import PUBLISHED, arm
from fedcore.errors import AttackError
from fedcore.harness.suite.published import read_published
from fedcore.scenario.presets import preset
from fedcore.simulation.lockstep import lockstep
from fedcore.simulation.trial import RoundReport

Measure = Callable[..., dict[str, Any]]


def test_the_factorial_in_small(found_by: Measure, tmp_path: Path) -> None:
    found = found_by(tmp_path, "--only", "factorial")["factorial"]
    total = found.pop("total")
    assert total["cells"] == 182
    assert total["runs"] == 910
    assert set(found) == {"study-fedavg, stacked", "study-fednova, stacked"}
    assert all(part["failures"] == [] for part in found.values())
    assert all(part["trained together"] == 2 for part in found.values())
    assert total["hours"] == sum(part["hours"] for part in found.values()) > 0


def test_the_factorial_is_the_studys() -> None:
    arms = gpu_factorial.cells(tiny=False)
    assert set(arms) == {"study-fedavg", "study-fednova"}
    assert [len(set(scenarios)) for scenarios in arms.values()] == [7 * (1 + 3 * 4)] * 2
    for entry in read_published(PUBLISHED):
        assert arm(entry).but(image_size=32) in arms[entry.arm]
    runs = [(scenario, seed) for scenario in arms["study-fedavg"] for seed in range(5)]
    sample = gpu_factorial.sample(runs, 32)
    assert len(set(sample)) == 32
    for what, values in (
        (lambda s: (s.partition, s.alpha, s.classes_per_client), 7),
        (lambda s: s.malicious_fraction, 4),
        (lambda s: s.poison_ratio, 5),
    ):
        assert len({what(scenario) for scenario, _ in sample}) == values
    assert {seed for _, seed in sample} == set(range(5))


def test_hours_follow_from_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on a second whenever it is read: of three real runs one fails."""
    closed, ticks = [], itertools.count()

    def watched(*arguments: Any) -> Iterator[tuple[int, Any]]:
        try:
            yield from lockstep(*arguments)
        finally:
            closed.append(True)

    monkeypatch.setattr(gpu_factorial, "lockstep", watched)
    monkeypatch.setattr(Setting, "now", lambda self: float(next(ticks)))
    clean = preset("study-fedavg").but(**gpu_factorial.TINY)
    harmless = clean.but(attack="labelflip", malicious_fraction=0.1, poison_ratio=0.001)
    runs = [(clean, 0), (harmless, 0), (clean, 1)]
    log = Measurements(tmp_path / "gpu.json", {}, torch.device("cpu"))
    setting = Setting("cpu", tmp_path, True, log)
    found = gpu_factorial._extrapolated(setting, runs, "stacked", 3, 4)
    assert closed == [True]
    assert next(ticks) == 1 + 2 * 4, "nothing is heard after the fourth round"
    (failure,) = found["failures"]
    assert failure.startswith("AttackError: ")
    assert found["trained together"] == 2
    assert found["seconds per run and round"] == 1
    assert found["seconds to start a run"] == 0  # (2 s) / 2 runs, less the round in it
    assert found["hours"] == pytest.approx(3 * 6 / 3600)


def test_a_team_that_is_halved_for_want_of_memory_counts_what_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs start, one fails; after two rounds one of the two goes on alone."""
    closed, ticks = [], itertools.count()

    def events(*_: Any) -> Iterator[tuple[int, Any]]:
        def report(round: int) -> RoundReport:
            return RoundReport(round, 100, 0, None, 0.0)

        try:
            yield 1, AttackError("nothing to change")
            yield from ((place, report(round)) for round in (1, 2) for place in (0, 2))
            yield from ((0, report(round)) for round in range(3, 100))
        finally:
            closed.append(True)

    monkeypatch.setattr(gpu_factorial, "lockstep", events)
    monkeypatch.setattr(Setting, "now", lambda self: float(next(ticks)))
    log = Measurements(tmp_path / "gpu.json", {}, torch.device("cpu"))
    setting = Setting("cpu", tmp_path, True, log)
    runs = [(preset("study-fedavg"), seed) for seed in range(50)]
    found = gpu_factorial._extrapolated(setting, runs, "stacked", 3, 4)
    assert closed == [True]
    assert next(ticks) == 1 + 4 + 2, "nothing is heard after the fourth round"
    assert found["failures"] == ["AttackError: nothing to change"]
    assert found["trained together"] == 2
    assert found["seconds per run and round"] == 1
    assert found["seconds to start a run"] == 0  # (2 s) / 2 runs, less the round in it
    assert found["hours"] == pytest.approx(50 * 100 / 3600)


def test_an_arm_that_fails_leaves_no_total(
    found_by: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extrapolated = gpu_factorial._extrapolated

    def broken(setting: Setting, runs: list[Any], *arguments: Any) -> Any:
        return 1 / 0 if runs[0][0].optimizer == "adam" else extrapolated(setting, runs, *arguments)

    monkeypatch.setattr(gpu_factorial, "_extrapolated", broken)
    found = found_by(tmp_path, "--only", "factorial", status=1)["factorial"]
    assert found["study-fedavg, stacked"] == {"error": "ZeroDivisionError: division by zero"}
    assert found["study-fednova, stacked"]["hours"] > 0
    assert found["total"]["hours"] is None
