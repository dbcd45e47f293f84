"""The judge of cells: tests marked ``cells``, one for each cell of the chosen profile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.collection import cell_of, name_files_apart, named_cells
from fedcore.harness.plugin.limits import thresholds
from fedcore.harness.plugin.options import OPTIONS, option, spelled, usage_error
from fedcore.harness.plugin.session import REMARKS, SESSION, starts_here, suite_session
from fedcore.harness.plugin.xdist import Share, refuse

if TYPE_CHECKING:
    from fedcore.harness.suite.cells import Cell
    from fedcore.scenario import Scenario

MARKER = "cells"


def parametrize(metafunc: pytest.Metafunc, marker: pytest.Mark) -> None:
    """Give the test of ``metafunc`` the cells that ``marker`` names."""
    config = metafunc.config
    options = config.stash[OPTIONS]
    found: Sequence[Cell] = ()
    try:
        found = named_cells(marker, metafunc.module, options)
        remarks = config.stash[REMARKS]
        notes = [spelled(config, note) for note in options.notes]
        remarks += [note for note in notes if note not in remarks]
    except FedcoreError as error:
        # raised here it would be an error of collection, with a traceback and exit status 2
        refuse(config, spelled(config, str(error)))
    none = pytest.mark.skip(reason=f"profile {options.profile} has no cells here")
    metafunc.parametrize(
        "cell",
        [pytest.param(cell, id=cell.id, marks=pytest.mark.case(**_facts(cell))) for cell in found]
        or [pytest.param(None, id="none", marks=none)],
        scope="session",
    )


def _facts(cell: Cell) -> dict[str, Any]:
    """Marker values may be str, int, bool or None, so shares are given in percent."""
    from fedcore.scenario import naming

    scenario = cell.scenario
    return {
        "strategy": naming.strategy_token(scenario),
        "partition": scenario.partition,
        "attack": scenario.attack or "clean",
        "malicious": round(100 * scenario.malicious_fraction),
        "poison": round(100 * scenario.poison_ratio),
        "dataset": scenario.dataset,
        "model": scenario.model,
        "optimizer": scenario.optimizer,
        "privacy": scenario.privacy or "none",
        "epsilon": None if scenario.epsilon is None else naming.token(scenario.epsilon),
    }


def name_apart(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name cells of several files apart; UsageError where ids must not depend on the files."""
    changed = name_files_apart(items)
    if changed and option(config, "update_baseline"):
        raise usage_error(config, f"--update-baseline: {changed}")
    if changed:
        config.stash[REMARKS].append(changed)


def selected(items: Iterable[pytest.Item]) -> list[Cell]:
    """The cells of the tests that will run, in their order."""
    found = (cell_of(item) for item in items)
    return list(dict.fromkeys(cell for cell in found if cell is not None))


def scenarios(items: Iterable[pytest.Item]) -> list[Scenario]:
    """The arms of the cells of ``items``."""
    return [s for c in selected(items) for s in (c.scenario, c.control) if s is not None]


def read_thresholds(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Read the limits of the selected cells. Raises ThresholdError."""
    folder = next((i.path.parent for i in items if cell_of(i) is not None), None)
    if folder is not None:
        thresholds(config, folder)


def begin(session: pytest.Session) -> None:
    """Set the workers on what the selected cells need."""
    cells = selected(session.items)
    if cells and starts_here(session):
        suite_session(session.config, session.items).start(cells)


def share(session: pytest.Session, share: Share) -> None:
    """Add to ``share`` what this worker of pytest-xdist has judged."""
    suite = session.config.stash.get(SESSION, None)
    if suite is None:
        return
    places = {cell: place for place, cell in enumerate(selected(session.items))}
    share.outcomes = {places[outcome.cell]: outcome for outcome in suite.outcomes}
    share.origin = suite.lab.origin
    share.stored, share.made = suite.lab.progress.stored, len(suite.lab.computed())
