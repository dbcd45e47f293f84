"""``fedcore report``: write the report files of finished cells again, from results.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fedcore.outside.paths import expanded

NAME = "report"
HELP = "write report files again from a results.json"
DESCRIPTION = (
    "Render results.json of a report directory again: nothing is run, judged or timed. The report "
    "then also has the standings of its strategies: ranks, worst cases and performance profiles."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where from and where to."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="holds results.json")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: DIR)")
    parser.add_argument(
        "--page",
        metavar="FILE",
        type=Path,
        help="write the matrix of defences as this Markdown document, and nothing else; what was "
        "written by hand below its last line is kept",
    )
    parser.add_argument(
        "--history",
        metavar="BASELINE",
        type=Path,
        help="add what this baseline, a file or a folder of them, held from commit to commit",
    )
    parser.add_argument(
        "--claims",
        metavar="FILE",
        type=Path,
        help="write the claims of all claims*.json in DIR as this Markdown document, likewise",
    )


def execute(options: argparse.Namespace) -> int:
    """Render. Raises StoreError for results that cannot be read or a place without leave."""
    from fedcore.harness.comparisons.sections import report_sections
    from fedcore.harness.reports.files import render_again  # it loads torch, --help need not

    directory = expanded(options.directory)
    if options.page is not None:
        return _page(directory, expanded(options.page))
    if options.claims is not None:
        return _claims(directory, expanded(options.claims))
    out = directory if options.out is None else expanded(options.out)
    sections, notes = report_sections(directory, options.history)
    table, written = render_again(directory, out, sections)
    print("\n\n".join([table, *(section.text() for section in sections)]))
    for note in notes:
        print(f"fedcore report: {note}", file=sys.stderr)
    print("written: " + ", ".join(str(path) for path in written))
    return 0


def _page(directory: Path, page: Path) -> int:
    from fedcore.harness.reports.files import write_matrix_page

    write_matrix_page(directory, page, f"fedcore report {directory} --page {page}")
    print(f"written: {page}")
    return 0


def _claims(directory: Path, page: Path) -> int:
    from fedcore.harness.claims.page import write_claims_page

    write_claims_page(directory, page, f"fedcore report {directory} --claims {page}")
    print(f"written: {page}")
    return 0
