"""``fedcore report``: write the report files of finished cells again, from results.json."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "report"
HELP = "write report files again from a results.json"
DESCRIPTION = "Render results.json of a report directory again: nothing is run, judged or timed."


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
        "--claims",
        metavar="FILE",
        type=Path,
        help="write the claims of all claims*.json in DIR as this Markdown document, likewise",
    )


def execute(options: argparse.Namespace) -> int:
    """Render. Raises StoreError for results that cannot be read or a place without leave."""
    from fedcore.harness.reports.files import render_again  # it loads torch, --help need not

    if options.page is not None:
        return _page(options.directory, options.page)
    if options.claims is not None:
        return _claims(options.directory, options.claims)
    table, written = render_again(options.directory, options.out or options.directory)
    print(table)
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
