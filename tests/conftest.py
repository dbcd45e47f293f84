"""What all tests share: Hypothesis without deadlines, one thread, the directory of real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.forked_python import ForkedPython

ROOT = Path(__file__).resolve().parents[1]

# A first example pays for imports and caches, and machines of CI stall: no test is timed by
# Hypothesis. Its own profile for CI, chosen where $CI is set, has no deadline either.
settings.register_profile("fedcore", deadline=None)
if settings.get_current_profile_name() == "default":
    settings.load_profile("fedcore")


# As in a run. Several threads wait for each other at spinning barriers, which takes many times as
# long wherever another process has a core.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def forked_python() -> Iterator[ForkedPython]:
    """Runs modules in processes of their own that need not import torch."""
    python = ForkedPython()
    yield python
    python.close()


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config) -> Path:
    """The directory that holds bloodmnist.npz: --data-dir, $FEDCORE_DATA or ../shared/data."""
    chosen = pytestconfig.getoption("fedcore_data_dir", default=None) or os.environ.get(
        "FEDCORE_DATA"
    )
    folder = Path(chosen) if chosen else ROOT.parent / "shared" / "data"
    if not (folder / "bloodmnist.npz").is_file():
        pytest.skip(f"no bloodmnist.npz in {folder}: name its directory with --data-dir")
    return folder
