"""One pytest session of a suite: its lab, what it has judged so far, and what it prints."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.checked import Checked, repeat
from fedcore.harness.plugin.interrupts import SessionInterrupts
from fedcore.harness.plugin.limits import thresholds
from fedcore.harness.plugin.options import OPTIONS, spelled, usage_error
from fedcore.harness.plugin.unwritten import unwritten
from fedcore.harness.plugin.xdist import GATHERED, Share
from fedcore.records.files import require_writable

if TYPE_CHECKING:
    from fedcore.harness.suite.cells import Cell
    from fedcore.harness.suite.lab import Progress
    from fedcore.harness.suite.outcome import Outcome
    from fedcore.harness.suite.thresholds import Thresholds
    from fedcore.records.store import Run
    from fedcore.scenario import Scenario

SESSION = pytest.StashKey["SuiteSession"]()
#: Lines for the summary.
REMARKS = pytest.StashKey[list[str]]()


class OutOfTime(Exception):
    """The hours that a session was given are over before the runs of a cell are there."""


class SuiteSession:
    """The lab of a session and the outcomes so far. Raises FedcoreError where it cannot start."""

    def __init__(self, config: pytest.Config, limits: Thresholds) -> None:
        # late: it imports torch, and most pytest sessions of this repository need no lab
        from fedcore.harness.suite.lab import Lab

        self.config = config
        self.options = config.stash[OPTIONS]
        self.lab = Lab(self.options, limits)
        self._outcomes: dict[Cell, Outcome] = {}
        self._first_verdict: float | None = None
        self.interrupts = SessionInterrupts(config, self.lab, config.stash[REMARKS])

    def start(self, cells: Sequence[Cell]) -> None:
        """Set the workers on what ``cells`` need, and say what that is.

        UsageError where data or weights are missing, or no engine fits, so that no run can be made.
        """
        arms = [(arm, cell) for cell in cells for arm in (cell.scenario, cell.control)]
        needs = {
            arm: self.options.seeds or max(cell.looks()) for arm, cell in arms if arm is not None
        }
        self.require_asked([cell.scenario for cell in cells])
        self.require_dealt(needs)
        self.begin(self.lab.plan(cells))
        self.require_any()
        self.lab.expect(cells)
        for note in self.options.notes:
            self.say(f"fedcore: {spelled(self.config, note)}")
        progress = self.lab.progress
        ray = self.options.executor == "ray"
        jobs = _count(self.lab.jobs, "Ray worker" if ray else "worker")
        self.say(
            f"fedcore: {_count(len(cells), 'cell')}, {_count(progress.planned, 'run')}: "
            f"{progress.stored} stored, {progress.planned - progress.finished} to make with "
            f"{jobs} on {self.lab.device.type}, {progress.examples / 1e6:.2g} M training examples"
        )

    def begin(self, runs: Iterable[Run]) -> None:
        """Find or start ``runs``; warnings about stored records join pytest's summary."""
        # outside of tests pytest shows no warnings, and under -W error one would end the session
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.lab.begin(runs)
        for warning in caught:
            self.config.hook.pytest_warning_recorded.call_historic(
                kwargs={
                    "warning_message": warning,
                    "when": "config",
                    "nodeid": "fedcore",
                    "location": None,
                }
            )

    def require_asked(self, scenarios: Sequence[Scenario]) -> None:
        """UsageError for a requirement of the command line that no cell is asked.

        One of the file is named in the summary: the selection may leave its cells out.
        """
        from fedcore.harness.suite.requirements import unasked

        names = unasked(self.lab.thresholds.requirements, scenarios)
        given = [name for name in names if not name.startswith("require.")]
        if given:
            raise usage_error(
                self.config,
                f"--{given[0]}: none of the selected cells fits: correct its conditions",
            )
        self.config.stash[REMARKS] += [f"{name}: none of the selected cells fits" for name in names]

    def require_dealt(self, needs: Mapping[Scenario, int]) -> None:
        """UsageError, once and before the first run, where data cannot be dealt to the clients.

        ``needs`` has the number of seeds by scenario.
        """
        from fedcore.harness.suite.targets import undealt

        if reasons := undealt(needs, self.options):
            raise usage_error(
                self.config,
                "these partitions of the suite cannot be dealt, so no run was made:\n  "
                + "\n  ".join(reasons)
                + "\nset --alpha or --num-clients, or leave out their cells with -k",
            )

    def require_any(self) -> None:
        """UsageError where, of all that has begun, no run can be made."""
        if refusals := self.lab.refusals:
            raise usage_error(self.config, "\n".join(refusals))

    def judge(self, cell: Cell) -> Checked:
        """The outcome of ``cell``, which joins the table; `OutOfTime` after --hours."""
        from fedcore.records.store import StoreWarning

        def tick(progress: Progress) -> None:
            self._tell_losses()
            self._require_time(cell)
            self._tick(progress)

        self._require_time(cell)
        with warnings.catch_warnings():
            warnings.simplefilter("always", StoreWarning)  # a warning even under -W error
            outcome = self.lab.judge(cell, tick)
        self._tell_losses()
        self._outcomes[cell] = outcome
        if self._first_verdict is None:
            self._first_verdict = self.lab.progress.seconds
        return Checked(outcome, self.config, self.lab.thresholds.path is not None)

    @property
    def outcomes(self) -> list[Outcome]:
        """One for each cell, in the order of first judgement: the last one of it counts.

        A cell is judged several times where its test is rerun or repeated, or where several tests
        have it. Cells with other seeds or controls are others, even on one scenario.
        """
        return list(self._outcomes.values())

    @property
    def repeat(self) -> str:
        """The command line that selected this session, without -k and -m."""
        return repeat(self.config)

    def effort(self) -> str:
        """What this session computed itself; a timing never comes from the store."""
        made, seconds = self.lab.computed(), self.lab.last_result
        text = (
            f"{self.lab.progress.stored} runs from the store, {len(made)} made in {seconds:.0f} s"
        )
        if made:
            busy = sum(r.timings.total for r in made) / (seconds * self.lab.jobs)
            text += (
                f": {sum(r.examples for r in made) / seconds:,.0f} training examples/s, workers "
                f"{100 * busy:.0f} % busy, first verdict after {self._first_verdict:.0f} s"
            )
        return text

    def _tell_losses(self) -> None:
        """Name the workers that were lost, now and in the summary."""
        for line in self.lab.incidents():
            self.say(f"fedcore: {line}")
            self.config.stash[REMARKS].append(line)

    def close(self) -> None:
        """End the workers."""
        self.lab.close()
        self.interrupts.close()

    def _require_time(self, cell: Cell) -> None:
        """Raise OutOfTime where --hours are over and runs of ``cell`` are still to be made."""
        hours = self.options.hours
        if hours is None or self.lab.progress.seconds < 3600 * hours or self.lab.known(cell):
            return
        raise OutOfTime(f"not measured: the {hours:g} hours of --hours are over")

    def _tick(self, progress: Progress) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        capture: Any = self.config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or not reporter.isatty or self.config.option.verbose < 0:
            return
        shown = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
        with shown:
            left = "" if progress.remaining is None else f", about {progress.remaining:.0f} s to go"
            line = f"{progress.finished}/{progress.planned} runs, {progress.seconds:.0f} s{left} "
            reporter.rewrite(f"\r{line}", erase=True)

    def say(self, line: str) -> None:
        """Write ``line`` to the terminal, unless it is to be quiet."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and self.config.option.verbose >= 0:
            reporter.ensure_newline()
            reporter.write_line(line)


def write_reports(outcomes: Sequence[Outcome], config: pytest.Config) -> list[str]:
    """Write the report files; a line for each place, or what kept it from being written."""
    from fedcore.harness.reports import files

    origin = origin_of(config)
    options = config.stash[OPTIONS]
    suite = config.stash.get(SESSION, None)
    figures = suite is None or not suite.interrupts.happened
    lines: list[str] = []
    for place in filter(None, (options.results.resolve(), options.report)):
        with unwritten(config, lines.append, f"the report to {place}"):
            files.write_reports(
                outcomes, place, repeat=repeat(config), origin=origin, figures=figures
            )
            lines.append(f"written: {_relative(place)}/results.json, .csv, .tex, report.md, .html")
    return lines


def origin_of(config: pytest.Config) -> dict[str, Any]:
    """What the session's numbers are made with and of; under pytest-xdist its workers say it."""
    suite = config.stash.get(SESSION, None)
    return config.stash.get(GATHERED, Share()).origin if suite is None else suite.lab.origin


def starts_here(session: pytest.Session) -> bool:
    """Whether this process plans all runs: under xdist each runs what its own tests need."""
    config = session.config
    if config.option.collectonly or session.testsfailed:
        return False
    return not hasattr(config, "workerinput") and not getattr(config.option, "numprocesses", 0)


def suite_session(
    config: pytest.Config, items: Iterable[Any] = (), marker: str = "cells"
) -> SuiteSession:
    """The session's lab, made on first use; its limits are those of the marked tests."""
    if SESSION not in config.stash:
        folder = next(item.path.parent for item in items if item.get_closest_marker(marker))
        try:
            config.stash[SESSION] = SuiteSession(config, thresholds(config, folder))
        except FedcoreError as error:
            raise usage_error(config, error) from error
    return config.stash[SESSION]


def require_places(config: pytest.Config) -> None:
    """UsageError where --report names no place to write to."""
    report = config.stash[OPTIONS].report
    if report is None:
        return
    try:
        require_writable(report)
    except FedcoreError as error:
        raise usage_error(config, f"--report: {error}") from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _relative(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
