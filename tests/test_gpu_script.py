"""The measuring script for a GPU runs through on a CPU, small, and writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmark.gpu import Bench, main


@pytest.mark.slow
def test_every_section_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["tiny"]
    assert "torch" in found["machine"]
    assert set(found["exactness"]) == {
        f"{name} stacked {precision}"
        for name in ("w1", "mobilenet")
        for precision in ("float64", "float32")
    }
    assert found["exactness"]["w1 stacked float64"] < 1e-12
    assert found["exactness"]["mobilenet stacked float32"] < 1e-3
    assert found["ratio"]["w1"]["stacked"] > 0
    rates = {"central", "1 runs, stacked", "2 runs, stacked", "share of central, stacked"}
    assert rates == set(found["lockstep"])
    assert found["study"]["stacked"]["training images"] > 0
    assert found["factorial"]["runs"] == 182
    assert "exactness (" in capsys.readouterr().out


def test_a_failure_keeps_the_other_sections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bench, "exactness", lambda self: 1 / 0)
    monkeypatch.setattr(Bench, "study", lambda self: {"seconds": 2.0})
    only = ["--only", "exactness", "study"]
    assert main(["--tiny", "--out", str(tmp_path), *only]) == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["exactness"] == {"error": "ZeroDivisionError: division by zero"}
    assert found["study"] == {"seconds": 2.0}


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--out", str(tmp_path)]) == 2
    assert "'cuda' is not available" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
