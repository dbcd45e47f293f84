"""The sections that ``fedcore report`` adds to a report: standings, the history of a baseline."""

from __future__ import annotations

from pathlib import Path

from fedcore.harness.comparisons.from_results import side_of_results
from fedcore.harness.comparisons.history import NoHistory
from fedcore.harness.comparisons.history_section import history_section
from fedcore.harness.comparisons.side import ComparisonError
from fedcore.harness.comparisons.standings import standings
from fedcore.harness.comparisons.standings_section import standing_sections
from fedcore.harness.reports.files import RESULTS, read_results
from fedcore.harness.reports.sections import Section


def report_sections(directory: Path, baseline: Path | None) -> tuple[list[Section], list[str]]:
    """The sections for the results in ``directory``, and notes on what is left out.

    Standings where two strategies or more have converged in common cells, and the history of
    ``baseline`` where git has one. Raises StoreError for results that cannot be read, and
    ComparisonError for a ``baseline`` that does not exist.
    """
    content = read_results(directory)
    notes: list[str] = []
    sections: list[Section] = []
    try:
        side = side_of_results(content, str(directory), str(directory / RESULTS))
        sections += standing_sections(standings(side))
    except ComparisonError as error:
        notes.append(f"standings are left out: {error}")
    if baseline is not None:
        try:
            sections.append(history_section(baseline))
        except NoHistory as error:
            notes.append(f"the history of {baseline} is left out: {error}")
    return sections, notes
