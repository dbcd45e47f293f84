"""Environments with the wheel of fedcore, and the pages that show how to extend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.newcomer import Newcomer, fedcore_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of fedcore."""
    return fedcore_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def newcomer(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """An environment with nothing but fedcore."""
    return Newcomer(tmp_path_factory.mktemp("newcomer"), wheel)
