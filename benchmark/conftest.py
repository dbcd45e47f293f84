"""The short names of fedcore's options, such as ``--profile``, where they are free; a marker."""

from __future__ import annotations

import pytest

from fedcore.harness.plugin.options import add_short_names

_PLUGIN = "fedcore.harness.plugin"
#: Collected only where they are named: they take minutes of their own.
collect_ignore = ["test_defences.py", "test_trends.py"]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Load the plugin, unless it is loaded, and declare the aliases."""
    pluginmanager.import_plugin(_PLUGIN)
    if pluginmanager.has_plugin(_PLUGIN):  # else it is blocked, with -p no:
        add_short_names(parser, pluginmanager)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; an installed suite has no settings of its own."""
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
