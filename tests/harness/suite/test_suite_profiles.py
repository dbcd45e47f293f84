"""The suite itself: a profile that cannot be collected fails before anybody has waited for it."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest

from benchmark.suite import cells
from fedcore.harness.statistics.convergence import FEWEST_ROUNDS
from fedcore.harness.statistics.curves import tail_length
from fedcore.harness.suite.options import Options
from tests.forked_python import ForkedPython

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
def test_every_profile_can_be_collected(
    profile: str,
    expected: str,
    forked_python: ForkedPython,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    # one that runs these tests in parallel is no business of that session's
    own = {name: value for name, value in os.environ.items() if "PYTEST_XDIST" not in name}
    given = ["benchmark", "--collect-only", "-q", "-p", "no:cacheprovider", f"--profile={profile}"]
    status, out, err = forked_python.run("pytest", given, own, tmp_path)
    assert status == 0, out[-500:] + err
    assert expected in out
    assert re.search(r"\d\d+ tests collected", out)


def test_profile_full_trains_until_it_converges_and_the_quick_ones_keep_their_time() -> None:
    def rounds(profile: str) -> set[int]:
        chosen = itertools.islice(cells(Options(profile=profile)), 100)
        return {cell.scenario.rounds for cell in chosen if cell.scenario.model == "cnn"}

    assert rounds("smoke") == rounds("quick") == {10}
    (long,) = rounds("full")
    assert long >= 40
    assert tail_length(long) >= FEWEST_ROUNDS
