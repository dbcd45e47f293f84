"""The components of a scenario, as objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedcore.components.component import Component
from fedcore.components.kinds import SINGLE

if TYPE_CHECKING:
    from fedcore.data.dataset import Source
    from fedcore.models.architecture import Architecture
    from fedcore.optimizers.optimizer import Optimizer
    from fedcore.partition.partitioner import Partitioner
    from fedcore.privacy.mechanism import Mechanism
    from fedcore.strategies.strategy import Strategy


@dataclass(frozen=True)
class Parts:
    """One component of each kind; None where a scenario names none."""

    dataset: Source
    model: Architecture
    partition: Partitioner
    optimizer: Optimizer
    strategy: Strategy
    preaggregation: tuple[Any, ...] = ()
    attack: Any = None
    privacy: Mechanism | None = None
    probe: Any = None  # the attack whose probe set a clean scenario is scored on

    @property
    def per_example(self) -> bool:
        """Whether clients train on single samples, each with a gradient of its own."""
        return self.privacy is not None and self.privacy.per_example

    def chosen(self) -> Iterator[tuple[str, Component]]:
        """Kind and component of each choice; steps of pre-aggregation after the strategy."""
        for kind in SINGLE:
            part = getattr(self, kind)
            if part is not None:
                yield kind, part
            if kind == "strategy":
                yield from (("preaggregation", step) for step in self.preaggregation)

    def everything(self) -> Iterator[tuple[str, Component]]:
        """A name of its own for each choice and for each component in another's parameters."""
        steps = 0
        for kind, part in self.chosen():
            steps += kind == "preaggregation"
            place = f"{kind} {steps}" if kind == "preaggregation" else kind
            yield place, part
            for number, inner in enumerate(_within(part), 1):
                yield f"{place} within {number}", inner
        if self.probe is not None:
            yield "probe", self.probe
            for number, inner in enumerate(_within(self.probe), 1):
                yield f"probe within {number}", inner

    def single(self) -> dict[str, Component]:
        """The components of which there is one at most, by kind."""
        return {kind: part for kind, part in self.chosen() if kind != "preaggregation"}


def _within(part: Component) -> Iterator[Component]:
    """The components in the parameters of ``part``, and in theirs."""
    for value in part.parameters().values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Component):
                yield one
                yield from _within(one)
