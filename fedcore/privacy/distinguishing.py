"""Audit by attack: play the distinguishing game against a mechanism and bound epsilon from below.

Two worlds differ in one client's data as the neighbouring relation allows. A canary client sends
an update far outside the ball in one direction, or (world 1) its opposite, or nothing; the
attacker sees the releases and guesses the world. If it guesses better than the claimed epsilon
allows, with confidence, the mechanism is not what it says. This can refute a claim, not prove it.

The bound reads error rates as those of a Gaussian mechanism (Nasr et al., "Tight Auditing of
Differentially Private Machine Learning", USENIX Security 2023, section 4.1): mu >= Phi^-1(1 -
FPR) - Phi^-1(FNR), with Clopper and Pearson's upper bounds for both rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fedcore.errors import PrivacyError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout
from fedcore.privacy.gaussian import epsilon_of
from fedcore.privacy.mechanism import PRIVACY, Facts, Mechanism
from fedcore.privacy.noise import NoiseSource
from fedcore.streams import Purpose, stream, torch_stream

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

# Multiples of the clip norm that a canary sends: a mechanism that does not clip shows.
_REACH = 10.0
_BATCH = 250


@dataclass(frozen=True)
class AuditResult:
    """``epsilon_lower`` <= the true epsilon with probability ``confidence``, at ``delta``.

    ``epsilon_claimed`` is of the mechanism's statement, for as many releases as were watched.
    """

    epsilon_lower: float
    epsilon_claimed: float | None
    delta: float
    trials: int
    confidence: float

    @property
    def refuted(self) -> bool:
        """Whether the claim is shown to be false."""
        return self.epsilon_claimed is not None and self.epsilon_lower > self.epsilon_claimed


def audit(
    scenario: Scenario,
    layout: Layout,
    *,
    trials: int = 4000,
    releases: int = 1,
    confidence: float = 0.999,
    seed: int = 0,
    noise: NoiseSource | None = None,
) -> AuditResult:
    """Play the game ``trials`` times in each world, each time over ``releases`` releases.

    The mechanism is the scenario's, on updates of ``layout``; its noise is ``noise`` (None: the
    seeded stream). Against dpsgd ``releases`` are steps, on a model of two weights, whose noise is
    that of training. Raises PrivacyError for ``noise`` there, and for mechanisms whose release is
    neither of single updates nor of single samples.
    """
    chosen = scenario.parts.privacy
    if chosen is None or not chosen.auditable:
        *known, last = [name for name in PRIVACY if PRIVACY[name].auditable]
        raise PrivacyError(
            f"the audit plays against {', '.join(known)} and {last}, got {scenario.privacy!r}"
        )
    if noise is not None and chosen.per_example:
        raise PrivacyError(
            f"{chosen.name} draws its noise in training, not from {type(noise).__name__}: leave "
            "noise out"
        )
    facts = Facts(seed, layout, (1,) * _BATCH, (1,) * _BATCH)
    scores = []
    for world in (0, 1):
        mechanism = chosen.over(scenario, facts, noise)
        if chosen.per_example:
            scores.append(_train(scenario, seed, world, trials, releases))
        else:
            scores.append(_play(mechanism, world, trials, releases))
    from scipy.special import ndtri  # as in `fedcore.privacy.gaussian`: no run pays for it

    middle = 0.0 if scenario.neighbours != "zero-out" else mechanism.limit * releases / 2
    false_negatives = int((scores[0] <= middle).sum())
    false_positives = int((scores[1] > middle).sum())
    level = 1 - (1 - confidence) / 2
    mu = -sum(
        float(ndtri(upper_bound(count, trials, level)))
        for count in (false_negatives, false_positives)
    )
    delta = scenario.delta
    assert delta is not None
    claimed = mechanism.spent(0, releases * mechanism.cost(0, (0,)))
    return AuditResult(epsilon_of(max(mu, 0.0), delta), claimed, delta, trials, confidence)


def upper_bound(count: int, trials: int, level: float) -> float:
    """Clopper and Pearson's (1934) one-sided upper bound for a rate: ``count`` of ``trials``."""
    from scipy.stats import binomtest  # 0.8 s to import, for this alone

    test = binomtest(count, trials, alternative="less")
    return float(test.proportion_ci(level, method="exact").high)


def _play(mechanism: Mechanism, world: int, trials: int, releases: int) -> torch.Tensor:
    """What the attacker scores in ``world``: the releases along the canary's direction, [trials].

    Rounds are numbered on, so that no stream of noise is used twice, in either world.
    """
    layout = mechanism.run.facts.layout
    state = ServerState(
        torch.zeros(layout.size), torch.zeros(layout.num_counters, dtype=torch.int64)
    )
    generator = torch_stream(mechanism.run.facts.seed, Purpose.ATTACK_NOISE)
    direction = torch.randn(layout.size, generator=generator)
    release = mechanism.run.release
    far = torch.full((layout.size,), 1e9)
    direction = release.put(release.take(direction[None]), direction[None], far)[0]
    direction /= direction.norm()
    other = 0.0 if mechanism.run.scenario.neighbours == "zero-out" else -1.0
    sign = (1.0, other)[world]
    totals = []
    for batch in range(-(-trials // _BATCH)):
        total = torch.zeros(_BATCH)
        for number in range(releases):
            cohort = Cohort(
                clients=tuple(range(_BATCH)),
                updates=(sign * _REACH * mechanism.limit * direction).repeat(_BATCH, 1),
                counters=state.counters.repeat(_BATCH, 1),
                samples=(1,) * _BATCH,
                steps=(1,) * _BATCH,
                normalizers=(1.0,) * _BATCH,
            )
            round = (2 * batch + world) * releases + number
            total += mechanism.privatise(state, cohort, round).updates @ direction
        totals.append(total)
    return torch.cat(totals)[:trials]


def _train(scenario: Scenario, seed: int, world: int, trials: int, steps: int) -> torch.Tensor:
    """As `_play`, against DP-SGD: how far its steps moved a model along the canary's gradient.

    At zero weights the two labels of an image have opposite gradients; the learning rate keeps
    the weights there. The image is large, so that the gradient is clipped.
    """
    from fedcore.privacy.dpsgd import DpSgdSteps

    model = torch.nn.Linear(1, 2, bias=False)
    layout = Layout.of(model)
    scenario = scenario.but(optimizer="sgd", lr=1e-6, weight_decay=0.0, released="whole")
    solver = scenario.parts.optimizer.solver(scenario)
    weights, gradient = torch.zeros(2), torch.zeros(2)
    layout.bind(model, weights, torch.zeros(0, dtype=torch.int64), gradient)
    private, label = DpSgdSteps(scenario, model, layout), torch.tensor([world])
    image = torch.full((1, 1), 1e3)
    scores = []
    for trial in range(trials):
        weights.zero_()
        solver.start(weights.clone())
        private.work(
            noise=(seed, 2 * trial + world, 0),
            steps=steps,
            images=lambda chosen: image[chosen],
            labels=label,
            order=stream(seed, Purpose.BATCH_ORDER, round=trial, client=0),
            solver=solver,
            weights=weights,
            gradient=gradient,
        )
        scores.append(float(weights[0] - weights[1]))
    return torch.tensor(scores)
