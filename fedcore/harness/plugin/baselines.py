"""The judge of baselines: a test that compares the cells of a session with what is recorded.

Where cells are selected and ``baselines/`` beside the suite's tests has a folder for this data set,
profile and device, a test of its own comes last: ``baselines/<folder>::regression``. It is no part
of any selection, so that -k does not lose it. --update-baseline puts ``::update`` in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.baseline_item import BaselineFolder, BaselineItem
from fedcore.harness.plugin.collection import cell_of
from fedcore.harness.plugin.options import OPTIONS, option, usage_error
from fedcore.harness.plugin.xdist import distributed
from fedcore.harness.suite.options import Options

_TESTS = pytest.StashKey[dict[Path, dict[str, str]]]()
_ITEM = pytest.StashKey[BaselineItem]()


def require_one_process(config: pytest.Config) -> None:
    """Refuse what would record a part of the cells only."""
    config.stash[_TESTS] = {}
    if option(config, "update_baseline") and distributed(config):
        raise usage_error(config, "--update-baseline needs all cells in one process: leave out -n")


def note(config: pytest.Config, items: Iterable[Any]) -> None:
    """Note the cells of ``items``, which may not be selected later."""
    for item in items:
        cell = cell_of(item)
        if cell is not None and cell.place is None:
            tests = config.stash[_TESTS].setdefault(item.path.parent, {})
            tests[cell.id] = f"{item.path.name}::{item.originalname}"


def rename(item: Any, old: str, new: str) -> None:
    """Note that the cell ``old`` of ``item`` is named ``new``."""
    tests = item.config.stash[_TESTS].setdefault(item.path.parent, {})
    tests.pop(old, None)
    tests[new] = f"{item.path.name}::{item.originalname}"


def append(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Append the comparison, or the update, behind the selected tests."""
    # a matrix of defences is measured anew, and no part of what was recorded
    found = [i for i in items if (cell := cell_of(i)) is not None and cell.place is None]
    update = option(config, "update_baseline")
    if update:
        _require_recordable(config, found)
    # other cells are no part of what was recorded, and would make all of that look vanished
    own = config.stash[OPTIONS].own_cells
    off = not update and (option(config, "baseline") == "off" or not own)
    if not found or off or config.option.collectonly:
        return
    from fedcore.engine.execution import choose_device
    from fedcore.harness.baselines.file import folder_name

    options: Options = config.stash[OPTIONS]
    folder = found[0].path.parent
    try:
        device = choose_device(options.device).type
    except FedcoreError as error:
        raise usage_error(config, error) from error
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


def _require_recordable(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """UsageError where the selected cells are not those that later sessions are compared on."""
    options = config.stash[OPTIONS]
    if not options.own_cells:
        given = options.naming_option or f"--{options.settings[0][0]}"
        raise usage_error(
            config,
            f"--update-baseline records the suite's own cells, and with {given.replace('_', '-')} "
            "it has others: leave out one of the two",
        )
    cells = [cell for item in items if (cell := cell_of(item)) is not None]
    if not cells:
        raise usage_error(config, "--update-baseline: no cell is selected, so nothing to record")
    needed = max(cell.seeds for cell in cells)
    if options.seeds is not None and options.seeds < needed:
        raise usage_error(
            config,
            f"--update-baseline needs the suite's own {needed} seeds or more, got --seeds "
            f"{options.seeds}: later sessions could not be compared with fewer",
        )


def require_fitting(session: pytest.Session) -> None:
    """Refuse a baseline that does not fit, or could not be written, before anything is computed."""
    item = session.config.stash.get(_ITEM, None)
    if item is not None and item in session.items and not session.testsfailed:
        item.require_fitting()


def remarks(config: pytest.Config) -> list[str]:
    """What the comparison found, as lines for the summary."""
    item = config.stash.get(_ITEM, None)
    return [] if item is None else item.remarks
