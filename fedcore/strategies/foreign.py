"""Flower: any strategy written for Flower, unmodified, as an arm under test.

flwr itself is imported when such an arm runs, see `fedcore.flower.foreign`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fedcore.components.component import digested
from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.outside.text import read_json
from fedcore.strategies.strategy import STRATEGIES, Strategy

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

#: Strategies that ship with Flower: for these the class name alone says which one is meant.
_SHIPPED = "flwr.serverapp.strategy"
_CLASSES = (
    *("Bulyan", "FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedMedian", "FedProx"),
    *("FedTrimmedAvg", "FedYogi", "Krum", "MultiKrum", "QFedAvg"),
)
_FORM = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)(?::(\{.*\}))?", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """What ``package.module:Class[:json-kwargs]`` names. ValueError for any other form.

    >>> Spec.parse('flwr.serverapp.strategy:Krum:{"num_malicious_nodes": 3}').kwargs
    {'num_malicious_nodes': 3}
    """

    module: str
    name: str
    kwargs: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """The parts of ``text``."""
        found = _FORM.fullmatch(text.strip())
        try:
            if found is None:
                raise ValueError("it has another form")
            kwargs = read_json(found[3] or "{}")
        except ValueError as error:
            raise ValueError(
                f"must be package.module:Class or package.module:Class:{{json kwargs}}, got "
                f"{text!r} ({error})"
            ) from error
        return cls(found[1], found[2], kwargs)

    @property
    def token(self) -> str:
        """A name in [a-z0-9.]: ``flower.krum.nummaliciousnodes3``; long ones end in a digest."""
        package = self.module.partition(".")[0]
        parts = ["flower" if package == "flwr" else package, self.name]
        values = "".join(f"{key}{value}" for key, value in sorted(self.kwargs.items()))
        if len(values) > 40:
            values = hashlib.sha256(values.encode()).hexdigest()[:8]
        return ".".join(re.sub("[^a-z0-9.]", "", part.lower()) for part in [*parts, values] if part)


def specs(text: str) -> list[Spec]:
    """The specs in ``text``: one, or a JSON list of such strings. ValueError for another form."""
    if text.lstrip().startswith("["):
        return [Spec.parse(str(item)) for item in read_json(text)]
    return [Spec.parse(text)]


def modules(text: str) -> set[str]:
    """The modules in which the classes and mods of ``text`` lie, those of wrapped ones too."""
    found = set()
    waiting = specs(text)
    while waiting:
        spec = waiting.pop()
        found.add(spec.module)
        if isinstance(wrapped := spec.kwargs.get("strategy"), str):
            waiting.append(Spec.parse(wrapped))
    return found


@dataclass(frozen=True)
class ReplyCohort(Cohort):
    """A cohort whose replies a Flower strategy will turn into the next global model.

    ``updates`` are read from the replies under an attack on updates, else empty [K, 0]; ``finish``
    is handed the cohort as it was sent.
    """

    finish: Callable[[ServerState, Cohort], ServerState]


@STRATEGIES.register("flower", "a strategy written for Flower, as it is")
class Flower(Strategy):
    """``strategy_spec`` names a class of flwr.serverapp.strategy, or another with its interface.

    It chooses among the round's cohort and aggregates what the clients reply; buffers, too, are
    its own business. ``client_mods`` are mods for Flower's ClientApp. Such an arm trains through
    Flower's messages: engine 'flower-grid' or 'flower-ray'.
    """

    foreign = True
    may_ignore_clients = True
    strategy_spec: str = param("package.module:Class[:json] of a Flower strategy")
    client_mods: str | None = param(
        "package.module:name[:json] of a Flower mod, or a list", default=None
    )

    def token(self) -> str:
        """``flower.krum.nummaliciousnodes3``: class and keywords, and the mods' names."""
        mods = [] if self.client_mods is None else specs(self.client_mods)
        name = ".".join([Spec.parse(self.strategy_spec).token, *(mod.token for mod in mods)])
        module, _, cls = self.strategy_spec.partition(":")
        if self.name == "flower" and module == _SHIPPED and cls in _CLASSES and not mods:
            return name
        whole = [self.name, self.strategy_spec, self.client_mods]
        return digested("strategy", json.dumps(whole), name)

    def aggregate(
        self,
        state: ServerState,
        cohort: Cohort,
        num_parameters: int,
        rows: Cohort | None = None,
    ) -> ServerState:
        assert isinstance(cohort, ReplyCohort), "Execution.fitting chooses an engine with replies"
        return cohort.finish(state, cohort)

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        raise NotImplementedError("a Flower strategy aggregates whole replies")

    def problems(self, scenario: Scenario) -> list[str]:
        found = []
        if scenario.parts.preaggregation:
            found.append(
                "strategy 'flower' aggregates whole replies, each with the node that sent it and "
                "metrics of its own, which rows of several clients have not: leave preaggregation "
                "out, or wrap the strategy (strategy_spec)"
            )
        if scenario.privacy is not None:
            found.append(
                f"strategy 'flower' cannot be combined with privacy={scenario.privacy!r}: attach "
                "Flower's own mods (client_mods) or wrappers (strategy_spec)"
            )
        for name in ("strategy_spec", "client_mods"):
            value = getattr(self, name)
            try:
                if value is not None:
                    specs(value) if name == "client_mods" else Spec.parse(value)
            except (ValueError, TypeError) as error:
                found.append(f"{name} {error}")
        return found
