"""RLR: a robust learning rate, which turns back where clients do not agree on a sign."""

from __future__ import annotations

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.choice_definitions import noted
from fedcore.strategies.definitions import Definition, Expected, View, linear
from fedcore.strategies.robust.minority import finite_rows
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine, combine_some, weighing

_CHUNK = 1 << 14  # coordinates whose signs are added up at a time: in a core's cache


@STRATEGIES.register("rlr", "robust learning rate by sign agreement (Ozdayi et al. 2021)")
class RLR(Strategy):
    """Per coordinate, eta * sum_i p_i u_i, p_i = n_i / sum n_j; eta = 1 or, without agreement, -1.

    There is agreement where |sum_i sign(u_i)| >= theta, theta = ``sign_threshold`` * K. The paper
    gives theta as a count (its authors' scripts: 4 of 10 agents); a share suits any cohort.
    0 is FedAvg. The rule bounds no update: against long ones its authors clip them first, as the
    pre-aggregation clipping does. An update that is not finite is left out, and casts no vote.
    Source: Ozdayi, Kantarcioglu, Gel, "Defending Against Backdoors in Federated Learning with
    Robust Learning Rate", AAAI 2021, equation 4.
    """

    definition = Definition(
        "the sample-weighted mean, turned back where signs disagree", lambda view: _turned(view)
    )
    buffer_rule = "median"
    sign_threshold: float = param(
        "share of the cohort by which one sign must outnumber the other",
        default=0.4,
        low=0,
        high=1,
        token="agree",
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        rows, weights = finite_rows(updates), cohort.weights
        if not rows:
            return combine(updates, weights)
        if len(rows) < len(updates):
            shares = (weights[rows] / weights[rows].sum()).tolist()
            weights = torch.tensor(weighing(len(updates), rows, shares), dtype=torch.float64)
            Memory.of(memory).noted = Noted(tuple(weights.tolist()), by_samples=True)
            step = combine_some(updates, rows, weights[rows])
        else:
            step = combine(updates, weights)
        least = self.sign_threshold * len(updates) - 1e-9
        width = step.shape[0] if updates.is_cuda else _CHUNK
        parts = torch.split(step, width), torch.split(updates, width, dim=1)
        for moved, part in zip(*parts, strict=True):
            signs = (part if len(rows) == len(updates) else part[rows]).sign().sum(dim=0)
            moved[signs.abs_() < least] *= -1
        return step


def _turned(view: View) -> Expected:
    size, weights = len(view.rows), view.weights
    problem = None
    if view.noted is not None:  # somebody was left out
        weights, silent = noted(view, "whom it left out")
        if silent is not None:
            return silent
        out = np.flatnonzero(weights == 0)
        if any(np.isfinite(view.distance(int(client), False)) for client in out):
            problem = "it leaves out a client whose update is finite"
        due = np.where(weights == 0, 0.0, view.weights)
        if np.abs(weights - due / due.sum()).max() > 1e-9:
            problem = "it does not weigh those that are left by their samples"
    mean = linear(view, weights)
    votes = np.abs((np.sign(view.rows[weights != 0])).sum(axis=0))
    agree = votes >= view.strategy.sign_threshold * size - 1e-9
    return Expected(np.where(agree, mean.step, -mean.step), mean.error, {}, problem)
