"""What a session prints after its tests: baseline, cells and claims, and the files it writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fedcore.harness.plugin import baselines, claims
from fedcore.harness.plugin.session import REMARKS, SESSION, write_reports
from fedcore.harness.plugin.unwritten import note_unwritten, unwritten
from fedcore.harness.plugin.xdist import GATHERED, Share


def show(reporter: Any, config: pytest.Config) -> None:
    """Print the sections that have lines; their tables also go to the summary of a CI job."""
    gathered = config.stash.get(GATHERED, Share())
    for message in dict.fromkeys(gathered.refusals):
        reporter.write_line(f"ERROR: {message}", red=True)
    tables: list[str] = []
    sections = {
        "baseline": baselines.remarks(config),
        "fedcore": list(_cells(reporter, config, gathered, tables)),
        "fedcore: claims": list(_claims(config, tables)),
    }
    for title, lines in sections.items():
        if lines:
            reporter.section(title)
        for line in lines:
            reporter.write_line(line)
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path and tables:
        what = f"the summary {path}"
        with (
            unwritten(config, reporter.write_line, what),
            open(path, "a", encoding="utf-8") as file,
        ):
            file.writelines(f"```\n{table}\n```\n" for table in tables)


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def _cells(
    reporter: Any, config: pytest.Config, gathered: Share, tables: list[str]
) -> Iterator[str]:
    """Remarks, the table, what was computed and where it is written."""
    suite = config.stash.get(SESSION, None)
    outcomes = gathered.in_order if suite is None else suite.outcomes
    yield from dict.fromkeys(config.stash[REMARKS] + gathered.remarks)
    if suite is not None and (message := suite.lab.unwritten.message()) is not None:
        note_unwritten(config)
        yield message
    if not outcomes:
        return
    from fedcore.harness.reports.files import summary_table

    _count(reporter, outcomes)
    tables.append(summary_table(outcomes))
    yield tables[-1]
    yield gathered.effort if suite is None else suite.effort()
    yield from write_reports(outcomes, config)


def _count(reporter: Any, outcomes: Sequence[Any]) -> None:
    """Have pytest count in its last line what was skipped: it counts what stands in its stats."""
    from fedcore.harness.statistics.estimates import CellVerdict

    for name, verdict in (
        ("unsure", CellVerdict.INCONCLUSIVE),
        ("without a limit", CellVerdict.NO_LIMIT),
    ):
        skipped = [outcome for outcome in outcomes if outcome.verdict is verdict]
        if skipped:
            reporter.stats[name] = skipped


def _claims(config: pytest.Config, tables: list[str]) -> Iterator[str]:
    """The table of claims and where claims.json, claims.md and claims.toml are written."""
    judged = claims.judged(config)
    if not judged:
        return
    from fedcore.harness.claims.report import claims_table
    from fedcore.harness.plugin.claim_session import write

    tables.append(claims_table(judged))
    yield tables[-1]
    yield from write(config, judged)
