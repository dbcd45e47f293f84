"""Components of a suite's own: registered by its conftest files, imported by other processes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.options import OPTIONS, spelled
from fedcore.harness.plugin.xdist import is_worker, refuse

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_ASKED = pytest.StashKey[set[int]]()


def register_components(config: pytest.Config) -> None:
    """Ask each conftest file that has not been asked yet; what it raises is refused later."""
    asked = config.stash.setdefault(_ASKED, set())
    for found in config.hook.pytest_fedcore_components.get_hookimpls():
        if id(found.plugin) in asked:
            continue
        asked.add(id(found.plugin))
        given = {"config": config}
        try:
            result = found.function(*(given[name] for name in found.argnames))
            for module in _modules(result):
                importlib.import_module(module)
        except Exception as error:
            where = getattr(found.plugin, "__file__", found.plugin_name)
            refuse(
                config,
                f"pytest_fedcore_components of {where} failed: {type(error).__name__}: {error}",
            )


def _modules(result: Any) -> list[str]:
    """The names of the modules that a hook has returned. TypeError for anything else."""
    listed = [result] if isinstance(result, str | ModuleType) else result
    if listed is None:
        return []
    if not isinstance(listed, Iterable):
        raise TypeError(f"it must return names of modules or None, got {result!r}")
    names = [one.__name__ if isinstance(one, ModuleType) else one for one in listed]
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"it must return names of modules, got {name!r} among them")
    return names


def refuse_names(collector: pytest.Collector, report: pytest.CollectReport) -> None:
    """Refuse what importing a module has raised, if fedcore did: a collection error otherwise."""
    call: Any = getattr(report, "call", None)  # pytest's own, for those who ask why it failed
    error = getattr(getattr(call, "excinfo", None), "value", None)
    if not report.failed or not isinstance(error, FedcoreError):
        return
    lines = [e.lineno + 1 for e in call.excinfo.traceback if e.path == collector.path]
    place = ":".join([collector.path.name, *map(str, lines[-1:])])
    refuse(collector.config, spelled(collector.config, f"{place}: {error}"))
    report.outcome, report.longrepr, report.result = "passed", None, []


def unimportable(config: pytest.Config, scenarios: Iterable[Scenario]) -> list[str]:
    """Which components of ``scenarios`` other processes would need and cannot import, and why.

    Empty where this process makes all runs and shows them itself.
    """
    options = config.stash[OPTIONS]
    runs_elsewhere = options.executor == "ray" or options.jobs != 1
    if not runs_elsewhere and not is_worker(config):
        return []
    from fedcore.harness.runs.imports import components_from_outside

    found: dict[str, None] = {}
    for scenario in dict.fromkeys(scenarios):
        for component, modules in components_from_outside(scenario):
            for module in modules:
                if reason := _reason(config, module):
                    found[f"{component} {reason}"] = None
    who = "worker processes" if runs_elsewhere else "the process that reports for pytest-xdist"
    remedies = [
        *(["give --jobs 1"] if runs_elsewhere and options.executor != "ray" else []),
        *(["leave out --executor ray"] if options.executor == "ray" else []),
        *(["leave out -n"] if is_worker(config) else []),
    ]
    return [
        f"{line}, which {who} cannot import: move it to a module of its own and import that, or "
        f"{' and '.join(remedies)}"
        for line in found
    ]


def _reason(config: pytest.Config, module: str) -> str | None:
    """Why no other process can import ``module``, None where one can."""
    if module == "__main__":
        return "is defined in a script"
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None
    name = Path(file).name
    patterns = ("conftest.py", *config.getini("python_files"))
    if any(fnmatch(name, pattern) for pattern in patterns):
        return f"is defined in {name}"
    return None
