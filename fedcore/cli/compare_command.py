"""``fedcore compare``: what differs between two stored sessions, and whether it matters."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from pathlib import Path

from fedcore.errors import FedcoreError
from fedcore.outside.paths import expanded

NAME = "compare"
HELP = "compare two stored sessions, paired by scenario and seed"
DESCRIPTION = (
    "Compare two stored sessions: a directory of --results or --report, a results.json, or a "
    "recorded baseline. Runs are paired by scenario and seed. Exit status: 0 where nothing differs "
    "significantly, 1 where something does, in either direction, 2 where nothing can be compared."
)
ERROR = 2
CONFIDENCE = 0.995
RULES = {"auto": None, "exact": True, "statistical": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two sessions, by which rule, and where to write."""
    parser.add_argument("a", metavar="A", type=Path, help="the session compared with")
    parser.add_argument("b", metavar="B", type=Path, help="the session that is compared")
    parser.add_argument(
        "--rule",
        choices=tuple(RULES),
        default="auto",
        help="what counts: exact, any bit; statistical, what a test finds; auto (default), exact "
        "where one machine class made both",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        metavar="X",
        default=CONFIDENCE,
        help="probability, in [0.5, 1), that no test finds what is not there (default: "
        f"{CONFIDENCE})",
    )
    parser.add_argument(
        "--results",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="a further store with the runs, for the first round that differs; may be repeated",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything as JSON")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write it as a document")


def execute(options: argparse.Namespace) -> int:
    """Compare. What is missing, damaged or typed wrong ends with a message and status 2."""
    try:
        return _compare(options)
    except FedcoreError as error:  # 1 says that something differs
        print(f"fedcore compare: {error}", file=sys.stderr)
    except OSError as error:
        print(f"fedcore compare: {error.filename}: {error.strerror or error}", file=sys.stderr)
    return ERROR


def _compare(options: argparse.Namespace) -> int:
    from fedcore.harness.comparisons.comparison import compare_sides
    from fedcore.harness.comparisons.document import document
    from fedcore.harness.comparisons.read import read_side
    from fedcore.harness.comparisons.side import ComparisonError
    from fedcore.harness.comparisons.text import markdown, terminal
    from fedcore.records.store import write_atomically

    if not 0.5 <= options.confidence < 1:
        raise ComparisonError(f"--confidence must be in [0.5, 1), got {options.confidence:g}")
    results = list(map(expanded, options.results))
    a, b = (read_side(expanded(path), results) for path in (options.a, options.b))
    result = compare_sides(a, b, alpha=round(1 - options.confidence, 12), exact=RULES[options.rule])
    content = document(result, _command(options))
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    for path, what in ((options.json, text), (options.markdown, markdown(content))):
        if path is not None:
            path = expanded(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, what)
    _show(terminal(content))
    return int(content["status"])


def _show(text: str) -> None:
    """Print ``text``; a reader that has gone, as in ``| head``, leaves the exit status as it is."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(options: argparse.Namespace) -> str:
    """The command that compares the same again."""
    words = ["fedcore", "compare", str(options.a), str(options.b)]
    words += [f"--results={path}" for path in options.results]
    words += [f"--rule={options.rule}"] * (options.rule != "auto")
    words += [f"--confidence={options.confidence:g}"] * (options.confidence != CONFIDENCE)
    return shlex.join(words)
