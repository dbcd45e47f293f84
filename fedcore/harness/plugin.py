"""The pytest plugin: options, cells as parameters, runs in the background, table and reports.

A suite marks a test with ``@pytest.mark.cells(function)``; ``function(options)`` yields the
`Cell`s of the chosen profile, the test takes ``outcome`` and calls ``outcome.check()``. All runs
that the selected cells need start when the tests do; each test waits for its own.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.options import Options, add_options

if TYPE_CHECKING:
    from fedcore.harness.cells import Cell
    from fedcore.harness.lab import Lab, Progress
    from fedcore.harness.outcome import Outcome

OPTIONS = pytest.StashKey[Options]()
SESSION = pytest.StashKey["SuiteSession"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the suite."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options and declare the markers."""
    config.addinivalue_line("markers", "cells(function): parametrize with the cells it yields")
    config.addinivalue_line("markers", "case(**facts): what a cell is about, for exact selection")
    try:
        config.stash[OPTIONS] = Options.of(config.getoption)
    except FedcoreError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def suite_options(request: pytest.FixtureRequest) -> Options:
    """The options of this session."""
    return request.config.stash[OPTIONS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests marked ``cells`` with the cells of the chosen profile."""
    marker = metafunc.definition.get_closest_marker("cells")
    if marker is None:
        return
    try:
        cells: Sequence[Cell] = list(marker.args[0](metafunc.config.stash[OPTIONS]))
    except FedcoreError as error:
        raise pytest.UsageError(str(error)) from error
    metafunc.parametrize(
        "cell",
        [pytest.param(cell, id=cell.id, marks=pytest.mark.case(**_facts(cell))) for cell in cells],
        scope="session",
    )


def _facts(cell: Cell) -> dict[str, Any]:
    """Marker values may be str, int, bool or None, so shares are given in percent."""
    scenario = cell.scenario
    return {
        "strategy": scenario.strategy,
        "partition": scenario.partition,
        "attack": scenario.attack or "clean",
        "malicious": round(100 * scenario.malicious_fraction),
        "poison": round(100 * scenario.poison_ratio),
        "dataset": scenario.dataset,
        "model": scenario.model,
        "optimizer": scenario.optimizer,
    }


class SuiteSession:
    """The lab of a session and what it has judged so far."""

    def __init__(self, config: pytest.Config, thresholds: Path) -> None:
        from fedcore.harness.lab import Lab
        from fedcore.harness.thresholds import Thresholds

        self.config = config
        self.lab = Lab(config.stash[OPTIONS], Thresholds.read(thresholds))
        self.outcomes: list[Outcome] = []
        self.first_verdict: float | None = None

    def judge(self, cell: Cell) -> Outcome:
        """The outcome of ``cell``, which joins the table."""
        outcome = self.lab.judge(cell, self._tick)
        self.outcomes.append(outcome)
        if self.first_verdict is None:
            self.first_verdict = self.lab.progress.seconds
        return outcome

    def _tick(self, progress: Progress) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or not reporter.isatty or self.config.option.verbose < 0:
            return
        line = f"{progress.finished}/{progress.planned} runs, {progress.seconds:.0f} s "
        with capture.global_and_fixture_disabled() if capture else _nothing():
            reporter.rewrite(f"\r{line}", erase=True)


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def pytest_runtestloop(session: pytest.Session) -> None:
    """Before the first test: plan the selected cells, say so, and set the workers on."""
    if session.config.option.collectonly or session.testsfailed:
        return
    cells = selected(session.items)
    if not cells or hasattr(session.config, "workerinput"):  # under xdist each test runs its own
        return
    suite = suite_session(session.config, session.items)
    progress = suite.lab.start(cells)
    _say(
        session.config,
        f"fedcore: {len(cells)} cells need {progress.planned} runs, {progress.stored} stored; "
        f"{progress.planned - progress.finished} to make with {suite.lab.jobs} "
        f"worker{'s' if suite.lab.jobs > 1 else ''} on {suite.lab.device.type}",
    )


def selected(items: Iterable[pytest.Item]) -> list[Cell]:
    """The cells of the tests that will run, in their order."""
    found: dict[Any, None] = {}
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and item.get_closest_marker("cells"):
            found[callspec.params["cell"]] = None
    return list(found)


def suite_session(config: pytest.Config, items: Iterable[pytest.Item] = ()) -> SuiteSession:
    """The session's lab, made on first use; the suite's thresholds.toml lies beside its tests."""
    if SESSION not in config.stash:
        folder = next(item.path.parent for item in items if item.get_closest_marker("cells"))
        try:
            config.stash[SESSION] = SuiteSession(config, folder / "thresholds.toml")
        except FedcoreError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[SESSION]


def _say(config: pytest.Config, line: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and config.option.verbose >= 0:
        reporter.ensure_newline()
        reporter.write_line(line)


@pytest.fixture
def outcome(cell: Cell, request: pytest.FixtureRequest) -> Iterator[Checked]:
    """The judged cell; its values also travel as JUnit properties."""
    suite = suite_session(request.config, [request.node])
    judged = suite.judge(cell)
    properties = request.node.user_properties
    properties.append(("fedcore.id", cell.id))
    properties.append(("fedcore.verdict", judged.verdict.name.lower()))
    for gate in judged.gates:
        found = gate.estimate
        text = f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}] {gate.threshold.limit}"
        properties.append((f"fedcore.{gate.threshold.metric}", text))
    yield Checked(judged, repeat_command(request.config))


class Checked:
    """An outcome that a test can check."""

    def __init__(self, outcome: Outcome, repeat: str) -> None:
        self.outcome = outcome
        self.repeat = repeat

    def check(self) -> None:
        """Fail unless every gate holds; skip, saying so, where the seeds leave it open."""
        from fedcore.harness.gates import Verdict
        from fedcore.harness.report import explain

        __tracebackhide__ = True
        verdict = self.outcome.verdict
        if verdict is Verdict.INCONCLUSIVE:
            pytest.skip(explain(self.outcome, self.repeat))
        if verdict is not Verdict.PASS:
            pytest.fail(explain(self.outcome, self.repeat), pytrace=False)


def repeat_command(config: pytest.Config) -> str:
    """The command line that selected this session, without -k and -m."""
    options = config.stash[OPTIONS]
    parts = ["pytest", "benchmark"]
    default = Options()
    for name in ("dataset", "data_dir", "model", "profile", "seeds", "device"):
        value = getattr(options, name)
        if value != getattr(default, name):
            parts.append(f"--{name.replace('_', '-')}={value}")
    return " ".join(parts)


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table and write the reports."""
    suite = config.stash.get(SESSION, None)
    if suite is None or not suite.outcomes:
        return
    from fedcore.harness.report import summary_lines, table, write_reports

    terminalreporter.section("fedcore")
    text = table(suite.outcomes)
    terminalreporter.write_line(text)
    for line in summary_lines(suite.outcomes, suite.lab.progress, suite.lab.computed()):
        terminalreporter.write_line(line)
    repeat = repeat_command(config)
    places = [suite.lab.store.root]
    if suite.lab.options.report is not None:
        places.append(suite.lab.options.report)
    for place in places:
        try:
            write_reports(suite.outcomes, place, repeat=repeat)
            terminalreporter.write_line(f"results: {_relative(place)}/results.json, .csv, report.md")
        except OSError as error:
            warnings.warn(f"the report could not be written to {place}: {error}", stacklevel=1)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with open(summary, "a", encoding="utf-8") as file:
            file.write(f"```\n{text}\n```\n")


def _relative(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the workers."""
    suite = config.stash.get(SESSION, None)
    if suite is not None:
        suite.lab.close()
