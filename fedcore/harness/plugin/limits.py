"""The limits of a session: those of its files, and what --require asks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedcore.harness.plugin.options import OPTIONS

if TYPE_CHECKING:
    from fedcore.harness.suite.thresholds import Thresholds


def thresholds(config: pytest.Config, folder: Path) -> Thresholds:
    """The limits of the tests in ``folder``, and what --require asks; none where nobody has.

    Raises ThresholdError.
    """
    from fedcore.harness.suite.requirements import Requirement

    found = _limits(config, folder)
    asked = tuple(map(Requirement.parse, config.stash[OPTIONS].requirements))
    return dataclasses.replace(found, requirements=found.requirements + asked)


def _limits(config: pytest.Config, folder: Path) -> Thresholds:
    """The limits of the files. Raises ThresholdError."""
    from fedcore.harness.suite.thresholds import Thresholds

    chosen = config.stash[OPTIONS].thresholds
    if chosen is None:
        chosen = config.hook.pytest_fedcore_thresholds(config=config, folder=folder)
    if chosen is not None:
        return Thresholds.read(config.invocation_params.dir / chosen)
    beside = folder / "thresholds.toml"
    return Thresholds.read(beside) if beside.exists() else Thresholds.none()
