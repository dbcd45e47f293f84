"""The part of the pytest plugin that is about baselines.

Where cells are selected and ``baselines/`` beside the suite's tests has a folder for this data set,
profile and device, a test of its own comes last: ``baselines/<folder>::regression``. It is no part
of any selection, so that -k does not lose it. --update-baseline puts ``::update`` in its place.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.baseline_item import BaselineFolder, BaselineItem, cell_of, distributed
from fedcore.harness.suite.options import OPTIONS, Options

_TESTS = pytest.StashKey[dict[Path, dict[str, str]]]()
_ITEM = pytest.StashKey[BaselineItem]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("fedcore")
    group.addoption(
        "--baseline",
        default="auto",
        choices=("auto", "off"),
        help="compare with the recorded baseline where there is one: auto (default) or off",
    )
    group.addoption(
        "--update-baseline",
        action="store_true",
        help="show what differs from the baseline and record the selected cells in it",
    )
    group.addoption(
        "--update-canaries",
        action="store_true",
        help="record the canaries, float64 runs that every machine is held to, anew",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what would record a part of the cells only."""
    config.stash[_TESTS] = {}
    if config.getoption("update_baseline") and distributed(config):
        raise pytest.UsageError("--update-baseline needs all cells in one process: leave out -n")


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: Any) -> Generator[None, Any, Any]:
    """Note every cell of a suite, selected or not."""
    made = yield
    for item in made if isinstance(made, list) else ():
        cell = cell_of(item)
        if cell is not None:
            tests = collector.config.stash[_TESTS].setdefault(item.path.parent, {})
            tests[cell.id] = f"{item.path.name}::{item.originalname}"
    return made


def rename(item: Any, old: str, new: str) -> None:
    """Note that the cell ``old`` of ``item`` is named ``new``."""
    tests = item.config.stash[_TESTS].setdefault(item.path.parent, {})
    tests.pop(old, None)
    tests[new] = f"{item.path.name}::{item.originalname}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Append the comparison, or the update, behind the selected tests."""
    found = [item for item in items if cell_of(item) is not None]
    update = config.getoption("update_baseline")
    if update:
        _require_recordable(config.stash[OPTIONS], found)
    # other cells are no part of what was recorded, and would make all of that look vanished
    own = config.stash[OPTIONS].own_cells
    off = not update and (config.getoption("baseline") == "off" or not own)
    if not found or off or config.option.collectonly:
        return
    from fedcore.engine.execution import choose_device
    from fedcore.harness.baselines.file import folder_name

    options: Options = config.stash[OPTIONS]
    folder = found[0].path.parent
    try:
        device = choose_device(options.device).type
    except FedcoreError as error:
        raise pytest.UsageError(str(error)) from error
    name = folder_name(options.dataset, options.profile, options.model, device)
    path = folder / "baselines" / name
    recorded = path.with_name(f"{name}.json").exists() or any(path.glob("*.json"))
    if not recorded and not update:
        return
    item = BaselineItem.from_parent(
        BaselineFolder.from_parent(session, path=path),
        name="update" if update else "regression",
        tests=[item for item in found if item.path.parent == folder],
        generated=config.stash[_TESTS][folder],
    )
    config.stash[_ITEM] = item
    items.append(item)


def _require_recordable(options: Options, items: Sequence[pytest.Item]) -> None:
    """UsageError where the selected cells are not those that later sessions are compared on."""
    if not options.own_cells:
        named = "--strategy" if options.strategies else f"--{options.settings[0][0]}"
        raise pytest.UsageError(
            f"--update-baseline records the suite's own cells, and with {named.replace('_', '-')} "
            "it has others: leave out one of the two"
        )
    cells = [cell for item in items if (cell := cell_of(item)) is not None]
    if not cells:
        raise pytest.UsageError("--update-baseline: no cell is selected, so nothing to record")
    needed = max(cell.seeds for cell in cells)
    if options.seeds is not None and options.seeds < needed:
        raise pytest.UsageError(
            f"--update-baseline needs the suite's own {needed} seeds or more, got --seeds "
            f"{options.seeds}: later sessions could not be compared with fewer"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Refuse a baseline that does not fit, or could not be written, before anything is computed."""
    item = session.config.stash.get(_ITEM, None)
    if item is not None and item in session.items and not session.testsfailed:
        item.require_fitting()


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what the comparison found, above the table."""
    item = config.stash.get(_ITEM, None)
    if item is not None and item.remarks:
        terminalreporter.section("baseline")
        for line in item.remarks:
            terminalreporter.write_line(line)
