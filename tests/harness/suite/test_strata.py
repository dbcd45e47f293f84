"""Priors by stratum, in a file beside the thresholds."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.thresholds import ThresholdError, Thresholds


def test_priors_by_stratum_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "noise.toml").write_text(
        "[made]\ncommit = 'x'\n[iid.drop]\nlevel = 0.0\nslope = 0.0\nlow = 0\nhigh = 90\n"
        "df = 2.5\ncells = 20\n"
    )
    path = tmp_path / "t.toml"
    path.write_text('[noise]\nsd = 2.2\ndf = 4\nstrata = "noise.toml"\n')
    found = Thresholds.read(path)
    assert found.noise == Noise(2.2, 4)
    assert found.priors.of("iid", "drop", 10.0) == Noise(1.0, 2.5, 5)
    assert found.priors.of("dirichlet", "drop", 10.0) == found.noise
    path.write_text("[noise]\nsd = 2.2\ndf = 4\n")  # one for all, as before
    assert Thresholds.read(path).priors.of("iid", "drop", 10.0) == Noise(2.2, 4)
    for text, message in (
        ('strata = "none.toml"', "noise .*none.toml"),
        ("strata = 3", r"\[noise\]: strata must be the name of a file, got 3"),
    ):
        path.write_text(f"[noise]\nsd = 2.2\ndf = 4\n{text}\n")
        with pytest.raises(ThresholdError, match=message):
            Thresholds.read(path)
    (tmp_path / "noise.toml").write_text("[iid.drop]\nlevel = 0.0\n")
    path.write_text('[noise]\nsd = 2.2\ndf = 4\nstrata = "noise.toml"\n')
    with pytest.raises(ThresholdError, match=r"noise.toml, \[iid.drop\]"):
        Thresholds.read(path)
