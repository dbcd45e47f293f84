"""The test that compares the cells of a session with their baseline, or records them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.options import OPTIONS
from fedcore.harness.session import origin_of, suite_session

if TYPE_CHECKING:
    from fedcore.harness.baseline import Comparison
    from fedcore.harness.baseline_coverage import Coverage
    from fedcore.harness.baseline_file import Baseline
    from fedcore.harness.cells import Cell
    from fedcore.harness.outcome import Outcome


class BaselineFile(pytest.File):
    """The file of a baseline, which may not exist yet."""

    def collect(self) -> list[pytest.Item]:
        return []


class BaselineItem(pytest.Item):
    """Compares the cells of ``tests`` with ``recorded``, or records them.

    ``generated`` names the test of every cell of the suite, selected or not. ``remarks`` are lines
    for the summary.
    """

    def __init__(
        self,
        *,
        tests: list[pytest.Item],
        generated: dict[str, str],
        recorded: Baseline | None,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        self.tests, self.generated, self.recorded = tests, generated, recorded
        self.remarks: list[str] = []

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
        from fedcore.harness.baseline import against
        from fedcore.harness.baseline_document import properties
        from fedcore.harness.baseline_report import failures, headline, notes

        lab = suite_session(self.config).lab
        here = lab.fingerprint
        assert self.recorded is not None
        result = against(self.recorded, outcomes, self._coverage(), lab.thresholds.noise, here)
        summary = f"baseline {self.path.name}: {headline(result)}"
        wrong, remarks = list(failures(result)), list(notes(result, here))
        self.user_properties += properties(result)
        self.user_properties += [("fedcore.baseline.failure", line) for line in wrong]
        self.remarks += [summary, *(f"  {line}" for line in (*remarks, *self._write(result, here)))]
        if wrong:
            accept = f"if this is meant: {self._command()} --update-baseline"
            pytest.fail("\n".join([f"{summary}: FAIL", *wrong, *remarks, accept]), pytrace=False)
        if not result.judged:
            pytest.skip("\n".join([f"{summary}: nothing to compare", *remarks]))

    def _write(self, result: Comparison, here: str) -> Iterator[str]:
        """Write baseline.json where the other results go; lines that say what came of it."""
        from fedcore.harness.baseline_document import document, write

        options = self.config.stash[OPTIONS]
        origin = origin_of(self.config)
        content = document(result, self.path.name, here, self._command(), origin)
        for place in filter(None, (options.results.resolve(), options.report)):
            try:
                yield f"written: {place.name}/{write(content, place).name}"
            except OSError as error:
                yield f"the comparison could not be written to {place}: {error}"

    def _record(self, outcomes: dict[str, Outcome]) -> None:
        from fedcore.harness.baseline import sound
        from fedcore.harness.baseline_update import difference, source, updated
        from fedcore.harness.store import write_atomically

        here = suite_session(self.config).lab.fingerprint
        made = source(here, f"{self._command()} --update-baseline")
        new = updated(self.recorded, self._blank(), outcomes, self._coverage(), made)
        lines = list(difference(self.recorded, new))
        text = "nothing differs, the file stays as it is" if not lines else "what changes"
        self._show([f"baseline {self.path.name}: {text}", *(f"  {line}" for line in lines)])
        if lines:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.path, new.to_text())
            except OSError as error:
                pytest.fail(f"{self.path} cannot be written: {error}", pytrace=False)
            self._show([f"  written: {self.path.parent.name}/{self.path.name}"])
        missing = [name for name, outcome in outcomes.items() if not sound(outcome)]
        if missing:
            pytest.fail(f"not recorded, they have no values: {', '.join(missing)}", pytrace=False)

    def require_fitting(self) -> None:
        """UsageError, thus status 4, for a baseline of another kind of device or other data."""
        from fedcore.harness.baseline_update import require_fitting

        try:
            if self.recorded is not None:
                require_fitting(self.recorded, self._blank(), self.path.name)
        except FedcoreError as error:
            raise pytest.UsageError(str(error)) from error

    def _blank(self) -> Baseline:
        """A baseline of this suite, device and data without any cell."""
        from fedcore.data.loading import load
        from fedcore.harness.baseline_file import Baseline

        lab, options = suite_session(self.config, self.tests).lab, self.config.stash[OPTIONS]
        data = {}
        scenarios = [cell.scenario for cell in self.cells.values()]
        for name, size in dict.fromkeys((s.dataset, s.image_size) for s in scenarios):
            try:
                data[name] = load(name, lab.data_dir, size).digest
            except FedcoreError:
                continue  # the cells tell
        return Baseline(options.dataset, options.profile, lab.device.type, data, {})

    def _coverage(self) -> Coverage:
        from fedcore.harness.baseline_coverage import Coverage

        folder = self.tests[0].path.parent
        files = frozenset(path.name for path in folder.glob("*.py"))
        return Coverage(self.generated, frozenset(self.cells), files)

    def _command(self) -> str:
        """The command that selects these cells, without places that only this machine has."""
        repeat = suite_session(self.config).repeat
        parts = [part for part in shlex.split(repeat) if not part.startswith("--data-dir=")]
        for flag, value in (
            ("-k", self.config.option.keyword),
            ("-m", self.config.option.markexpr),
        ):
            parts += [flag, value] if value else []
        return shlex.join(parts)

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


def cell_of(item: Any) -> Cell | None:
    """The cell of a test of a suite, None for other tests."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not item.get_closest_marker("cells"):
        return None
    found: Any = callspec.params.get("cell")  # a mark of pytest's where there were no cells
    return found if hasattr(found, "scenario") else None


def distributed(config: pytest.Config) -> bool:
    """Whether pytest-xdist spreads the tests over processes."""
    return hasattr(config, "workerinput") or bool(getattr(config.option, "numprocesses", 0))
