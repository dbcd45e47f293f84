"""The test that compares the cells of a session with their baseline, or records them.

On a machine class without a baseline of its own it takes the file of another class: see
`fedcore.harness.exact.machine_class.nearest`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.collection import cell_of
from fedcore.harness.plugin.options import OPTIONS, spelled, usage_error
from fedcore.harness.plugin.session import origin_of, suite_session
from fedcore.harness.plugin.unwritten import note_unwritten
from fedcore.harness.plugin.xdist import distributed

if TYPE_CHECKING:
    from fedcore.harness.baselines.comparison import Comparison
    from fedcore.harness.baselines.coverage import Coverage
    from fedcore.harness.baselines.file import Baseline, Origin
    from fedcore.harness.exact.changes import Traces
    from fedcore.harness.suite.cells import Cell
    from fedcore.harness.suite.outcome import Outcome
    from fedcore.scenario import Scenario


class BaselineFolder(pytest.File):
    """The folder of a suite's baselines, one file for each machine class; it may not exist yet."""

    def collect(self) -> list[pytest.Item]:
        return []


class BaselineItem(pytest.Item):
    """Compares the cells of ``tests`` with what is recorded, or records them.

    ``generated`` names the test of every cell of the suite, selected or not. ``remarks`` are lines
    for the summary.
    """

    def __init__(
        self, *, tests: list[pytest.Item], generated: dict[str, str], **keywords: Any
    ) -> None:
        super().__init__(**keywords)
        self.tests, self.generated = tests, generated
        self.remarks: list[str] = []
        self._read: tuple[Path, Baseline | None] | None = None

    @property
    def machine_class(self) -> str:
        """The class of this machine."""
        from fedcore.harness.exact.machine_class import machine_class

        return machine_class(suite_session(self.config, self.tests).lab.fingerprint)

    @property
    def recorded(self) -> tuple[Path, Baseline | None]:
        """The file that counts here, and what it holds. Raises `BaselineError`.

        Recording takes this machine class's own file, which may not exist; comparing takes that of
        another class where there is none.
        """
        from fedcore.harness.baselines.file import file_name, nearest_file

        if self._read is None:
            here = self.machine_class
            found = nearest_file(self.path, here)
            own = self.path / file_name(here)
            if self.name == "update" and (found is None or found[1].machine_class != here):
                found = None
            self._read = (own, None) if found is None else found
        return self._read

    @property
    def cells(self) -> dict[str, Cell]:
        """The selected cells by id."""
        return {cell.id: cell for item in self.tests if (cell := cell_of(item)) is not None}

    def runtest(self) -> None:
        """Compare or record. The cells have been judged by their own tests, as a rule."""
        if distributed(self.config):
            pytest.skip("a baseline is compared with all cells in one process: leave out -n")
        suite = suite_session(self.config, self.tests)
        known = {outcome.cell: outcome for outcome in suite.outcomes}
        outcomes = {
            name: known[cell] if cell in known else suite.lab.judge(cell)
            for name, cell in self.cells.items()
        }
        if self.name == "update":
            self._record(outcomes)
        else:
            self._compare(outcomes)

    def _compare(self, outcomes: dict[str, Outcome]) -> None:
        from fedcore.harness.baselines.comparison import against
        from fedcore.harness.baselines.document import properties
        from fedcore.harness.baselines.report import failures, headline, notes
        from fedcore.records.provenance import code_digest

        lab, here = suite_session(self.config).lab, self.machine_class
        path, recorded = self.recorded
        assert recorded is not None
        assert recorded.source is not None
        result = against(
            recorded,
            outcomes,
            self._traces(outcomes),
            self._coverage(),
            None if lab.together else here,
        )
        summary = f"baseline {self.path.name}/{path.name}: {headline(result)}"
        wrong = list(failures(result))
        remarks = [
            spelled(self.config, line)
            for line in notes(result, here, (recorded.source.code, code_digest()))
        ]
        self.user_properties += properties(result)
        self.user_properties += [("fedcore.baseline.failure", line) for line in wrong]
        self.remarks += [summary, *(f"  {line}" for line in (*remarks, *self._write(result, here)))]
        if wrong:
            accept = f"if this is meant: {self._update()}"
            pytest.fail("\n".join([f"{summary}: FAIL", *wrong, *remarks, accept]), pytrace=False)
        if not result.judged:
            pytest.skip("\n".join([f"{summary}: nothing to compare", *remarks]))

    def _write(self, result: Comparison, here: str) -> Iterator[str]:
        """Write baseline.json where the other results go; lines that say what came of it."""
        from fedcore.harness.baselines.document import document, write

        options = self.config.stash[OPTIONS]
        file = f"{self.path.name}/{self.recorded[0].name}"
        content = document(result, file, here, self._command(), origin_of(self.config))
        for place in filter(None, (options.results.resolve(), options.report)):
            try:
                yield f"written: {place.name}/{write(content, place).name}"
            except OSError as error:
                note_unwritten(self.config)
                yield f"the comparison could not be written to {place}: {error}"

    def _record(self, outcomes: dict[str, Outcome]) -> None:
        from fedcore.harness.baselines.comparison import sound
        from fedcore.harness.baselines.update import difference, updated
        from fedcore.records.store import write_atomically

        path, old = self.recorded
        coverage, traces = self._coverage(), self._traces(outcomes)
        try:
            new = updated(old, self._blank(), outcomes, traces, coverage, self._source())
        except FedcoreError as error:
            pytest.fail(f"{error}; the file stays as it is", pytrace=False)
        lines = list(difference(old, new))
        text = "nothing differs, the file stays as it is" if not lines else "what changes"
        name = f"{self.path.name}/{path.name}"
        self._show([f"baseline {name}: {text}", *(f"  {line}" for line in lines)])
        if lines:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, new.to_text())
            except OSError as error:
                pytest.fail(f"{path} cannot be written: {error}", pytrace=False)
            self._show([f"  written: {self.path.parent.name}/{name}"])
        missing = [name for name, outcome in outcomes.items() if not sound(outcome)]
        if missing:
            pytest.fail(f"not recorded, they have no values: {', '.join(missing)}", pytrace=False)

    def require_fitting(self) -> None:
        """UsageError, thus status 4, for a baseline of another kind of device or other data.

        And, before anything is computed, for an update that could not be written: cells that are
        not selected would keep numbers of another commit.
        """
        from fedcore.harness.baselines.update import require_fitting, require_one_source

        try:
            path, old = self.recorded
            if old is None:
                return
            require_fitting(old, self._blank(), f"{self.path.name}/{path.name}")
            if self.name == "update":
                coverage = self._coverage()
                kept = [
                    name
                    for name, entry in old.entries.items()
                    if name not in coverage.selected
                    and not (coverage.complete and coverage.gone(name, entry.test))
                ]
                require_one_source(old, self._source(), kept)
        except FedcoreError as error:
            raise usage_error(self.config, error) from error

    def _source(self) -> Origin:
        from fedcore.harness.baselines.update import source

        fingerprint = suite_session(self.config, self.tests).lab.fingerprint
        return source(fingerprint, self._update())

    def _traces(self, outcomes: dict[str, Outcome]) -> Traces:
        """The traces of the runs behind the sound ``outcomes``."""
        from fedcore.data.loading import load
        from fedcore.harness.baselines.comparison import sound
        from fedcore.harness.exact.changes import arms_of, traces_of
        from fedcore.records.record import Record
        from fedcore.records.store import Run

        lab = suite_session(self.config).lab

        def record(run: Run) -> Record:
            result = lab.result(run)
            assert isinstance(result, Record), "a sound outcome has all its records"
            return result

        runs = [
            Run(arm, seed)
            for outcome in outcomes.values()
            if sound(outcome)
            for arm in arms_of(outcome.cell.scenario)
            for seed in outcome.seeds
        ]

        def tested(scenario: Scenario) -> int:
            return len(load(scenario.data, lab.data_dir, scenario.image_size).test)

        return traces_of(runs, record, tested)

    def _blank(self) -> Baseline:
        """A baseline of this suite, device and data without any cell."""
        from fedcore.data.loading import load
        from fedcore.harness.baselines.file import Baseline

        lab, options = suite_session(self.config, self.tests).lab, self.config.stash[OPTIONS]
        data = {}
        scenarios = [cell.scenario for cell in self.cells.values()]
        for name, size in dict.fromkeys((s.dataset, s.image_size) for s in scenarios):
            try:
                data[name] = load(name, lab.data_dir, size).digest
            except FedcoreError:
                continue  # the cells tell
        return Baseline(options.dataset, options.profile, lab.device.type, self.machine_class, data)

    def _coverage(self) -> Coverage:
        from fedcore.harness.baselines.coverage import Coverage

        folder = self.tests[0].path.parent
        files = frozenset(path.name for path in folder.glob("*.py"))
        return Coverage(self.generated, frozenset(self.cells), files)

    def _command(self) -> str:
        """The command that selects these cells, without places that only this machine has."""
        repeat = suite_session(self.config).repeat
        places = "--data-dir=", "--fedcore-data-dir="
        parts = [part for part in shlex.split(repeat) if not part.startswith(places)]
        for flag, value in (
            ("-k", self.config.option.keyword),
            ("-m", self.config.option.markexpr),
        ):
            parts += [flag, value] if value else []
        return shlex.join(parts)

    def _update(self) -> str:
        """The command that records these cells."""
        return spelled(self.config, f"{self._command()} --update-baseline")

    def _show(self, lines: list[str]) -> None:
        """Print at once, whatever pytest captures."""
        reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        capture: Any = self.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            for line in lines:
                reporter.write_line(line)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name
