"""Reports: results.json, from it results.csv, report.md, report.html, results.tex and figures."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedcore.errors import FedcoreError, ResultsError, StoreError
from fedcore.harness.reports import formats, privacy
from fedcore.harness.reports.costs import cost_rows
from fedcore.harness.reports.costs import left_out as costs_left_out
from fedcore.harness.reports.figures import drop_figure
from fedcore.harness.reports.learning import learning_figure
from fedcore.harness.reports.matrix import matrices
from fedcore.harness.reports.matrix_csv import matrices_csv
from fedcore.harness.reports.matrix_page import write_page
from fedcore.harness.reports.overall import left_out, overall
from fedcore.harness.reports.rows import row
from fedcore.harness.reports.sections import Section
from fedcore.harness.reports.table import terminal_document
from fedcore.harness.suite.outcome import Outcome
from fedcore.outside.files import read_text
from fedcore.outside.limits import JSON_BYTES
from fedcore.outside.text import read_json
from fedcore.records.stamp import stamp
from fedcore.records.store import write_atomically

RESULTS_SCHEMA = 1
RESULTS = "results.json"
MATRIX = "matrix.csv"
_FIGURE = "figures/drop.png"
_SURFACE = "figures/privacy.png"
_CURVES = "figures/curves.png"

Document = dict[str, Any]


def summary_table(outcomes: Sequence[Outcome]) -> str:
    """The tables for the terminal, at most 100 columns wide; then what noise does, if any."""
    content = _results(outcomes)
    private = privacy.table(content["cells"], privacy.noise_of(content))
    return "\n\n".join(filter(None, (terminal_document(content), private)))


def write_reports(
    outcomes: Sequence[Outcome],
    directory: Path,
    *,
    repeat: str,
    origin: Mapping[str, Any] | None = None,
    figures: bool = True,
) -> list[Path]:
    """Write all report files below ``directory``, made if need be; returns their paths.

    ``repeat`` is the command that makes these results, ``origin`` what they are made with and of
    (`fedcore.harness.suite.lab.Lab.origin`). Without ``figures``, which take a second, a note says
    so. Raises StoreError where nothing can be written.
    """
    return render(document(outcomes, repeat=repeat, origin=origin), directory, figures=figures)


def document(
    outcomes: Sequence[Outcome], *, repeat: str, origin: Mapping[str, Any] | None = None
) -> Document:
    """The content of results.json. No seconds: a stored record's are of another day."""
    return {**stamp(RESULTS_SCHEMA, repeat, origin), **_results(outcomes)}


def _results(outcomes: Sequence[Outcome]) -> Document:
    """What the outcomes say: a row for each, a line for each strategy, the costs of clean arms."""
    cells = [row(outcome) for outcome in outcomes]
    noise = asdict(outcomes[0].noise) if outcomes else None
    # a matrix has its own tables of worst cases and costs
    alone = [outcome for outcome in outcomes if outcome.cell.place is None]
    own = [cell for cell in cells if not cell.get("place")]
    return {
        "cells": cells,
        "overall": overall(own),
        "costs": cost_rows(alone),
        "left_out": {"overall": left_out(own), "costs": costs_left_out(alone)},
        "matrices": matrices(cells, noise),
        "noise": noise,  # between seeds, as the suite's thresholds have it
    }


def read_results(directory: Path) -> Document:
    """The content of ``directory``/results.json. Raises ResultsError with path and reason."""
    path = directory / RESULTS
    try:
        content = read_json(read_text(path, JSON_BYTES))
        schema = content["schema"]
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be read ({error.strerror or error}): name a directory that --report "
            "has written"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} holds no results: {error!r}") from error
    if schema != RESULTS_SCHEMA:
        raise ResultsError(
            f"{path} has schema {schema!r}, this version reads {RESULTS_SCHEMA}: make the report "
            "again with pytest benchmark --report DIR"
        )
    return dict(content)


def render(
    content: Document, directory: Path, *, figures: bool = True, sections: Sequence[Section] = ()
) -> list[Path]:
    """Write the report files of ``content``; returns their paths. StoreError if it cannot.

    ``sections`` stand in report.md and report.html behind what the results themselves say.

    Each file is replaced in one step, results.json first: what has been computed comes first.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return _render(content, directory, figures, sections)
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {directory} ({error.strerror or error}): name "
            "another directory"
        ) from error


def render_again(
    directory: Path, out: Path, sections: Sequence[Section] = ()
) -> tuple[str, list[Path]]:
    """Render ``directory``/results.json into ``out``: the terminal table and the paths written.

    With ``sections`` as of `render`.

    Raises StoreError where that is damaged or cannot be read or written.
    """
    content = read_results(directory)
    with _damaged(directory / RESULTS):
        return terminal_document(content), render(content, out, sections=sections)


def write_matrix_page(directory: Path, page: Path, source: str) -> None:
    """Write the matrices of ``directory``/results.json as the document ``page``.

    ``source`` is the command that does so. StoreError where that has none, is damaged, or the page
    cannot be written.
    """
    content = read_results(directory)
    with _damaged(directory / RESULTS):
        write_page(content, page, source)


@contextlib.contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Within it whatever content of another form makes a renderer raise is a ResultsError."""
    try:
        yield
    except (FedcoreError, OSError):
        raise
    except Exception as error:  # edited by hand, a value may be of any type
        raise ResultsError(f"{path} is damaged: {error!r}") from error


def _render(
    content: Document, directory: Path, figures: bool, sections: Sequence[Section]
) -> list[Path]:
    written = [directory / RESULTS]
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(written[0], text + "\n")
    notes = []
    figure = surface = curves = None
    try:
        if figures:
            figure = drop_figure(content["cells"])
            surface = privacy.figure(content["cells"])
            curves = learning_figure(content["cells"])
        else:
            notes.append("figures are left out after an interrupt: fedcore report draws them")
    except ImportError as error:
        notes.append(f"figures are left out: {error} (pip install matplotlib)")
    first = _FIGURE if figure is not None else None
    second = _SURFACE if surface is not None else None
    third = _CURVES if curves is not None else None
    tables = content.get("matrices") or []
    texts = {
        "results.csv": formats.to_csv(content),
        "report.md": formats.to_markdown(content, first, notes, second, third, sections),
        "report.html": formats.to_html(content, figure, notes, surface, curves, sections),
        "results.tex": formats.to_latex(content),
    }
    if tables:
        texts[MATRIX] = matrices_csv(tables)
    for file, text in texts.items():
        written.append(directory / file)
        write_atomically(written[-1], text)
    own = ((_FIGURE, figure), (_SURFACE, surface), (_CURVES, curves))
    for name, image in (*own, *((section.path, section.figure) for section in sections)):
        path = directory / name
        if image is None:
            path.unlink(missing_ok=True)  # of other results
            continue
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(image)
        os.replace(temporary, path)
        written.append(path)
    return written
