"""FoolsGold: clients whose updates have been alike over the rounds count little, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.definitions import Definition, Expected, Floats, View, linear
from fedcore.strategies.distances import cosines, lengths
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine_some, weighing

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_ALIKE = 1e-9  # more than the rounding of a cosine
_OTHERS = 4  # clients that one is compared with, beside those that it names
_SHARE = 1e-6  # absolute error that a noted cosine or weight may have


@STRATEGIES.register("foolsgold", "little weight for clients that are alike (Fung et al. 2020)")
class FoolsGold(Strategy):
    """x+ = x + sum_i a_i u_i / sum_i a_i, a_i in [0, 1] small where i's history is like another's.

    H_i is the sum of client i's updates in all rounds so far, this one included. Of the cohort:
    v_i is the greatest cosine of H_i and another H_j, 0 at least; where v_j > v_i the cosine is
    multiplied by v_i / v_j (pardoning); b_i is 1 minus the greatest of these, divided by the
    greatest b; a_i = kappa (ln(b_i / (1 - b_i)) + 0.5), clipped to [0, 1]. Cosines that are 1 but
    for 1e-9 are 1.
    All parameters are features, with one weight; the paper may choose some of the output layer.

    Conventions: the sum is divided by that of all a_i (the paper adds up gradients, others divide
    by the cohort); b_i = 1 has a_i = 1 for every kappa, where the authors' code puts 0.99 for 1;
    clients outside the cohort are not compared. Where all histories are the same direction every
    a_i is 0, and the global model is kept. The rule bounds no update: a long one that is like
    nobody else's counts in full, unless pre-aggregation clips it. An update that is not finite has
    a_i = 0 and enters no history. The server keeps 4 bytes (float32) a parameter for each client
    that it has seen.
    Noted as ``Noted.passes``: v, b, a, who gives v and b, and who is finite.
    Source: Fung, Yoon, Beschastnikh, "The Limitations of Federated Learning in Sybil Settings",
    RAID 2020, algorithm 1.
    """

    definition = Definition(
        "the updates weighed by how alike their clients' histories are", lambda view: _due(view)
    )
    buffer_rule = "median"
    may_ignore_clients = True
    kappa: float = param(
        "confidence of the logit", default=1.0, low=0, open_low=True, token="kappa"
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        sizes = lengths(updates, torch.zeros_like(updates[0]))
        rows = sizes.isfinite().nonzero().flatten().tolist()
        histories = []
        for row in rows:
            name = key(cohort.clients[row])
            before = memory.get(name)
            memory[name] = updates[row].clone() if before is None else before + updates[row]
            histories.append(memory[name])
        judged = weighed(cosines(histories), self.kappa)
        size, kept, weights = len(updates), Memory.of(memory), judged.weights
        told = tuple(
            weighing(
                size, rows, [rows[i] for i in v.tolist()] if v.dtype == torch.int64 else v.tolist()
            )
            for v in (*judged, torch.ones(len(rows)))
        )
        total = float(weights.sum())
        shares = weights / total if total > 0 else weights
        kept.noted = Noted(weighing(size, rows, shares.tolist()), told)
        chosen = [place for place, share in enumerate(shares.tolist()) if share > 0]
        return combine_some(updates, [rows[place] for place in chosen], shares[chosen])

    def problems(self, scenario: Scenario) -> list[str]:
        """Rows of several clients, behind bucketing or nnm, and a cohort of one."""
        problems = []
        mixing = [step for step in scenario.parts.preaggregation if not step.keeps_clients]
        if mixing:
            problems.append(
                "strategy 'foolsgold' compares what each client has sent over the rounds, and the "
                f"rows of preaggregation {str(mixing[0])!r} are of several clients: choose another "
                "strategy, or leave preaggregation out"
            )
        if scenario.rows < 2:
            problems.append(
                f"strategy 'foolsgold' compares clients, got a cohort of {scenario.rows}: raise "
                "fraction_train or num_clients"
            )
        return problems


def key(client: int) -> str:
    """The name of ``client``'s history in the server's memory."""
    return f"history.{client}"


class Weighed(NamedTuple):
    """v, b and a of each client, and who gives it v (``nearest``) and b (``rival``), [K] each."""

    greatest: torch.Tensor
    distinct: torch.Tensor
    weights: torch.Tensor
    nearest: torch.Tensor
    rival: torch.Tensor


def weighed(alike: torch.Tensor, kappa: float) -> Weighed:
    """How clients count whose histories are ``alike`` [K, K]; see `FoolsGold`."""
    others = alike.clone().fill_diagonal_(0.0)
    if not len(others):
        nobody = torch.zeros(0, dtype=torch.int64)
        return Weighed(*(nobody.double(),) * 3, nobody, nobody)
    greatest, nearest = others.max(dim=1)
    greatest = greatest.clamp(min=0)
    pardon = torch.where(
        greatest[None, :] > greatest[:, None], greatest[:, None] / greatest[None, :], 1.0
    )
    most, rival = (others * pardon).max(dim=1)
    distinct = (1 - most).clamp(0, 1)
    distinct[distinct < _ALIKE] = 0.0
    if (largest := float(distinct.max())) > 0:
        distinct = distinct / largest
    weights = (kappa * (torch.logit(distinct) + 0.5)).clamp(0, 1)
    return Weighed(greatest, distinct, weights, nearest, rival)


def _due(view: View) -> Expected:
    """The step by the noted weights; those of two clients are worked out again, of few all."""
    size, noted = len(view.rows), view.noted
    if noted is None or len(noted.passes) != 6 or len(noted.coefficients) != size:
        return Expected(view.made, np.zeros_like(view.made), {}, "it does not say how it weighs")
    coefficients = np.asarray(noted.coefficients)
    told = np.asarray(noted.passes)
    weights, entered = told[2], told[5] != 0
    memory: dict[str, tuple[Floats, Floats]] = {
        name: (value, np.zeros_like(value)) for name, value in view.memory.items()
    }
    for row in np.flatnonzero(entered):
        name = key(view.clients[row])
        value = view.rows[row] + view.memory.get(name, np.zeros(1))
        memory[name] = value, view.unit * (np.abs(value) + np.abs(view.rows[row]))
    with np.errstate(divide="ignore"):
        logit = np.log(told[1]) - np.log1p(-told[1]) + 0.5
    due = np.where(entered, np.clip(view.strategy.kappa * logit, 0, 1), 0.0)
    problem = _misjudged(view, np.flatnonzero(entered).tolist(), told)
    if any(np.isfinite(view.distance(int(row), False)) for row in np.flatnonzero(~entered)):
        problem = "a finite update is left out of its client's history"
    elif problem is None and np.abs(weights - due).max(initial=0.0) > _SHARE:
        problem = f"a weight is off by {np.abs(weights - due).max():.3g} from the logit of its b"
    elif problem is None and (np.abs(coefficients * weights.sum() - weights) > _SHARE).any():
        problem = "its coefficients are not in proportion to its weights"
    expected = linear(view, coefficients)
    return Expected(expected.step, expected.error, memory, problem)


def _misjudged(view: View, usable: list[int], told: Floats) -> str | None:
    """Where the cosines of a client's history are others than it says, as a message.

    They are compared with those to the two clients that it names and to some others, of few
    parameters to all.
    """
    greatest, distinct = told[0], told[1]
    if len(usable) < 2:
        return None
    # the greatest b is that of the first, by which the others are divided
    best = max(usable, key=lambda row: float(distinct[row]))
    drawn = int(view.drawn * len(usable) / len(view.rows))
    scale = 1.0
    for row in [best, *(usable if view.whole else [usable[drawn]])]:
        some = usable if view.whole else (usable * 2)[drawn : drawn + _OTHERS]
        alike = dict.fromkeys({*some, int(told[3][row]), int(told[4][row])} - {row}, 0.0)
        own, client = key(view.clients[row]), view.clients[row]
        square = view.product(own, own)
        for other in alike:
            name = key(view.clients[other])
            length = (square * view.product(name, name)) ** 0.5
            if np.isfinite(length) and length > 0:
                alike[other] = view.product(own, name) / length
        most = max(0.0, *alike.values())
        if abs(most - greatest[row]) > _SHARE:
            return (
                f"the history of client {client} has cosine {most:.6g} to another, its greatest "
                f"is said to be {greatest[row]:.6g}"
            )
        pardoned = (
            cosine * (most / greatest[other] if greatest[other] > most else 1.0)
            for other, cosine in alike.items()
        )
        b = 1 - max(0.0, *pardoned)
        b = 0.0 if b < _ALIKE else b
        scale = (b or 1.0) if row == best else scale
        if abs(b / scale - distinct[row]) > _SHARE / max(scale, _SHARE):
            return f"client {client} has b = {distinct[row]:.6g}, not {b / scale:.6g}"
    return None
