"""Readable names of scenarios: tokens of [a-z0-9.] joined by '-'."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fedcore import validation

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

# Fields outside strategy, partition and attack that earn a token where they differ from the base.
_PREFIXES = {
    "dataset": "",
    "model": "",
    "image_size": "px",
    "norm": "norm",
    "weights": "weights",
    "optimizer": "",
    "mu": "mu",
    "momentum": "rho",
    "lr": "lr",
    "local_epochs": "epochs",
    "server_momentum": "gmf",
    "server_lr": "slr",
    "num_byzantine": "f",
    "num_selected": "m",
    "trim_fraction": "trim",
    "num_clients": "clients",
    "fraction_train": "cohort",
    "rounds": "rounds",
    "privacy": "",
    "epsilon": "epsilon",
    "noise_multiplier": "noise",
    "delta": "delta",
    "clip_norm": "clip",
    "sensitivity": "sensitivity",
    "neighbours": "",
    "released": "",
    "buffers": "buffers",
    "epsilon_budget": "budget",
}


def token(value: object) -> str:
    """``value`` in the characters [a-z0-9.]: ``mobilenet_v2`` -> ``mobilenetv2``."""
    if isinstance(value, float):
        return f"{value:g}".replace("-", "m").replace("+", "")
    if isinstance(value, tuple):
        return "to".join(token(item) for item in value)
    return re.sub(r"[^a-z0-9.]", "", str(value).lower())


def strategy_token(scenario: Scenario) -> str:
    """``fednova``; of a Flower strategy package, class and keywords, and its mods' names."""
    if scenario.strategy_spec is None:
        return token(scenario.strategy)
    from fedcore.strategies.flower import Spec, specs  # imports torch

    attached = specs(scenario.client_mods) if scenario.client_mods is not None else []
    return ".".join([Spec.parse(scenario.strategy_spec).token, *(mod.token for mod in attached)])


def percent(fraction: float) -> str:
    """A share in percent: 0.3 -> ``30pct``."""
    return f"{token(round(fraction * 100, 6))}pct"


def partition_token(scenario: Scenario) -> str:
    """``iid``, ``dirichlet0.1``, ``pathological2``."""
    parameter = scenario.alpha if scenario.alpha is not None else scenario.classes_per_client
    return token(scenario.partition) + ("" if parameter is None else token(parameter))


def attack_tokens(scenario: Scenario) -> list[str]:
    """``clean``, or the attack with its two shares."""
    if scenario.attack is None:
        return ["clean"]
    name = token(scenario.attack)
    if scenario.source_class is not None:
        name += f"{scenario.source_class}to{scenario.target_class}"
    shares = (
        f"mal{percent(scenario.malicious_fraction)}",
        f"poison{percent(scenario.poison_ratio)}",
    )
    return [name, *shares, *(["redraw"] if scenario.redraw else [])]


def identifier(scenario: Scenario, base: Scenario) -> str:
    """Strategy, partition and attack, then whatever else sets ``scenario`` apart from ``base``."""
    tokens = [strategy_token(scenario), partition_token(scenario), *attack_tokens(scenario)]
    chosen, _ = validation.components({name: getattr(scenario, name) for name in scenario.specs()})
    defaults: dict[str, object] = {}
    for entry in chosen.values():
        defaults = {**entry.parameters, **defaults}
    for name, prefix in _PREFIXES.items():
        value = getattr(scenario, name)
        # a parameter is usual at its component's default; a required one never is
        usual = defaults[name] if name in defaults else getattr(base, name)
        if value is not None and value != usual:
            tokens.append(prefix + token(value))
    return "-".join(tokens)
