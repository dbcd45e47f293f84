"""Hooks of this plugin, for the ``conftest.py`` of a suite."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.hookspec
def pytest_fedcore_components(
    config: pytest.Config,
) -> Iterable[str | ModuleType] | str | ModuleType | None:
    """Register components of your own, before the first module of tests is imported.

    Import what registers them, or return the names of the modules that do: these are imported.
    Each ``conftest.py`` is asked once. A class that is defined in the ``conftest.py`` itself runs
    in this process only (``--fedcore-jobs 1``); define it in a module, which workers can import.

    What is raised ends the session with status 4 before any run.
    """


@pytest.hookspec(firstresult=True)
def pytest_fedcore_thresholds(config: pytest.Config, folder: Path) -> Path | str | None:
    """The file of limits for the tests in ``folder``; None for ``thresholds.toml`` in it.

    ``--fedcore-thresholds FILE`` goes first. Without any file cells are measured and not judged.
    """
