"""The pytest plugin: options, cells as parameters, runs in the background, table and reports.

A suite marks a test with ``@pytest.mark.cells(function=function)``; ``function(options)`` yields
the `Cell`s of the chosen profile, the test takes ``outcome`` and calls ``outcome.check()``. By
position a lambda is fine too; a named function is not, as pytest would take it for the test that
is marked. All runs that the selected cells need start when the tests do; each test waits for its
own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.session import (
    SESSION,
    Checked,
    publish,
    starts_here,
    suite_session,
    write_reports,
)
from fedcore.harness.plugin.xdist import (
    GATHERED,
    TIMING,
    Share,
    is_worker,
    receive,
    send,
    skip_timings,
)
from fedcore.harness.suite.collection import name_files_apart, named_cells
from fedcore.harness.suite.options import OPTIONS, Options, add_options
from fedcore.records.files import require_writable
from fedcore.scenario import naming

if TYPE_CHECKING:
    from fedcore.harness.suite.cells import Cell

pytest_plugins = ("fedcore.harness.plugin.baselines", "fedcore.harness.plugin.claims")

REMARKS = pytest.StashKey[list[str]]()

_REFUSED = pytest.StashKey[list[FedcoreError]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the suite."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options and declare the markers."""
    config.stash[REMARKS] = []
    config.addinivalue_line("markers", "cells(function=...): parametrize with the cells it yields")
    config.addinivalue_line("markers", f"{TIMING}: skipped beside others under pytest-xdist")
    config.addinivalue_line("markers", "case(**facts): what a cell is about, for exact selection")
    try:
        config.stash[OPTIONS] = Options.of(config.getoption)
    except FedcoreError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture
def remark(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that adds a line to the summary after the tests."""
    return request.config.stash[REMARKS].append


@pytest.fixture(scope="session")
def suite_options(request: pytest.FixtureRequest) -> Options:
    """The options of this session."""
    return request.config.stash[OPTIONS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests marked ``cells`` with the cells of the chosen profile."""
    marker = metafunc.definition.get_closest_marker("cells")
    if marker is None:
        return
    options = metafunc.config.stash[OPTIONS]
    cells: Sequence[Cell] = ()
    try:
        cells = named_cells(marker, metafunc.module, options)
        remarks = metafunc.config.stash[REMARKS]
        remarks += [note for note in options.notes if note not in remarks]
    except FedcoreError as error:
        # raised here it would be an error of collection, with a traceback and exit status 2
        metafunc.config.stash.setdefault(_REFUSED, []).append(error)
    none = pytest.mark.skip(reason=f"profile {options.profile} has no cells here")
    metafunc.parametrize(
        "cell",
        [pytest.param(cell, id=cell.id, marks=pytest.mark.case(**_facts(cell))) for cell in cells]
        or [pytest.param(None, id="none", marks=none)],
        scope="session",
    )


def _facts(cell: Cell) -> dict[str, Any]:
    """Marker values may be str, int, bool or None, so shares are given in percent."""
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


@pytest.hookimpl(tryfirst=True)  # before -k selects by the names
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name cells of several files apart; end with status 4 where the user asked for no cells.

    Timings beside other workers of pytest-xdist are skipped.
    """
    skip_timings(config, items)
    refused = dict.fromkeys(str(error) for error in config.stash.get(_REFUSED, ()))
    if refused:
        raise pytest.UsageError("\n".join(refused))
    changed = name_files_apart(items)
    if changed and config.getoption("update_baseline"):
        raise pytest.UsageError(f"--update-baseline: {changed}")
    if changed:
        config.stash[REMARKS].append(changed)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Before the first test: plan the selected cells and set the workers on.

    UsageError where --report names no place to write to: known now, not after hours of runs.
    """
    config = session.config
    options = config.stash[OPTIONS]
    computes = not config.option.collectonly and not is_worker(config)  # those write no report
    if options.report is not None and computes:
        try:
            require_writable(options.report)
        except FedcoreError as error:
            raise pytest.UsageError(f"--report: {error}") from error
    cells = selected(session.items)
    if cells and starts_here(session):
        suite_session(session.config, session.items).start(cells)


def selected(items: Iterable[pytest.Item]) -> list[Cell]:
    """The cells of the tests that will run, in their order."""
    found: dict[Any, None] = {}
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and item.get_closest_marker("cells"):
            found[callspec.params["cell"]] = None
    return [cell for cell in found if cell is not None]


@pytest.fixture
def outcome(cell: Cell, request: pytest.FixtureRequest) -> Checked:
    """The judged cell; its values also travel as JUnit properties."""
    judged = suite_session(request.config, [request.node]).judge(cell)
    publish(request.node, judged.properties())
    return judged


def pytest_sessionfinish(session: pytest.Session) -> None:
    """As a worker of pytest-xdist: tell the controller what was judged."""
    config = session.config
    if not is_worker(config):
        return
    share = Share(remarks=config.stash[REMARKS])
    suite = config.stash.get(SESSION, None)
    if suite is not None:
        places = {cell: place for place, cell in enumerate(selected(session.items))}
        share.outcomes = {places[outcome.cell]: outcome for outcome in suite.outcomes}
        share.origin = suite.lab.origin
        share.stored, share.made = suite.lab.progress.stored, len(suite.lab.computed())
    send(config, share)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """As the controller of pytest-xdist: collect what a worker has judged."""
    receive(node.config, getattr(node, "workeroutput", None) or {})


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table and write the reports."""
    if is_worker(config):
        return
    suite = config.stash.get(SESSION, None)
    gathered = config.stash.get(GATHERED, Share())
    outcomes = gathered.in_order if suite is None else suite.outcomes
    remarks = config.stash[REMARKS] + gathered.remarks
    if not outcomes and not remarks:
        return
    terminalreporter.section("fedcore")
    for line in dict.fromkeys(remarks):
        terminalreporter.write_line(line)
    if not outcomes:
        return
    from fedcore.harness.reports.files import summary_table
    from fedcore.harness.statistics.estimates import Verdict

    for name, verdict in (("unsure", Verdict.INCONCLUSIVE), ("without a limit", Verdict.NO_LIMIT)):
        skipped = [outcome for outcome in outcomes if outcome.verdict is verdict]
        if skipped:  # pytest counts in its last line whatever stands in its stats
            terminalreporter.stats[name] = skipped
    text = summary_table(outcomes)
    effort = gathered.effort if suite is None else suite.effort()
    for line in (text, effort, *write_reports(outcomes, config)):
        terminalreporter.write_line(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with open(summary, "a", encoding="utf-8") as file:
            file.write(f"```\n{text}\n```\n")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the workers."""
    suite = config.stash.get(SESSION, None)
    if suite is not None:
        suite.lab.close()
