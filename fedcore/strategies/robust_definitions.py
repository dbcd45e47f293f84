"""What the steps of the robust rules must be; see definitions.py.

The choice of clients and their weights come from what the step noted, as to make them again would
cost as much as the step. They are held to what is cheap to know: their number, their sum, and the
lengths of two clients.
"""

from __future__ import annotations

import numpy as np

from fedcore.strategies.definitions import Definition, Expected, Floats, View, linear, median_of

_LENGTH = 1e-6  # relative error that a noted length may have
_PULL = 0.02  # the same of RFA's weights, which are those of the last point but one


def _median(view: View) -> Expected:
    return median_of(view, (len(view.rows) - 1) // 2)


def _trimmed_mean(view: View) -> Expected:
    return median_of(view, int(view.strategy.trim_fraction * len(view.rows) + 1e-9))


def _krum(view: View) -> Expected:
    gaps = (np.abs(view.rows - view.made) / view.rounding).max(axis=1, initial=0.0)
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    best, problem = int(gaps.argmin()), None
    if view.noted is not None and view.noted.coefficients:
        named = np.flatnonzero(view.noted.coefficients).tolist()
        if len(named) != 1 or len(view.noted.coefficients) != len(gaps):
            problem = f"it says that it chose {len(named)} of {len(gaps)} updates, not one"
        elif gaps[named[0]] > max(1.0, gaps[best]):
            problem = f"it says that it chose row {named[0]}, its step is row {best}"
    return Expected(view.rows[best], np.zeros_like(view.made), problem=problem)


def _furthest(view: View, point: Floats) -> int:
    """The client that is furthest from ``point`` as far as the view shows, of the finite ones."""
    squares = ((view.rows - point) ** 2).sum(axis=1)
    return int(np.where(np.isfinite(squares), squares, -1.0).argmax())


def _noted(view: View, what: str) -> Expected | None:
    """An Expected with its problem where the step left no note of ``what``; else None."""
    if view.noted is not None and len(view.noted.coefficients) == len(view.rows):
        return None
    return Expected(view.made, np.zeros_like(view.made), problem=f"it does not say {what}")


def _multikrum(view: View) -> Expected:
    if (silent := _noted(view, "whom it chose")) is not None:
        return silent
    assert view.noted is not None
    chosen, size = np.asarray(view.noted.coefficients) != 0, len(view.rows)
    f, m = view.strategy.num_byzantine, view.strategy.num_selected
    due = size - ((size - 3) // 2 if f is None else f) if m is None else m
    expected = linear(view, chosen / due)
    if chosen.sum() == due:
        return expected
    return Expected(
        expected.step, expected.error, {}, f"it chose {chosen.sum()} clients, not {due}"
    )


def _bulyan(view: View) -> Expected:
    if (silent := _noted(view, "whom it chose")) is not None:
        return silent
    assert view.noted is not None
    chosen, size = np.asarray(view.noted.coefficients) != 0, len(view.rows)
    f = (size - 3) // 4 if view.strategy.num_byzantine is None else view.strategy.num_byzantine
    problem = None
    if chosen.sum() != size - 2 * f:
        problem = f"it chose {chosen.sum()} clients, not {size - 2 * f}"
    values = np.sort(view.rows[chosen], axis=0)
    kept = max(1, len(values) - 2 * f)
    gaps = np.abs(values - values[(len(values) - 1) // 2])
    order = np.argsort(gaps, axis=0, kind="stable")
    nearest = np.take_along_axis(values, order, axis=0)[:kept]
    error = view.unit * np.abs(nearest).mean(axis=0)
    if kept < len(values):  # near a tie rounding decides which of two values counts
        edge = np.take_along_axis(gaps, order, axis=0)[kept - 1 : kept + 1]
        size_of = view.unit * np.abs(values).max(axis=0)
        error = np.where(edge[1] - edge[0] <= size_of, np.inf, error)
    return Expected(nearest.mean(axis=0), error, {}, problem)


def _clipped(view: View) -> Expected:
    if (silent := _noted(view, "by how much it clips")) is not None:
        return silent
    assert view.noted is not None
    coefficients, bound = np.asarray(view.noted.coefficients), view.strategy.norm_bound
    expected = linear(view, coefficients)
    for client in {_furthest(view, np.zeros_like(view.made)), view.drawn}:
        length, share = view.distance(client, False), view.weights[client]
        due = 0.0 if length == np.inf else share * min(1.0, bound / max(length, 1e-300))
        if abs(coefficients[client] - due) > _LENGTH * share:
            return Expected(
                expected.step, expected.error, {},
                f"it weighs an update of length {length:.4g} by {coefficients[client] / share:.4g} "
                f"of its share where norm_bound={bound:g} asks for {due / share:.4g}",
            )  # fmt: skip
    return expected


def _centred(view: View) -> Expected:
    if (silent := _noted(view, "by how much it clips")) is not None:
        return silent
    noted, size = view.noted, len(view.rows)
    bound, iterations = view.strategy.norm_bound, view.strategy.aggregation_iterations
    assert noted is not None
    problem, coefficients, kept = None, np.zeros(size), 1.0
    largest, first = np.zeros(size), np.asarray(noted.passes[0] if noted.passes else [])
    for shares in noted.passes:
        left = 1 - float(np.sum(shares))
        coefficients, kept = left * coefficients + np.asarray(shares), left * kept
        largest = np.maximum(largest, coefficients)
    if len(noted.passes) != iterations:
        problem = f"it clips {len(noted.passes)} times, not {iterations}"
    elif noted.coefficients != noted.passes[-1]:
        problem = "the coefficients that it names are not those of its last pass"
    centre = view.memory.get("centre", np.zeros_like(view.made))
    for client in {_furthest(view, centre), view.drawn} if problem is None else ():
        length = view.distance(client, False)
        due = 0.0 if length == np.inf else min(1.0, bound / max(length, 1e-300)) / size
        if abs(first[client] - due) > _LENGTH / size:
            problem = (
                f"it weighs an update {length:.4g} from the centre by {first[client] * size:.4g} "
                f"where norm_bound={bound:g} asks for {due * size:.4g}"
            )
    expected, sizes = linear(view, coefficients), linear(view, largest)
    step = kept * centre + expected.step
    error = max(1, iterations) * (sizes.error + view.unit * np.abs(centre))
    return Expected(step, error, {"centre": (step, error)}, problem)


def _geometric_median(view: View) -> Expected:
    if (silent := _noted(view, "how it weighs the clients")) is not None:
        return silent
    noted, nu = view.noted, view.strategy.smoothing
    assert noted is not None
    coefficients = np.asarray(noted.coefficients)
    expected, problem = linear(view, coefficients), None
    if abs(coefficients.sum() - 1) > 1e-9:
        problem = f"its weights add up to {coefficients.sum():.6g}, not 1"
    one, other = _furthest(view, view.made), view.drawn
    distances = [view.distance(client, True) for client in (one, other)]
    if problem is None and noted.settled and np.isfinite(distances).all():
        pulls = [
            coefficients[client] * max(nu, distance) / view.weights[client]
            for client, distance in zip((one, other), distances, strict=True)
        ]
        near = min(distances) > 1e-2 * max(distances)
        if near and abs(pulls[0] - pulls[1]) > _PULL * max(pulls):
            problem = "its weights are not in proportion to one over the distance from the step"
    return Expected(expected.step, expected.error, {}, problem)


MEDIAN = Definition("the median of every coordinate", _median)
TRIMMED_MEAN = Definition("the trimmed mean of every coordinate", _trimmed_mean)
KRUM = Definition("the update of one client", _krum)
MULTIKRUM = Definition("the unweighted mean of the chosen updates", _multikrum)
BULYAN = Definition("the mean of the chosen updates' values nearest their median", _bulyan)
NORM_CLIPPING = Definition("the sample-weighted mean of clipped updates", _clipped)
CENTERED_CLIPPING = Definition("the mean clipped around the centre", _centred)
RFA = Definition("the geometric median", _geometric_median)
