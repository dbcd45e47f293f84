"""The options of the plugin: ``--fedcore-NAME`` everywhere, and short names where they are free.

Another plugin may have a ``--profile`` of its own (pytest-profiling does), so no short name is
declared in a project that only has fedcore installed. They are aliases with the same destination,
declared where a suite asks for them: by ``-p fedcore.harness.plugin``, and by the ``conftest.py``
of fedcore's own suite. One that is taken is left out; the long name works.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.suite.options import EXECUTORS, MEANINGS, SETTINGS, Options
from fedcore.lifeline import WORKER_TIMEOUT

OPTIONS = pytest.StashKey["Options"]()
#: Name under which a session's `ShortNames` are registered.
SHORT_NAMES = "fedcore.short_names"
_PREFIX = "fedcore-"

#: Settings of each option by its short name; a destination of its own stands in "dest".
DECLARATIONS: dict[str, dict[str, Any]] = {
    "dataset": {
        "default": "mnist5k",
        "help": "mnist5k, a MedMNIST set, npz:PATH or folder:PATH",
    },
    "data-dir": {"help": "data sets, weights (default: $FEDCORE_DATA, else the user cache)"},
    "model": {"help": "network of every cell (default: the profile's)"},
    "image-size": {
        "type": int,
        "help": "side in pixels that images are resized to (default: as they are)",
    },
    "strategy": {
        "action": "append",
        "dest": "strategies",
        "metavar": "NAME",
        "help": "only this strategy: a name, or package.module:Class[:json] of one written for "
        "Flower; may be repeated",
    },
    "attack": {
        "action": "append",
        "dest": "attacks",
        "metavar": "NAME",
        "help": "only this attack: a name, name(parameter=value, ...), package/name, or "
        "package.module:Class(...); may be repeated",
    },
    "preaggregation": {
        "metavar": "CHAIN",
        "help": "in front of every strategy, as 'bucketing(size=2)'; steps with commas",
    },
    "mod": {
        "action": "append",
        "dest": "mods",
        "metavar": "SPEC",
        "help": "a Flower client mod for these, package.module:name[:json]; may be repeated",
    },
    "profile": {"default": "quick", "help": "smoke, quick (default), full or study"},
    "seeds": {"type": int, "help": "paired seeds a cell (default: the profile's)"},
    "hours": {
        "type": float,
        "help": "stop after these hours: what is not measured by then is skipped, and a later "
        "session goes on from the store",
    },
    "device": {"default": "auto", "choices": ("auto", "cpu", "cuda"), "help": "default: auto"},
    "engine": {"default": "auto", "help": "how runs are computed: see `fedcore list engines`"},
    "precision": {
        "default": "float32",
        "help": "float32 (default), float64; GPUs: bfloat16, tf32",
    },
    "jobs": {"type": int, "help": "runs at a time (default: the cores)"},
    "worker-timeout": {
        "type": float,
        "default": WORKER_TIMEOUT,
        "metavar": "SECONDS",
        "help": "end a worker process that finishes no round for so long, and make its run once "
        f"more (default: {WORKER_TIMEOUT:.0f})",
    },
    "executor": {
        "default": "processes",
        "choices": EXECUTORS,
        "help": "what makes the runs: processes of this machine (default), or ray",
    },
    "ray-address": {"help": "a running cluster, HOST:PORT or auto (default: one on loopback)"},
    "results": {"default": ".fedcore", "help": "stored runs, last results (.fedcore)"},
    "fresh": {"action": "store_true", "help": "compute every run, even if it is stored"},
    "fail-on": {
        "action": "append",
        "metavar": "VERDICT",
        "help": "let cells with this verdict fail, not skip: unsure, no-limit; with commas or "
        "repeated",
    },
    "report": {"help": "write report.md, .html, results.csv, .json, .tex to this directory"},
    "require": {
        "action": "append",
        "dest": "requirements",
        "metavar": "TEXT",
        "help": "ask this of every cell that it fits, as 'poisoned >= 80 where strategy = krum, "
        "malicious_fraction = 0.3'; may be repeated",
    },
    "thresholds": {
        "metavar": "FILE",
        "help": "limits of the cells (default: thresholds.toml beside the tests, if there is one)",
    },
    **{
        name.replace("_", "-"): {
            "metavar": "VALUE",
            "help": f"{MEANINGS[name]}, of every cell (default: the suite's; limits and baselines "
            "that were recorded for that do not hold then)",
        }
        for name in SETTINGS
    },
    "baseline": {
        "default": "auto",
        "choices": ("auto", "off"),
        "help": "compare with the recorded baseline where there is one: auto (default) or off",
    },
    "update-baseline": {
        "action": "store_true",
        "help": "show what differs from the baseline and record the selected cells in it",
    },
    "update-canaries": {
        "nargs": "?",
        "const": "new",
        "choices": ("new", "all"),
        "help": "record the canaries, float64 runs that every machine is held to: new (default) "
        "ones beside those that are recorded, or all anew",
    },
}
_SHORT = re.compile(rf"(?<![\w-])--({'|'.join(DECLARATIONS)})(?![\w-])")


class ShortNames:
    """Which short names a session has; ``taken`` are those of other plugins."""

    def __init__(self) -> None:
        self.declared: list[str] = []
        self.taken: list[str] = []


def add_options(parser: pytest.Parser) -> None:
    """Declare the long options in a group of pytest's help."""
    group = _group(parser)
    for name, settings in DECLARATIONS.items():
        group.addoption(f"--{_PREFIX}{name}", **{**settings, "dest": _destination(name)})


def add_short_names(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the short names that are free as aliases, once; `SHORT_NAMES` tells which."""
    if pluginmanager.get_plugin(SHORT_NAMES) is not None:
        return
    names, group = ShortNames(), _group(parser)
    for name, settings in DECLARATIONS.items():
        alias = {**settings, "dest": _destination(name), "help": f"same as --{_PREFIX}{name}"}
        try:
            group.addoption(f"--{name}", **alias)
        except (argparse.ArgumentError, ValueError):
            names.taken.append(name)
        else:
            names.declared.append(name)
    pluginmanager.register(names, SHORT_NAMES)


def option(config: pytest.Config, name: str) -> Any:
    """The value of the option whose field is ``name``, such as ``update_baseline``."""
    return config.getoption(f"fedcore_{name}")


def options_of(config: pytest.Config) -> Options:
    """The checked options of a session. Raises UsageError, thus status 4."""
    try:
        return Options.of(lambda name: option(config, name))
    except FedcoreError as error:
        raise usage_error(config, error) from error


def spelled(config: pytest.Config, text: str) -> str:
    """``text`` with every option under a name that this session understands."""
    names: Any = config.pluginmanager.get_plugin(SHORT_NAMES)
    declared = () if names is None else names.declared
    return _SHORT.sub(
        lambda found: found[0] if found[1] in declared else f"--{_PREFIX}{found[1]}", text
    )


def usage_error(config: pytest.Config, error: object) -> pytest.UsageError:
    """What pytest ends with, at status 4, for ``error``."""
    return pytest.UsageError(spelled(config, str(error)))


def taken_note(config: pytest.Config) -> str | None:
    """Which short names belong to other plugins here, as a line for the summary; None if none."""
    names: Any = config.pluginmanager.get_plugin(SHORT_NAMES)
    if names is None or not names.taken:
        return None
    mine = " ".join(f"--{_PREFIX}{name}" for name in names.taken)
    theirs = " ".join(f"--{name}" for name in names.taken)
    return f"in this environment another plugin has {theirs}: write {mine}"


def _group(parser: pytest.Parser) -> Any:
    return parser.getgroup("fedcore", "fedcore: federated learning under attack")


def _destination(name: str) -> str:
    """Where the value of an option is kept: nobody else uses ``fedcore_``."""
    settings = DECLARATIONS[name]
    return "fedcore_" + str(settings.get("dest", name.replace("-", "_")))
