"""`pytest benchmark --engine flower-ray`, as users type it: it ends, agrees, leaves nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")
pytest.importorskip("ray", reason="needs the extra 'flower'")

from fedcore.records.record import Record
from fedcore.simulation.runner import run

ROOT = Path(__file__).resolve().parents[2]
MARK = "FEDCORE_TEST_SESSION"


def suite(engine: str, results: Path) -> tuple[str, list[Record]]:
    """What the session prints, and its records; fails where a process of it stays behind."""
    mark = uuid.uuid4().hex
    arguments = [
        f"--engine={engine}", "--profile=smoke", "--seeds=1", "--dataset=synthetic:400",
        "--model=mlp", "-k", "fednova", f"--results={results}", "-p", "no:cacheprovider",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmark/test_robustness.py", *arguments],
        cwd=ROOT,
        env={**os.environ, MARK: mark, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    # verdicts on synthetic data are nobody's concern here
    assert done.returncode in (0, 1), done.stdout + done.stderr
    end = time.monotonic() + 15
    while left := processes_with(f"{MARK}={mark}"):
        assert time.monotonic() < end, f"still running: {left}"
        time.sleep(0.2)
    texts = (path.read_text() for path in sorted((results / "records").rglob("*.json")))
    return done.stdout, [Record.from_json(text) for text in texts]


def processes_with(setting: str) -> list[str]:
    """The processes that have ``setting`` in their environment: a session's, wherever they went."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if setting.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text().replace("\0", " ")[:100])
        except OSError:  # it has just ended
            continue
    return [line for line in found if line]


@pytest.mark.slow
def test_the_suite_on_ray(tmp_path: Path) -> None:
    printed, records = suite("flower-ray", tmp_path / "ray")
    assert "fednova  iid       labelflip  50/100" in printed
    assert len(records) == 4  # fednova and the undefended control, struck and clean
    for record in records:
        assert record.engine == "flower-ray"
        plain = run(record.scenario, record.seed, device="cpu", engine="sequential")
        assert (record.model_digest, record.accuracy, record.loss, record.audit) == (
            plain.model_digest, plain.accuracy, plain.loss, plain.audit,
        )  # fmt: skip
