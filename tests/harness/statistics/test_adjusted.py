from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedcore.harness.statistics.adjusted import Covariate, adjusted, least_seeds
from fedcore.harness.statistics.estimates import Noise, estimate

# mnist5k, Dirichlet 0.1: variances 49 (poisoned) and 61 (drop), best coefficient 0.38, 43 left
TWIN_SD, SLOPE, LEFT = 6.4, 0.38, 43**0.5


def covariate(values, target, name="twin") -> Covariate:
    return Covariate(name, tuple(map(float, values)), target)


def test_by_hand() -> None:
    # y = 2 x + e, e = (1, -2, 1, 0) of sum 0 and orthogonal to x, so that e are the residuals
    x = np.array([0.0, 1.0, 2.0, 3.0])
    y = 2 * x + [1, -2, 1, 0]
    line = stats.linregress(x, y)
    found = adjusted(y, [covariate(x, 5.0)], 0.95)
    assert found.coefficients == {"twin": pytest.approx(2.0)}
    assert found.mean == pytest.approx(line.intercept + 5 * line.slope) == pytest.approx(10)
    assert found.df == 2
    error = (6 / 2 * (1 / 4 + 3.5**2 / 5)) ** 0.5  # s^2 (1 / n + (5 - 1.5)^2 / S)
    reach = stats.t.ppf(0.975, 2) * error
    assert (found.low, found.high) == pytest.approx((10 - reach, 10 + reach))


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 10))
def test_equals_the_textbook_prediction_of_least_squares(seed, count, more) -> None:
    n = least_seeds(count) + more
    rng = np.random.default_rng(seed)
    table, targets = rng.normal(50, 9, (count, n)), rng.normal(50, 9, count)
    y = rng.normal(60, 8, n)
    design = np.column_stack([np.ones(n), table.T])
    inverse = np.linalg.inv(design.T @ design)
    weights = inverse @ design.T @ y
    left = y - design @ weights
    at = np.array([1, *targets])
    error = (left @ left / (n - count - 1) * (at @ inverse @ at)) ** 0.5
    reach = stats.t.ppf(0.95, n - count - 1) * error
    rows = [
        covariate(row, t, f"x{i}") for i, (row, t) in enumerate(zip(table, targets, strict=False))
    ]
    found = adjusted(y, rows)
    assert found.mean == pytest.approx(at @ weights, rel=1e-6, abs=1e-6)
    assert found.high - found.mean == pytest.approx(reach, rel=1e-5)
    assert list(found.coefficients.values()) == pytest.approx(weights[1:], rel=1e-5, abs=1e-7)


@given(st.integers(0, 10**6))
def test_to_the_mean_at_hand_leaves_the_mean_and_no_unit_matters(seed) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(80, TWIN_SD, 8), rng.normal(70, 7, 8)
    found = adjusted(y, [covariate(x, x.mean())])
    assert found.mean == pytest.approx(y.mean())
    scaled = adjusted(y, [covariate(x / 100, x.mean() / 100)])
    assert (scaled.low, scaled.high) == pytest.approx((found.low, found.high))
    plain = estimate(y, Noise(1, 0))
    widths = (found.high - found.low) / (plain.high - plain.low)
    quantiles = stats.t.ppf(0.95, found.df) / stats.t.ppf(0.95, 7)
    assert found.gain == pytest.approx((widths / quantiles) ** 2)


def test_too_few_seeds_and_what_cannot_be_fitted_have_their_reason() -> None:
    x, y = (1.0, 2.0, 4.0), (3.0, 5.0, 4.0)
    with pytest.raises(ValueError, match="1 covariate and 3 seeds: at least 4 seeds"):
        adjusted(y, [covariate(x, 2)])
    with pytest.raises(ValueError, match="2 covariates and 4 seeds: at least 5 seeds"):
        adjusted((*y, 9), [covariate((*x, 0), 2), covariate((3, 1, 4, 1), 2)])
    long, values = np.arange(6.0), (3.0, 5.0, 4.0, 8.0, 1.0, 2.0)
    with pytest.raises(ValueError, match="no covariate differs"):
        adjusted(values, [covariate([15] * 6, 15)])
    with pytest.raises(ValueError, match="linear in each other"):
        adjusted(values, [covariate(long, 2), covariate(3 * long + 1, 2)])
    with pytest.raises(ValueError, match="a value for each of 6 seeds"):
        adjusted(values, [covariate(x, 2)])
    with pytest.raises(ValueError, match="finite"):
        adjusted(values, [covariate((*long[:5], np.nan), 2)])
    found = adjusted(values, [covariate([15] * 6, 15, "exposure"), covariate(long, 2)])
    assert found.constant == ("exposure",)
    assert list(found.coefficients) == ["twin"]


def drawn(seeds: int, count: int) -> tuple[np.ndarray, ...]:
    """Twins, exposures and poisoned accuracies [count, seeds] of a known line."""
    rng = np.random.default_rng(seeds)
    twin = rng.normal(85, TWIN_SD, (count, seeds))
    share = rng.normal(13.5, 3, (count, seeds))  # nominal 15: cohorts hold less in the mean
    noise = rng.normal(0, LEFT, (count, seeds))
    return twin, share, 66 + SLOPE * (twin - 85) - 0.9 * (share - 15) + noise


@pytest.mark.parametrize("seeds", [5, 10, 20])
def test_covers_the_mean_at_nominal_exposure_where_the_twin_is_as_at_hand(seeds) -> None:
    inside, count = 0, 800
    for twin, share, y in zip(*drawn(seeds, count), strict=True):
        rows = [covariate(twin, twin.mean()), covariate(share, 15.0, "exposure")]
        found = adjusted(y, rows)
        inside += found.low <= 66 + SLOPE * (twin.mean() - 85) <= found.high
    assert 0.868 <= inside / count <= 0.932  # 90 %, three standard errors


@pytest.mark.parametrize("seeds", [5, 10, 20])
def test_a_known_target_covers_over_new_seeds_too(seeds) -> None:
    inside, count = 0, 800
    for _, share, y in zip(*drawn(seeds, count), strict=True):
        found = adjusted(y, [covariate(share, 15.0, "exposure")])
        inside += found.low <= 66 <= found.high
    assert 0.868 <= inside / count <= 0.932


def test_the_mean_at_hand_is_no_statement_on_new_seeds() -> None:
    """A twin that explains much: the interval is of these twins, and misses the general mean."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        twin = rng.normal(85, 8, 20)
        y = 66 + twin - 85 + rng.normal(0, 2, 20)
        found = adjusted(y, [covariate(twin, twin.mean())])
        inside += found.low <= 66 <= found.high
    assert inside / 400 < 0.5


def test_subtraction_costs_what_regression_saves() -> None:
    """The figures that were measured at Dirichlet 0.1: 61 by subtraction, 49 plain, 43 fitted."""
    twin, _, _ = drawn(20, 500)
    noise = np.random.default_rng(1).normal(0, LEFT, twin.shape)
    y = 66 + SLOPE * (twin - 85) + noise
    plain, drop = y.var(axis=1, ddof=1).mean(), (twin - y).var(axis=1, ddof=1).mean()
    gains = [adjusted(a, [covariate(b, b.mean())]).gain for a, b in zip(y, twin, strict=True)]
    fitted = plain * np.mean(gains)
    assert (plain, drop, fitted) == pytest.approx((49, 59, 43), abs=2)


@pytest.mark.parametrize(("seeds", "count"), [(5, 2), (10, 2), (20, 2), (10, 1)])
def test_a_fit_that_explains_nothing_costs_what_is_stated(seeds, count) -> None:
    """(n - 2) / (n - k - 2) of the variance, with known targets (Lavenberg and Welch 1981)."""
    rng = np.random.default_rng(seeds + count)
    means = []
    for _ in range(3000):
        rows = [covariate(rng.normal(0, 1, seeds), 0.0, f"x{k}") for k in range(count)]
        means.append(adjusted(rng.normal(0, 1, seeds), rows).mean)
    factor = np.var(means) * seeds
    due = (seeds - 2) / (seeds - count - 2)
    assert factor == pytest.approx(due, rel=0.35 if seeds == 5 else 0.1)
