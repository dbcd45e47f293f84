"""The suite itself: a profile that cannot be collected fails before anybody has waited for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("smoke", "test_robustness[fednova-iid-labelflip-mal50pct-poison100pct]"),
        ("quick", "test_robustness[krum-iid-labelflip-mal30pct-poison100pct]"),
        ("full", "test_robustness[fedbn-pathological2-pairflip-mal50pct-poison80pct-normbatch]"),
        ("study", "test_study["),
    ],
)
def test_every_profile_can_be_collected(profile: str, expected: str) -> None:
    command = [sys.executable, "-m", "pytest", "benchmark", "--collect-only", "-q"]
    # one that runs these tests in parallel is no business of that session's
    own = {name: value for name, value in os.environ.items() if "PYTEST_XDIST" not in name}
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--profile={profile}"],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-500:] + run.stderr
    assert expected in run.stdout
    assert re.search(r"\d\d+ tests collected", run.stdout)
