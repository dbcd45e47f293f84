"""Flags of a scenario, derived from the declarations of its fields."""

from __future__ import annotations

import argparse
import re
from typing import Any

from fedcore.components.parameters import REQUIRED, Spec, shown
from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario
from fedcore.scenario.declared import packages_of
from fedcore.scenario.presets import preset
from fedcore.scenario.scenario import own_specs
from fedcore.scenario.text import flag, meant
from fedcore.scenario.wire import NAMES


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag per field of `Scenario` and per parameter of a registered component.

    A flag that is not given leaves no attribute, one that is given leaves its word.
    """
    group = parser.add_argument_group(
        "scenario",
        "What is not given takes the preset's value, or the default. 'none' takes back a "
        "value that may be left out. A component may be written with its parameters, as "
        "--partition 'dirichlet(alpha=0.1)', and of a module of your own as "
        "--attack 'mypkg.attacks:Shift(by=3)'.",
    )
    for name, spec in Scenario.specs().items():
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(name, spec)}
        if spec.type is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = _metavar(spec)
        group.add_argument(flag(name), **options)


def chosen_scenario(
    options: argparse.Namespace, *, preset_name: str | None, cohort_size: str | None
) -> Scenario:
    """The scenario that the flags describe, over the preset if one is named.

    Raises ScenarioError with every problem, UnknownNameError for an unknown preset.
    """
    base = preset(preset_name) if preset_name is not None else Scenario()
    words = {name: getattr(options, name) for name in Scenario.specs() if name in options}
    changes = meant(words, base.to_dict())
    problems: list[str] = []
    if cohort_size is not None:
        if "fraction_train" in changes:
            problems.append("--cohort-size and --fraction-train say the same thing: give one")
        clients = changes.get("num_clients", base.num_clients)
        if not re.fullmatch(r"[0-9]{1,18}", cohort_size) or int(cohort_size) < 1:
            problems.append(f"--cohort-size must be an integer >= 1, got {shown(cohort_size)}")
        elif isinstance(clients, int) and clients >= 1:  # anything else is a problem of its own
            size = int(cohort_size)
            if size > clients:
                problems.append(
                    f"--cohort-size must be <= num_clients={clients}, got {size}: lower it, or "
                    "raise --num-clients"
                )
            else:
                changes["fraction_train"] = size / clients
    try:
        scenario = base.but(**changes) if preset_name is not None else Scenario(**changes)
    except ScenarioError as error:
        raise ScenarioError([*problems, *error.problems]) from None
    if problems:
        raise ScenarioError(problems)
    return scenario


def _metavar(spec: Spec) -> str:
    if spec.choices:
        return "{" + ",".join(spec.choices) + "}"
    if spec.pair:
        return "N|LOW-HIGH"
    return {int: "N", float: "X"}.get(spec.type, "NAME")


def _help(name: str, spec: Spec) -> str:
    notes = [spec.range] if spec.range and not spec.choices else []
    if name not in NAMES and name not in own_specs():
        notes += [f"from {package}" for package in packages_of(name)]
    if name in own_specs() and spec.default not in (None, REQUIRED):
        notes.append(f"default {spec.default}")
    text = f"{spec.doc} ({'; '.join(notes)})" if notes else spec.doc
    return text.replace("%", "%%")
