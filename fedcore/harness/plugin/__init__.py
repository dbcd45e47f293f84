"""The pytest plugin: one for cells, claims and baselines, its hooks and fixtures.

A suite marks a test with ``@pytest.mark.cells(function=function)``; ``function(options)`` yields
the `Cell`s of the chosen profile, the test takes ``outcome`` and calls ``outcome.check()``. By
position a lambda is fine too; a named function is not, as pytest would take it for the test that
is marked. All runs that the selected cells need start when the tests do; each test waits for its
own. Claims are marked alike (`plugin.claims`); a baseline is compared where the suite has one
(`plugin.baselines`).

pytest loads this in every project of an environment that has fedcore, by its entry point of the
same name. So it imports nothing heavy, and does nothing, until a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin import baselines, cells, claims, foreign, options
from fedcore.harness.plugin.checked import publish
from fedcore.harness.plugin.options import OPTIONS
from fedcore.harness.plugin.session import (
    REMARKS,
    SESSION,
    OutOfTime,
    require_places,
    suite_session,
)
from fedcore.harness.plugin.unwritten import remember
from fedcore.harness.plugin.xdist import (
    TIMING,
    Share,
    end_for_workers,
    end_if_refused,
    is_worker,
    receive,
    refuse,
    send,
    skip_timings,
)

if TYPE_CHECKING:
    from fedcore.harness.claims.claims import Claim
    from fedcore.harness.plugin.checked import Checked
    from fedcore.harness.plugin.claim_session import CheckedClaim
    from fedcore.harness.suite.cells import Cell
    from fedcore.harness.suite.options import Options

_NAME = "fedcore.harness.plugin"
#: The suite that comes with fedcore, by the name that an installed one has.
_OWN_SUITE = "fedcore_benchmark"


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks of `hookspec`."""
    from fedcore.harness.plugin import hookspec

    pluginmanager.add_hookspecs(hookspec)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, all with a prefix."""
    options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    """Declare the short names, too, where the user asked for this plugin by its name.

    Not where pytest has found it among the installed ones: they may be others' names.
    """
    known = early_config.known_args_namespace
    own = known.pyargs and any(
        str(place).partition("::")[0].partition(".")[0] == _OWN_SUITE for place in known.file_or_dir
    )
    if not own and _NAME not in map(str.strip, known.plugins):
        return
    options.add_short_names(parser, early_config.pluginmanager)
    # read once more: the values of these options were taken for folders
    again = parser.parse_known_args(args, namespace=_copy(early_config.option))
    again.confcutdir = known.confcutdir
    early_config.known_args_namespace = again


def _copy(values: Any) -> Any:
    return type(values)(**vars(values))


def pytest_configure(config: pytest.Config) -> None:
    """Check the options and declare the markers."""
    config.stash[REMARKS] = []
    for marker in (
        "cells(function=...): parametrize with the cells it yields",
        "claims(function=...): parametrize with its claims",
        f"{TIMING}: skipped beside others under pytest-xdist",
        "case(**facts): what a cell is about, for exact selection",
    ):
        config.addinivalue_line("markers", marker)
    config.stash[OPTIONS] = options.options_of(config)
    baselines.require_one_process(config)


@pytest.fixture
def remark(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that adds a line to the summary after the tests."""
    return request.config.stash[REMARKS].append


@pytest.fixture(scope="session")
def suite_options(request: pytest.FixtureRequest) -> Options:
    """The options of this session."""
    return request.config.stash[OPTIONS]


@pytest.fixture
def outcome(cell: Cell, request: pytest.FixtureRequest) -> Checked:
    """The judged cell; its values also travel as JUnit properties."""
    try:
        judged = suite_session(request.config, [request.node]).judge(cell)
    except OutOfTime as end:
        pytest.skip(str(end))
    publish(request.node, judged.properties())
    return judged


@pytest.fixture
def claim_outcome(claim: Claim, request: pytest.FixtureRequest) -> CheckedClaim:
    """The judged claim; its verdict and figures also travel as JUnit properties."""
    judged = claims.judge(request, claim)
    publish(request.node, judged.properties())
    return judged


def pytest_pycollect_makemodule(parent: pytest.Collector) -> None:
    """Before a module is imported, which may name them: components of the conftest files."""
    foreign.register_components(parent.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that names what there is not is refused, as if its cells named it."""
    report = yield
    foreign.refuse_names(collector, report)
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests marked ``cells`` or ``claims`` with those of the chosen profile."""
    for judge in (cells, claims):
        marker = metafunc.definition.get_closest_marker(judge.MARKER)
        if marker is not None:
            judge.parametrize(metafunc, marker)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: Any) -> Generator[None, Any, Any]:
    """Note every cell of a suite, selected or not."""
    made = yield
    baselines.note(collector.config, made if isinstance(made, list) else ())
    return made


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Name cells apart before -k selects; then order what is left: cells, claims, the rest.

    The rest are timings, which have the cores for themselves once the workers are done, and last
    the comparison with the baseline. What the user asked for and cannot have ends with status 4.
    """
    skip_timings(config, items)
    end_if_refused(config, items)
    cells.name_apart(config, items)
    yield
    items.sort(key=_turn)
    _check_components(config, items)
    end_if_refused(config, items)
    baselines.append(session, config, items)


def _turn(item: pytest.Item) -> int:
    for turn, judge in enumerate((cells, claims)):
        if item.get_closest_marker(judge.MARKER):
            return turn
    return 2


def _check_components(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Refuse what no other process could import, and in a worker limits that cannot be read."""
    scenarios = [*cells.scenarios(items), *claims.scenarios(items)]
    if not scenarios:
        return
    note = options.taken_note(config)
    if note is not None and note not in config.stash[REMARKS]:
        config.stash[REMARKS].append(note)
    if config.option.collectonly:
        return
    refuse(config, *(options.spelled(config, m) for m in foreign.unimportable(config, scenarios)))
    if is_worker(config):  # each test would fail alike, and the controller cannot know
        try:
            cells.read_thresholds(config, items)
        except FedcoreError as error:
            refuse(config, options.spelled(config, str(error)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Before the first test: plan the selected cells and claims, and set the workers on.

    UsageError where --report names no place to write to, or the baseline does not fit: known now,
    not after hours of runs.
    """
    config = session.config
    if not config.option.collectonly and not is_worker(config):  # those write no report
        require_places(config)
    baselines.require_fitting(session)
    cells.begin(session)
    claims.begin(session)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """As a worker of pytest-xdist: tell the controller what was judged."""
    config = session.config
    remember(session)
    if not is_worker(config):
        end_for_workers(session)
        return
    share = Share(remarks=config.stash[REMARKS])
    cells.share(session, share)
    claims.share(session, share)
    send(config, share)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """As the controller of pytest-xdist: collect what a worker has judged."""
    receive(node.config, getattr(node, "workeroutput", None) or {})


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the tables and write the reports."""
    if not is_worker(config):
        from fedcore.harness.plugin import summary

        summary.show(terminalreporter, config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the workers."""
    suite = config.stash.get(SESSION, None)
    if suite is not None:
        suite.close()
