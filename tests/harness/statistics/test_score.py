"""The score of heavy-tailed differences, and the distribution of its sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fedcore.harness.statistics.scales import ScaleError, cauchy_scale, platform_scales
from fedcore.harness.statistics.score import CAP, LARGEST, score, two_sided


def p(total: float, pairs: int, rate: float = 0.0) -> float:
    return float(two_sided(np.array(total), np.array(pairs), np.array(rate)))


def test_scores_by_hand() -> None:
    found = score(np.array([0.0, math.e - 1, 1 - math.e, 1e9, -1e9, np.nan]))
    assert found[:5] == pytest.approx([0, 1, -1, CAP, -CAP])
    assert np.isnan(found[5])
    assert pytest.approx(math.log(101)) == CAP


@pytest.mark.parametrize("z", [0.5, 1.0, 5.0, 60.0])
@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_one_pair_has_the_cauchy_tail(z: float, rate: float) -> None:
    # P(|z| >= x) = 1 - 2 / pi arctan x, and every broken pair is beyond
    expected = (1 - rate) * (1 - 2 / math.pi * math.atan(z)) + rate
    assert p(math.log1p(z), 1, rate) == pytest.approx(expected, rel=0.02)
    assert p(-math.log1p(z), 1, rate) == p(math.log1p(z), 1, rate)


def test_the_largest_sums_by_hand() -> None:
    # three broken pairs of one sign: 2 (rate / 2 + tail / 2)^3
    one = 1 - 2 / math.pi * math.atan(LARGEST)
    for rate in (0.0, 0.05):
        expected = 2 * (((1 - rate) * one + rate) / 2) ** 3
        assert p(3 * CAP, 3, rate) == pytest.approx(expected, rel=0.05)
    assert p(3 * CAP + 1, 3) <= 1e-12


@pytest.mark.parametrize("pairs", [2, 7, 150])
def test_sums_of_simulated_scores(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    z = rng.standard_cauchy((20_000, pairs))
    z = np.where(rng.random(z.shape) < 0.03, 1e6 * np.sign(z), z)
    sums = np.abs(score(z).sum(-1))
    for level in (0.5, 0.05, 0.01):
        at = float(np.quantile(sums, 1 - level))
        assert p(at, pairs, 0.03) == pytest.approx(level, rel=0.25, abs=0.01)


def test_long_sums_are_normal() -> None:
    z = np.tan(math.pi * (np.arange(200_000) + 0.5) / 200_000 - math.pi / 2)
    sd = float(np.sqrt((score(z) ** 2).mean()))
    for quantile in (2.0, 3.0, 4.0):
        expected = 2 * stats.norm.sf(quantile)
        assert p(quantile * sd * 100, 10_000) == pytest.approx(expected, rel=0.1)


def test_no_pairs_and_no_value_are_no_finding() -> None:
    assert p(0.0, 0) == p(math.nan, 3) == p(0.0, 5) == 1


def test_the_scale_of_a_cauchy_distribution() -> None:
    z = np.tan(math.pi * (np.arange(2001) + 0.5) / 2001 - math.pi / 2)  # its quantiles
    assert cauchy_scale((0.3 * z).tolist()) == pytest.approx(0.3, rel=1e-3)
    # by hand: s^2 / (s^2 + 1) + s^2 / (s^2 + 4) = 1 at s^2 = 2
    assert cauchy_scale([-1.0, 2.0]) == pytest.approx(math.sqrt(2))
    assert cauchy_scale([0.0, 0.0, 0.0, 1.0]) == 0
    with pytest.raises(ValueError, match="finite differences are needed"):
        cauchy_scale([])


def test_the_recorded_scales_are_read_and_checked(tmp_path) -> None:  # type: ignore[no-untyped-def]
    known = platform_scales()
    assert {"iid", "dirichlet", "asr"} <= set(known)
    assert 0 < known["iid"] < known["dirichlet"]
    path = tmp_path / "p.toml"
    for text, message in (
        ("x = 1", r"a table \[scale\] with numbers is needed"),
        ("[scale]\niid = 0", "iid must be > 0, got 0"),
        ("[scale", "platform scales"),
    ):
        path.write_text(text)
        platform_scales.cache_clear()
        with pytest.raises(ScaleError, match=message):
            platform_scales(path)
