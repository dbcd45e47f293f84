"""The kinds of components of a scenario, and the registry of each.

They stand on the ground floor and find what they hold upwards, by name. So what needs no component
itself, such as `fedcore.scenario`, imports none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fedcore.components.registry import Registry

if TYPE_CHECKING:
    from fedcore.attacks.attack import Attack
    from fedcore.attacks.trigger import Trigger
    from fedcore.data.dataset import Source
    from fedcore.models.architecture import Architecture
    from fedcore.optimizers.optimizer import Optimizer
    from fedcore.partition.partitioner import Partitioner
    from fedcore.privacy.mechanism import Mechanism
    from fedcore.strategies.preaggregation.preaggregation import PreAggregation
    from fedcore.strategies.strategy import Strategy

DATASETS: Registry[type[Source]] = Registry("dataset", "fedcore.data")
MODELS: Registry[type[Architecture]] = Registry("model", "fedcore.models")
PARTITIONERS: Registry[type[Partitioner]] = Registry("partition", "fedcore.partition")
OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer", "fedcore.optimizers")
STRATEGIES: Registry[type[Strategy]] = Registry("strategy", "fedcore.strategies")
PREAGGREGATIONS: Registry[type[PreAggregation]] = Registry(
    "preaggregation", "fedcore.strategies.preaggregation"
)
ATTACKS: Registry[type[Attack]] = Registry("attack", "fedcore.attacks")
#: Components in the parameters of others: of attacks that change images.
TRIGGERS: Registry[type[Trigger]] = Registry("trigger", "fedcore.attacks")
PRIVACY: Registry[type[Mechanism]] = Registry(
    "privacy", "fedcore.privacy", label="privacy mechanism"
)

#: The strategy that others are measured against: the plain mean of what the clients send.
REFERENCE: Final = "fedavg"

#: Kinds of which a scenario has one component, or none, in the order of messages.
SINGLE: Final = ("dataset", "model", "partition", "optimizer", "strategy", "attack", "privacy")
