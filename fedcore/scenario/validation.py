"""The rules between the fields of a scenario, and the preconditions of its components.

What depends on the data (numbers of classes and samples, image shape) is checked when the data are
at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedcore.components.registry import REGISTRIES, Entry
from fedcore.scenario.absent import absence_problems
from fedcore.scenario.declared import parameter_names as parameter_names
from fedcore.scenario.declared import readers_of as readers_of
from fedcore.scenario.declared import registries as registries
from fedcore.scenario.wire import MIRRORED

if TYPE_CHECKING:
    from fedcore.scenario.scenario import Scenario


def entries(scenario: Scenario) -> dict[str, Entry[Any]]:
    """The registration of each chosen component of which there is one, by kind."""
    single = scenario.parts.single()
    return {kind: REGISTRIES[kind].entry(part.name) for kind, part in single.items()}


def check_preconditions(scenario: Scenario) -> list[str]:
    """Problems between fields: counts that round to nothing, preconditions of the components."""
    problems = _counts(scenario)
    for _, part in scenario.parts.chosen():
        problems += part.problems(scenario)
    if scenario.attack is not None:
        problems += _places(scenario)
    return problems or absence_problems(scenario)


def _places(scenario: Scenario) -> list[str]:
    """Problems with where and how often an attack acts, and with what it knows."""
    attack = scenario.parts.attack
    if attack.data is attack.work is attack.update is None:
        return [
            f"attack {scenario.attack!r} acts nowhere, as it has no data, work or update: derive "
            "its class from DataAttack, LabelAttack, LocalWork or UpdateAttack"
        ]
    if attack.data is not None and attack.data.changes_images and attack.data.redraw:
        return [
            f"attack {scenario.attack!r} changes images, whose copies are made once a run, and "
            "cannot redraw: leave redraw out of its class"
        ]
    if attack.data is not None and attack.data.needs_scores:
        return _scored(scenario, attack.data)
    if attack.data is not None and attack.data.needs_scores and scenario.local_steps is not None:
        return [
            f"attack {scenario.attack!r} draws labels anew in each round, which are checked over "
            "whole epochs: give local_epochs in place of local_steps"
        ]
    knows = None if attack.update is None else attack.update.knows
    if knows in (None, "own", "benign"):
        return []
    return [f"attack {scenario.attack!r} knows 'own' or 'benign' updates, got {knows!r}"]


def _scored(scenario: Scenario, data: Any) -> list[str]:
    """Problems of an attack that draws labels from the global model's scores."""
    if not data.redraw or data.changes_images:
        return [
            f"attack {scenario.attack!r} needs scores, which every round has others of: its class "
            "must redraw, and cannot change images"
        ]
    if scenario.local_steps is not None:
        return [
            f"attack {scenario.attack!r} draws labels by scores, which are of whole "
            "epochs: set local_epochs in place of local_steps"
        ]
    if scenario.parts.per_example:
        return [
            f"attack {scenario.attack!r} draws labels by scores, and privacy={scenario.privacy!r} "
            "samples single examples, of which no evidence is kept: choose another mechanism"
        ]
    if scenario.local_steps is not None:
        return [
            f"attack {scenario.attack!r} draws labels by scores, of which evidence is kept for "
            f"whole epochs: leave out local_steps={scenario.local_steps}"
        ]
    return []


def _probe(scenario: Scenario) -> list[str]:
    if scenario.attack is not None:
        return [
            f"probe={scenario.probe!r} is for a scenario without attack: attack "
            f"{scenario.attack!r} is measured on its own, leave probe out"
        ]
    if scenario.parts.probe.probe_attack is None:
        return [
            f"probe={scenario.probe!r} has no probe set: name an attack that has one, such as "
            "backdoor(target=0)"
        ]
    return []


def _counts(scenario: Scenario) -> list[str]:
    problems = []
    if scenario.norm == "batch" and scenario.batch_size == 1:
        problems.append("norm='batch' cannot train on batch_size=1: raise it, or set norm='group'")
    if scenario.cohort_size < 1:
        problems.append(
            f"fraction_train={scenario.fraction_train} of num_clients={scenario.num_clients} "
            "rounds to an empty cohort: raise either"
        )
    if scenario.local_steps is not None and scenario.local_epochs != 1:
        problems.append(
            f"local_steps={scenario.local_steps} stands in the place of local_epochs="
            f"{scenario.local_epochs}: leave one of them out"
        )
    if scenario.probe is not None:
        problems += _probe(scenario)
    if scenario.attack is None:
        for name, off in (("malicious_fraction", 0), ("poison_ratio", 0), ("malicious_set", None)):
            if value := getattr(scenario, name):
                problems.append(f"{name}={value} needs an attack: name one, or set it to {off}")
        return problems
    if scenario.malicious_fraction == 0:
        problems.append(
            f"attack {scenario.attack!r} with malicious_fraction=0 would change nothing: raise it"
        )
    if MIRRORED not in scenario.parts.attack.specs() and scenario.poison_ratio:
        readers = ", ".join(readers_of(MIRRORED))
        problems.append(
            f"{MIRRORED}={scenario.poison_ratio} is read by none of the chosen components "
            f"({readers} would)"
        )
    if scenario.malicious_fraction > 0 and scenario.num_malicious == 0:
        problems.append(
            f"malicious_fraction={scenario.malicious_fraction} of "
            f"num_clients={scenario.num_clients} rounds to no malicious client: raise either"
        )
    return problems
