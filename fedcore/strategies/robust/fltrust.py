"""FLTrust: the server trains an update of its own, and trusts what points the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.definitions import Definition, Expected, View, linear
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine_some, weighing

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_CHUNK = 1 << 16  # coordinates of a float64 copy at a time
_SHARE = 1e-6  # relative error that a noted score or coefficient may have


@STRATEGIES.register("fltrust", "trust by the cosine to a root update (Cao et al. 2021)")
class FLTrust(Strategy):
    """x+ = x + sum_i TS_i (||g_0|| / ||u_i||) u_i / sum_i TS_i, TS_i = max(0, cos(u_i, g_0)).

    g_0 is the update that the server trains in each round from the global model on its root set:
    ``root_size`` test samples, drawn without replacement by the run's seed. They are never a
    client's, and not scored: accuracy is that on the other test samples, in every round and for the
    clean twin, too. The server's work is a client's (optimizer, lr, batch size); of a range of
    local epochs it makes the most. Where all TS_i are 0 the global model is kept. The paper's
    global learning rate alpha is 1, and samples do not count as weights.

    An update that is not finite, or is 0, has TS_i = 0; so have all where g_0 is either. Behind
    pre-aggregation g_0 stays as it is. Buffers are the median of the clients': of these more than
    half must be honest, although the rule for parameters needs no such thing. TS are noted as
    ``Noted.passes``.
    Source: Cao, Fang, Liu, Gong, "FLTrust: Byzantine-robust Federated Learning via Trust
    Bootstrapping", NDSS 2021, equations 2 to 5.
    """

    definition = Definition(
        "the trusted updates at the length of the root update", lambda view: _due(view)
    )
    buffer_rule = "median"
    may_ignore_clients = True
    root_size: int = param(
        "test samples of the server's root set, which are not scored",
        default=100,
        low=2,
        token="root",
    )

    @property
    def root_samples(self) -> int:
        return self.root_size

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        if cohort.root is None:
            raise FedcoreError(
                "strategy 'fltrust' was handed no root update, which the server trains on its root "
                "set: hand the cohort that a run makes, with its `root`"
            )
        root = cohort.root[: updates.shape[1]]
        products, norms = alignments(updates, root)
        own = float(torch.linalg.vector_norm(root, dtype=torch.float64))
        trusted = norms.isfinite() & products.isfinite() & (norms > 0) & (0 < own < float("inf"))
        cosines = torch.where(trusted, products / (norms * own), 0.0)
        scores = cosines.clamp(min=0)
        total = float(scores.sum())
        noted, rows = Memory.of(memory), scores.nonzero().flatten().tolist()
        told = (tuple(scores.tolist()),)
        if not rows:
            noted.noted = Noted((0.0,) * len(updates), told, trust=told[0])
            return torch.zeros_like(updates[0])
        shares = scores[rows] / total * (own / norms[rows])
        coefficients = weighing(len(updates), rows, shares.tolist())
        noted.noted = Noted(coefficients, told, trust=told[0])
        return combine_some(updates, rows, shares)

    def remarks(self, memory: Memory) -> tuple[str, ...]:
        return (
            f"FLTrust's server trains on root_size={self.root_size} test samples, drawn by the "
            "run's seed; they are left out of all scores",
        )

    def problems(self, scenario: Scenario) -> list[str]:
        """Privacy, and a cohort of one."""
        problems = []
        if scenario.rows < 2:
            problems.append(
                f"strategy 'fltrust' weighs updates by their trust, got {scenario.rows} row: raise "
                "fraction_train or num_clients"
            )
        if scenario.local_steps is not None:
            problems.append(
                "strategy 'fltrust' trains on its root set for whole epochs: set local_epochs in "
                "place of local_steps"
            )
        if scenario.privacy is not None:
            problems.append(
                "strategy 'fltrust' trains an update on the server, of which no privacy mechanism "
                f"here accounts: leave privacy={scenario.privacy!r} out"
            )
        return problems


def alignments(rows: torch.Tensor, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inner products of ``rows`` [K, n] with ``direction`` [n], and their lengths, [K] float64."""
    products = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    squares = torch.zeros_like(products)
    width = 1 << 20 if rows.is_cuda else _CHUNK
    for start in range(0, rows.shape[1], width):
        wide = rows[:, start : start + width].double()
        products += wide @ direction[start : start + width].double()
        squares += torch.linalg.vector_norm(wide, dim=1).square_()
    return products, squares.sqrt_()


def _due(view: View) -> Expected:
    """The step by the noted coefficients; those of two clients are worked out again."""
    kept = Expected(view.made, np.zeros_like(view.made))
    noted, size = view.noted, len(view.rows)
    if noted is None or len(noted.coefficients) != size or len(noted.passes) != 1:
        return Expected(kept.step, kept.error, {}, "it does not say whom it trusts")
    coefficients, scores = np.asarray(noted.coefficients), np.asarray(noted.passes[0])
    expected, square = linear(view, coefficients), view.product(-1, -1)
    problem, total = None, float(scores.sum())
    if not ((scores >= 0) & (scores <= 1 + _SHARE)).all():
        problem = "its scores are not in [0, 1]"
    elif noted.trust != noted.passes[0]:
        problem = "the trust that it names is not its scores"
    elif ((scores > 0) != (coefficients > 0)).any():
        problem = "a client without trust counts, or one with trust does not"
    lengths = (np.where(np.isnan(view.rows), -1.0, view.rows) ** 2).sum(axis=1)
    furthest = int(np.where(np.isfinite(lengths), lengths, -1.0).argmax())
    most = int(coefficients.argmax())
    for client in {furthest, most, view.drawn} if problem is None else ():
        along, length = view.product(client, -1), view.product(client, client) ** 0.5
        score = 0.0
        if np.isfinite([along, length, square]).all() and length * square > 0:
            score = max(0.0, along / (length * square**0.5))
        if abs(scores[client] - score) > _SHARE:
            problem = (
                f"it trusts an update at cosine {score:.6g} to the root update by "
                f"{scores[client]:.6g}"
            )
        elif scores[client] > 0:
            due = scores[client] / total * square**0.5 / length
            if abs(coefficients[client] - due) > _SHARE * due:
                problem = (
                    f"it weighs an update of length {length:.4g} by {coefficients[client]:.6g}, "
                    f"where its trust asks for {due:.6g}"
                )
    return Expected(expected.step, expected.error, {}, problem)
