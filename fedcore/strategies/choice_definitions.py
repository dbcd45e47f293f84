"""What definitions of rules that choose clients have in common: see definitions.py.

A choice comes from the step's note, and is held to the number that the rule keeps. Clients may be
missing only where all that are left out are not finite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fedcore.strategies.definitions import Expected, Flags, Floats, View, linear

_NEAR = 1e-6  # relative difference of two scores that rounding may turn around
_OTHERS = 5  # rows that a drawn one's distances are measured to


def noted(view: View, what: str) -> tuple[Floats, Expected | None]:
    """The noted coefficients, [K]; and an Expected with its problem where there are none.

    ``what`` is what the note says, in words that follow "it does not say".
    """
    if view.noted is not None and len(view.noted.coefficients) == len(view.rows):
        return np.asarray(view.noted.coefficients, dtype=np.float64), None
    nothing = np.zeros(len(view.rows))
    problem = f"it does not say {what}"
    return nothing, Expected(view.made, np.zeros_like(view.made), problem=problem)


def mean_of_chosen(view: View, due: int) -> tuple[Expected, Flags]:
    """The unweighted mean of the noted clients, and who they are [K]; ``due`` is their number."""
    coefficients, silent = noted(view, "whom it chose")
    chosen = coefficients != 0
    if silent is not None:
        return silent, chosen
    count = int(chosen.sum())
    expected = linear(view, chosen / max(count, 1))
    if count == due or (count < due and not any(_finite(view, ~chosen))):
        return expected, chosen
    return replace(expected, problem=f"it chose {count} clients, not {due}"), chosen


def _finite(view: View, these: Flags) -> Iterator[bool]:
    """Whether each client of ``these`` [K] sent finite numbers."""
    for client in np.flatnonzero(these):
        yield bool(np.isfinite(view.distance(int(client), False)))


def worst_and_best(view: View, chosen: Flags, point: Floats) -> tuple[int, int] | None:
    """The chosen client that seems furthest from ``point`` [s], and the nearest of the others.

    As far as the view shows, of those that are finite there; None where there is no such pair.
    """
    squares = ((view.rows - point) ** 2).sum(axis=1)
    known = np.isfinite(squares)
    inside, outside = np.flatnonzero(chosen & known), np.flatnonzero(~chosen & known)
    if not len(inside) or not len(outside):
        return None
    return int(inside[squares[inside].argmax()]), int(outside[squares[outside].argmin()])


def beyond(score: float, other: float) -> bool:
    """Whether ``score`` is greater than ``other`` by more than rounding."""
    return score > other * (1 + _NEAR) and np.isfinite(other)


def misplaced(scores: Floats, chosen: Flags) -> bool:
    """Whether a client that was left out has a clearly lower score than a chosen one, [K] each."""
    inside, outside = scores[chosen], scores[~chosen]
    outside = outside[np.isfinite(outside)]
    if not len(inside) or not len(outside):
        return False
    return beyond(float(inside.max()), float(outside.min()))


def misread_distance(view: View, told: Floats) -> str | None:
    """Where a noted squared distance [K, K] is not that of the two updates, as a message.

    Of one row a few are measured, of few parameters all.
    """
    size, furthest = len(told), np.where(np.isfinite(told), told, 0.0).max(axis=1)
    for row in range(size) if view.whole else [view.drawn]:
        others = range(size) if view.whole else ((row + s) % size for s in range(1, _OTHERS + 1))
        for other in others:
            due = view.apart(row, other) ** 2
            most = 1e-6 * due + 1e-12 * (furthest[row] + furthest[other])  # of norms and products
            if np.isfinite(most) and abs(told[row, other] - due) > most and due < 1e300:
                return (
                    f"it takes the squared distance of rows {row} and {other}, {due:.6g}, for "
                    f"{told[row, other]:.6g}"
                )
    return None
