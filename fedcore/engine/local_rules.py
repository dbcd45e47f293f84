"""The local rules of a run: those of its strategy and optimizer, and of attacks within steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from fedcore.attacks.attack import Work, work_in_steps
from fedcore.engine.gauge import Bend, Gauge
from fedcore.errors import FedcoreError
from fedcore.exchange.worked import LAST
from fedcore.optimizers.local_rule import LocalRule, Participation
from fedcore.privacy.run import needs_reference_engine as needs_private_steps
from fedcore.scenario import round_half_up

if TYPE_CHECKING:
    from fedcore.engine.client_memory import ClientMemory
    from fedcore.exchange.cohort import ServerState
    from fedcore.federation.federation import Federation
    from fedcore.scenario import Scenario


def rules_of(scenario: Scenario) -> list[LocalRule]:
    """New rules of all clients, those of attacks apart: the strategy's, then the optimizer's."""
    parts = scenario.parts
    rules = (parts.strategy.local_rule(scenario), parts.optimizer.local_rule(scenario))
    return [rule for rule in rules if rule is not None]


def has_rules(scenario: Scenario) -> bool:
    """Whether clients do more around their steps than solvers do."""
    return bool(rules_of(scenario)) or work_in_steps(scenario) is not None


def needs_reference_engine(scenario: Scenario) -> bool:
    """Whether clients must train otherwise than engines do that know of gradients and solvers."""
    return needs_private_steps(scenario) or (has_rules(scenario) and not projects_only(scenario))


def projects_only(scenario: Scenario) -> bool:
    """Whether all that is done around steps is to project, from where the global model is."""
    work = work_in_steps(scenario)
    own_layers = scenario.parts.strategy.keeps_batch_norm
    return work is not None and not work.masked and not rules_of(scenario) and not own_layers


def told_to(scenario: Scenario) -> tuple[str, ...]:
    """Names of what the server sends clients beside the model."""
    work = work_in_steps(scenario)
    own = [name for rule in rules_of(scenario) for name in rule.told]
    return (*own, *((LAST,) if work is not None and work.masked else ()))


def kept_by(scenario: Scenario) -> tuple[str, ...]:
    """Names of what clients keep between rounds, their own layers apart."""
    return tuple(name for rule in rules_of(scenario) for name in rule.keeps)


def require_rules(scenario: Scenario, engine: Any) -> None:
    """FedcoreError where ``engine`` would train as if there were no rules."""
    if getattr(engine, "follows_rules", False) or not has_rules(scenario):
        return
    if getattr(engine, "projects", False) and projects_only(scenario):
        return
    raise FedcoreError(
        f"{type(engine).__name__} cannot train {scenario.id}: {_blamed(scenario)} acts within "
        "local steps, or has clients keep what they trained: choose --engine sequential"
    )


def require_memory(scenario: Scenario) -> None:
    """FedcoreError over Flower, where what clients keep or are told does not travel."""
    if told_to(scenario) or kept_by(scenario):
        raise FedcoreError(
            f"{_blamed(scenario)} needs what clients keep from round to round, or what the server "
            "sends them beside the model, neither of which goes over Flower: run it in one "
            "process or several with --engine sequential"
        )


def _blamed(scenario: Scenario) -> str:
    parts = scenario.parts
    if parts.strategy.local_rule(scenario) is not None:
        return f"strategy {scenario.strategy!r}"
    if parts.optimizer.local_rule(scenario) is not None:
        return f"optimizer {scenario.optimizer!r}"
    return f"attack {scenario.attack!r}"


class LocalRules:
    """The rules of one run, by client. ``gauge`` is what looks at projections; None without.

    ``told`` are zeros [P], in the place of what the server does not tell yet.
    """

    def __init__(
        self, federation: Federation, parameters: int, told: Mapping[str, torch.Tensor]
    ) -> None:
        scenario, self._threat = federation.scenario, federation.threat
        self._parameters, self._told = parameters, told
        self._all = rules_of(scenario)
        self._bend = Bend()
        if self._all:
            first, last = self._bend.rules
            self._all = [first, *self._all, last]
        self.gauge: Gauge | None = None
        self._gauged = False
        self._threat = federation.threat
        work = work_in_steps(scenario)
        self._malicious = set(federation.threat.malicious.tolist()) if work else set()
        self._attack: list[LocalRule] = []
        if work is not None:
            self._attack = self._attacking(work, scenario)

    def of(self, client: int, round: int) -> Sequence[LocalRule]:
        """The rules of ``client`` in ``round``, in their order; for most runs there are none."""
        return [*self._all, *self._attack] if self._attacks(client, round) else self._all

    def _attacks(self, client: int, round: int) -> bool:
        return client in self._malicious and self._threat.acts(round)

    def begun(
        self, state: ServerState, round: int, client: int, steps: int, memory: ClientMemory
    ) -> Sequence[LocalRule]:
        """The rules of ``client``, who begins its ``steps`` of ``round`` from ``state``."""
        rules = self.of(client, round)
        if rules:
            told = {name: state.memory.get(name, none) for name, none in self._told.items()}
            anchor = state.vector[: self._parameters]
            kept, first = memory.of(client), not memory.has(client)
            work = Participation(round, client, steps, anchor, told, kept, first)
            for rule in rules:
                rule.start(work)
        return rules

    def seen(self, client: int, round: int) -> tuple[float, ...]:
        """What was seen of the rules of ``client``, trained last: bent, way, grown, beyond, reach.

        See `fedcore.exchange.evidence.FIELDS`; empty where there are no rules.
        """
        if not self._all and not self._attack:
            return ()
        gauge = self.gauge if self._attacks(client, round) else None
        distances = (0.0, 0.0) if gauge is None else (gauge.beyond, gauge.reach)
        return (*self._bend.noted(), *distances)

    def _attacking(self, work: Work, scenario: Scenario) -> list[LocalRule]:
        rules: list[LocalRule] = []
        if work.masked:
            rules.append(Mask(work.masked, bool(scenario.weight_decay)))
        if work.radius is not None:
            self.gauge = Gauge(work.every)
            first, last = self.gauge.rules
            rules += [first, Ball(work.radius, work.every), last]
        return rules


class Mask(LocalRule):
    """The ``share`` of the parameters that the last global update moved most stay as they are.

    Of P parameters share * P, halves up, and those that tie with the last of them; what did not
    move is not masked. ``decays``: the solver moves parameters without a gradient, too.
    """

    told = (LAST,)

    def __init__(self, share: float, decays: bool) -> None:
        self.share, self.decays = share, decays

    def start(self, work: Participation) -> None:
        self._start: torch.Tensor | None = None
        self._mask = None
        sizes = work.told[LAST].abs()
        count = round_half_up(self.share * len(sizes))
        if count and bool(sizes.any()):
            least = sizes.topk(count, sorted=True).values[-1]
            self._mask = (sizes >= least) & (sizes > 0)

    def before(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        if self._mask is not None:
            if self._start is None and self.decays:
                self._start = weights.clone()  # not the anchor: FedBN's clients begin elsewhere
            gradient.masked_fill_(self._mask, 0.0)

    def after(self, weights: torch.Tensor) -> bool:
        if self._mask is None or self._start is None:
            return False
        weights.copy_(torch.where(self._mask, self._start, weights))
        return True


class Ball(LocalRule):
    """Parameters further than ``radius`` from the global ones are moved to that distance.

    After every ``every`` steps and after the last one; in a straight line, so that the result is
    the nearest point of the ball.
    """

    def __init__(self, radius: float, every: int) -> None:
        self.radius, self.every = radius, every

    def start(self, work: Participation) -> None:
        self._anchor, self._steps, self._taken = work.anchor, work.steps, 0

    def after(self, weights: torch.Tensor) -> bool:
        self._taken += 1
        if self._taken % self.every and self._taken < self._steps:
            return False
        way = weights - self._anchor
        distance = float(way.double().norm())
        if not distance > self.radius:
            return False
        torch.add(self._anchor, way, alpha=self.radius / distance, out=weights)
        return True
