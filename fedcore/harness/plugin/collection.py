"""Ids of the cells that a session collects: tests with different scenarios have different ones.

Within a file an id depends on nothing but the file: all tests marked ``cells`` count, selected or
not. Across files it depends on which of them are collected, where they share an id.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.harness.suite.options import Options

if TYPE_CHECKING:
    from fedcore.harness.suite.cells import Cell


def named_cells(marker: pytest.Mark, module: Any, options: Options) -> list[Cell]:
    """The cells of the test with ``marker``, named apart from all others of its ``module``.

    Raises what the suite's function raises.
    """
    from fedcore.harness.suite.cells import told_apart

    cells = list(_function(marker)(options))
    others: list[Cell] = []
    for other in _markers(module):
        if _function(other) is not _function(marker):
            with contextlib.suppress(Exception):  # its own test reports it
                others += _function(other)(options)
    return told_apart(cells, others)


def name_files_apart(items: list[pytest.Item]) -> str | None:
    """Rename, in place, the tests of different files that have different scenarios under one id.

    Returns what has been renamed and how to avoid it, None if nothing is.
    """
    tests = [(i, cell) for i, item in enumerate(items) if (cell := cell_of(item)) is not None]
    if len({items[i].path for i, _ in tests}) < 2:
        return None
    from fedcore.harness.plugin import baselines
    from fedcore.harness.suite.cells import told_apart

    distinct = list(dict.fromkeys(cell for _, cell in tests))
    renamed = dict(zip(distinct, told_apart(distinct), strict=True))
    changed = [(i, cell) for i, cell in tests if renamed[cell].id != cell.id]
    if not changed:
        return None
    files = sorted({items[i].path.name for i, _ in changed})
    for i, cell in changed:
        items[i] = _renamed(items[i], cell, renamed[cell])
        baselines.rename(items[i], cell.id, renamed[cell].id)
    return (
        f"{', '.join(files)} have different scenarios under one id, such as {changed[0][1].id}: "
        "their ids name what differs, and depend on which files are collected; give all grids "
        "one named_against"
    )


def cell_of(item: Any) -> Cell | None:
    """The cell of a test of a suite, None for other tests."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not item.get_closest_marker("cells"):
        return None
    found: Any = callspec.params.get("cell")  # a mark of pytest's where there were no cells
    return found if hasattr(found, "scenario") else None


def _renamed(item: Any, old: Cell, new: Cell) -> pytest.Item:
    """``item`` again, as pytest has made it, with ``new`` in place of ``old``."""
    spec = item.callspec
    ids = [
        one.replace(old.id, new.id, 1) if one.startswith(old.id) else one for one in spec._idlist
    ]
    spec = dataclasses.replace(spec, params={**spec.params, "cell": new}, _idlist=ids)
    made: pytest.Item = type(item).from_parent(
        item.parent,
        name=f"{item.originalname}[{spec.id}]",
        callspec=spec,
        fixtureinfo=item._fixtureinfo,
        keywords={spec.id: True},
        originalname=item.originalname,
    )
    return made


def _function(marker: pytest.Mark) -> Any:
    return marker.kwargs["function"] if "function" in marker.kwargs else marker.args[0]


def _markers(module: Any) -> Iterator[pytest.Mark]:
    """The marks of all functions of ``module`` that cells parametrize."""
    for value in vars(module).values():
        marks = getattr(value, "pytestmark", ())
        yield from (m for m in (marks if isinstance(marks, list) else ()) if m.name == "cells")
