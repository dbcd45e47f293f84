"""The measuring script for a GPU ends by itself, and names what had no time."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark.gpu import __main__ as gpu
from benchmark.gpu.measurements import Measurements

Measure = Callable[..., dict[str, Any]]


def test_it_ends_by_itself_and_names_what_had_no_time(found_by: Measure, tmp_path: Path) -> None:
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
