"""The rules of a scenario: ranges, known names, parameters that somebody reads, preconditions.

All rules are checked before any is reported. What depends on the data (numbers of classes and
samples, image shape) is checked when the data are at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fedcore.components.parameters import Spec
from fedcore.components.registry import REQUIRED, Entry, Registry
from fedcore.errors import UnknownNameError, unknown_name

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


def registries() -> dict[str, Registry[Any]]:
    """The registry behind each component field; imported late, they import what they register."""
    from fedcore.attacks.attack import ATTACKS
    from fedcore.data.dataset import DATASETS
    from fedcore.engine.solvers import OPTIMIZERS
    from fedcore.models.architecture import MODELS
    from fedcore.partition.partitioner import PARTITIONERS
    from fedcore.privacy.mechanism import PRIVACY
    from fedcore.strategies.strategy import STRATEGIES

    return {
        "dataset": DATASETS,
        "model": MODELS,
        "partition": PARTITIONERS,
        "optimizer": OPTIMIZERS,
        "strategy": STRATEGIES,
        "attack": ATTACKS,
        "privacy": PRIVACY,
    }


def registered_name(kind: str, name: str) -> str:
    """The registered part of a name: ``npz:PATH`` is registered as ``npz``."""
    return name.partition(":")[0] if kind == "dataset" else name


def components(values: Mapping[str, Any]) -> tuple[dict[str, Entry[Any]], list[str]]:
    """The chosen entry of each component field, and the names that nothing is registered under."""
    found: dict[str, Entry[Any]] = {}
    problems: list[str] = []
    for kind, registry in registries().items():
        name = values[kind]
        if not isinstance(name, str):
            continue
        try:
            found[kind] = registry.entry(registered_name(kind, name))
        except UnknownNameError as error:
            problems.append(str(error))
    return found, problems


def check_fields(scenario: Scenario) -> tuple[list[str], dict[str, Any]]:
    """Problems with single fields, and the defaults of the chosen components' parameters."""
    specs = scenario.specs()
    values = {name: getattr(scenario, name) for name in specs}
    problems = [text for name, spec in specs.items() for text in spec.problems(name, values[name])]
    found, unknown = components(values)
    problems += unknown
    defaults: dict[str, Any] = {}
    for kind, entry in found.items():
        for name, default in entry.parameters.items():
            if values[name] is not None or name in defaults:
                continue
            if default is REQUIRED:
                meant = specs[name].range or specs[name].doc
                problems.append(f"{kind} {entry.name!r} needs {name} ({meant})")
            else:
                defaults[name] = default
    if not unknown:
        problems += _unread(found.values(), specs, values)
    return problems, defaults


def check_preconditions(scenario: Scenario) -> list[str]:
    """Problems between fields: counts that round to nothing, preconditions of the components."""
    found, _ = components({name: getattr(scenario, name) for name in scenario.specs()})
    problems = _counts(scenario)
    for entry in found.values():
        problems += entry.component.problems(scenario)
    return problems


def _unread(
    found: Iterable[Entry[Any]], specs: Mapping[str, Spec], values: Mapping[str, Any]
) -> list[str]:
    read = {name for entry in found for name in entry.parameters}
    problems = []
    for name in sorted(parameter_names()):
        if values[name] is not None and name not in read:
            readers = ", ".join(sorted(readers_of(name)))
            problems.append(
                f"{name}={values[name]!r} is read by none of the chosen components "
                f"({readers} would)"
            )
    return problems


def parameter_names() -> set[str]:
    """Names of all fields that are parameters of some registered component."""
    return {
        name
        for registry in registries().values()
        for key in registry
        for name in registry.entry(key).parameters
    }


def readers_of(parameter: str) -> list[str]:
    """The components that read ``parameter``, as ``strategy krum``."""
    return [
        f"{kind} {key}"
        for kind, registry in registries().items()
        for key in registry
        if parameter in registry.entry(key).parameters
    ]


def _counts(scenario: Scenario) -> list[str]:
    problems = []
    if scenario.norm == "batch" and scenario.batch_size == 1:
        problems.append("norm='batch' cannot train on batch_size=1: raise it, or set norm='group'")
    if scenario.cohort_size < 1:
        problems.append(
            f"fraction_train={scenario.fraction_train} of num_clients={scenario.num_clients} "
            "rounds to an empty cohort: raise either"
        )
    if scenario.attack is None:
        for name in ("malicious_fraction", "poison_ratio"):
            if getattr(scenario, name):
                problems.append(
                    f"{name}={getattr(scenario, name)} needs an attack: name one, or set it to 0"
                )
        return problems
    for name in ("malicious_fraction", "poison_ratio"):
        if getattr(scenario, name) == 0:
            problems.append(
                f"attack {scenario.attack!r} with {name}=0 would change nothing: raise it"
            )
    if scenario.malicious_fraction > 0 and scenario.num_malicious == 0:
        problems.append(
            f"malicious_fraction={scenario.malicious_fraction} of "
            f"num_clients={scenario.num_clients} rounds to no malicious client: raise either"
        )
    return problems


def adapt(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes``, without the parameters that only a replaced component read."""
    result = {**values, **changes}
    if "attack" in changes and changes["attack"] is None:
        result.update(
            {name: 0.0 for name in ("malicious_fraction", "poison_ratio") if name not in changes}
        )
    old, _ = components(values)
    new, _ = components(result)
    read = {name for entry in new.values() for name in entry.parameters}
    for kind, entry in old.items():
        if kind in changes and changes[kind] != values[kind]:
            for name, default in entry.parameters.items():
                # a value left at the old component's default was never a choice
                if name not in changes and (name not in read or values[name] == default):
                    result[name] = None
    return result


def unknown_fields(values: Mapping[str, Any], specs: Mapping[str, Spec]) -> list[str]:
    """A message for each name that is no field of a scenario."""
    return [unknown_name("scenario field", name, specs) for name in values if name not in specs]
