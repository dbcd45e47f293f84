"""How a rule weighed the clients of each round, from what its steps say of themselves.

A share is a client's coefficient, or its trust where a rule names that, over the sum of all,
divided by what it would be in the plain mean: 1 is as much as there, 0 is left out. Shares of one
round compare clients with one another: a rule that shortens all alike weighs nobody down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedcore.exchange.cohort import Noted

#: Shares of one round, one for each client that the step was given; None: none are known.
Shares = tuple[float, ...] | None


class ShareLog:
    """The shares of each round of a run.

    ``single`` says that the rows that the rule sees are the work of one client each: behind
    pre-aggregation that mixes clients nothing is kept.
    """

    def __init__(self, single: bool = True) -> None:
        self._single = single
        self._rounds: dict[int, tuple[float, ...]] = {}

    def stepped(self, round: int, samples: Sequence[int], noted: Noted | None) -> None:
        """Keep what the step of ``round`` noted of clients with so many ``samples``."""
        found = relative_shares(noted, samples) if self._single else None
        if found is not None:
            self._rounds[round] = found

    def shares(self, rounds: int) -> tuple[Shares, ...]:
        """By round, from 1 to ``rounds``; empty where no step has noted any."""
        if not self._rounds:
            return ()
        return tuple(self._rounds.get(round) for round in range(1, rounds + 1))


def relative_shares(noted: Noted | None, samples: Sequence[int]) -> Shares:
    """The share of each client, [K], to six digits; None where the step has noted none.

    The plain share is 1 / K, or, where ``noted`` says that coefficients are ``by_samples``, n_i /
    sum n_j. Only the sizes of coefficients count. Where all of them are 0 so are all shares: the
    rule has left out everybody.
    """
    size = len(samples)
    weights = () if noted is None else noted.trust or noted.coefficients
    if noted is None or len(weights) != size:
        return None
    sizes = [abs(c) for c in weights]
    if not all(map(math.isfinite, sizes)):
        return None
    total, everybody = math.fsum(sizes), sum(samples)
    plain = [n / everybody for n in samples] if noted.by_samples else [1 / size] * size
    if total == 0:
        return (0.0,) * size
    # six digits, as sums in another order differ in the last bits
    return tuple(_short(c / total / p) for c, p in zip(sizes, plain, strict=True))


def _short(value: float) -> float:
    return float(f"{value:.6g}")
