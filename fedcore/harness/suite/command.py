"""The command line that repeats a session, or one cell of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedcore.harness.suite.options import Options

if TYPE_CHECKING:
    import pytest


def named_places(config: pytest.Config) -> list[str]:
    """Files and folders named on the command line, each once, relative to where it was given.

    After ``--pyargs``, where that was given, they may be names of modules.
    """
    if config.args_source is not config.ArgsSource.ARGS:
        return []
    here = config.invocation_params.dir
    named = [Path(argument.partition("::")[0]) for argument in config.args]
    inside = [p.relative_to(here) if p.is_relative_to(here) else p for p in named]
    pyargs = ["--pyargs"] if config.option.pyargs else []
    return [*pyargs, *dict.fromkeys(map(str, inside))]


def base_command(options: Options, places: Sequence[str] = ("benchmark",)) -> str:
    """The command line of a session with ``options`` on ``places``, without -k and -m."""
    parts = ["pytest", *map(shlex.quote, places)]
    default = Options()
    chosen = ("dataset", "data_dir", "model", "image_size", "profile", "seeds")
    for name in (*chosen, "device", "engine", "precision"):
        value = getattr(options, name)
        if value != getattr(default, name):
            parts.append(shlex.quote(f"--{name.replace('_', '-')}={value}"))
    parts += [shlex.quote(f"--strategy={name}") for name in options.strategies]
    parts += [shlex.quote(f"--attack={name}") for name in options.attacks]
    if options.preaggregation is not None:
        parts.append(shlex.quote(f"--preaggregation={options.preaggregation}"))
    parts += [shlex.quote(f"--mod={spec}") for spec in options.mods]
    for name, value in options.settings:
        shown = "-".join(map(str, value)) if isinstance(value, tuple) else value
        parts.append(shlex.quote(f"--{name.replace('_', '-')}={shown}"))
    parts += [shlex.quote(f"--require={text}") for text in options.requirements]
    if options.thresholds is not None:
        parts.append(shlex.quote(f"--thresholds={options.thresholds}"))
    parts += [f"--fail-on={verdict.replace(' ', '-')}" for verdict in options.fail_on]
    return " ".join(parts)


def repeat_command(cell_id: str, repeat: str) -> str:
    """``repeat`` for this cell alone: in brackets -k takes the id whole."""
    return f'{repeat} -k "[{cell_id}]"'
