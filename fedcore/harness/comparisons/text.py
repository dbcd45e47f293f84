"""A comparison as text for the terminal and as Markdown, from the content of its JSON."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from fedcore.harness.comparisons.standings_section import rank_text
from fedcore.harness.reports.narrow import NARROW, WIDTH
from fedcore.harness.reports.summaries import number

Content = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]
#: Lines of a list and of a table on the terminal; Markdown and JSON have them all.
_SHOWN, _ROWS = 12, 24


def terminal(content: Content) -> str:
    """What ``fedcore compare`` prints, at most 100 columns wide; long names go on a line more."""
    parts = ["\n".join(_wrapped(list(_sides(content))))]
    for title, lines in _lists(content):
        shown = [*lines[:_SHOWN], *[f"and {len(lines) - _SHOWN} more"] * (len(lines) > _SHOWN)]
        parts.append("\n".join([*_wrapped([title]), *_wrapped(shown, "  ")]))
    for title, (head, rows) in _tables(content):
        more = [f"and {len(rows) - _ROWS} more"] * (len(rows) > _ROWS)
        parts.append("\n".join([f"{title}:", *_drawn((head, rows[:_ROWS])), *more]))
    parts.append("\n".join(_wrapped([f"rule: {content['rule']}", content["headline"]])))
    return "\n\n".join(parts)


def markdown(content: Content) -> str:
    """The same as a document, with every line."""
    parts = [f"# Comparison of two sessions\n\n**{content['headline']}**", content["rule"]]
    parts.append("\n".join(f"- {line}" for line in _sides(content)))
    for title, lines in _lists(content):
        parts.append(f"## {_capital(title)}\n\n" + "\n".join(f"- {line}" for line in lines))
    for title, (head, rows) in _tables(content):
        text = tabulate(rows, head, tablefmt="github", disable_numparse=True)
        parts.append(f"## {_capital(title)}\n\n{text}")
    parts.append(f"```console\n$ {content['command']}\n```")
    return "\n\n".join(parts) + "\n"


def _sides(content: Content) -> Iterator[str]:
    for letter in ("a", "b"):
        side = content[letter]
        yield f"{letter.upper()}: {side['name']} ({side['kind']}, {side['cells']} cells)"
        yield from (f"{letter.upper()}: {note}" for note in side["notes"])


def _lists(content: Content) -> Iterator[tuple[str, list[str]]]:
    """Titles with their lines: what changed, cells that are not compared, runs that differ."""
    facts = content["changed"]
    if facts:
        lines = [f"{what}: {_fact(a)} -> {_fact(b)}" for what, (a, b) in facts.items()]
        yield "changed from A to B:", lines
    else:
        yield "changed from A to B: nothing that the files say", []
    cells, arms = content["cells"], content["arms"]
    counts = [f"{len(cells['both'])} in both", f"{len(cells['only_a'])} only in A"]
    counts.append(f"{len(cells['only_b'])} only in B")
    yield f"cells: {', '.join(counts)}", []
    for letter in ("a", "b"):
        if names := cells[f"only_{letter}"]:
            yield f"only in {letter.upper()}, not compared:", list(names)
    if cells["redefined"]:
        yield (
            "another scenario under the same name, not compared:",
            [f"{name}: {'; '.join(fields)}" for name, fields in cells["redefined"].items()],
        )
    for what, names in cells["other_data"].items():
        yield f"made of other data, not compared ({what}):", list(names)
    if cells["unpaired"]:
        yield "without a seed in common, not compared:", list(cells["unpaired"])
    for letter in ("a", "b"):
        if failed := cells[f"failed_{letter}"]:
            lines = [f"{name}: {_first_line(error)}" for name, error in failed.items()]
            yield f"ERRORS in {letter.upper()} alone:", lines
    if cells["failed_both"]:
        yield "errors on both sides, not compared:", list(cells["failed_both"])
    uneven = [
        f"{arm['name']}: " + ", ".join(f"seed {s} only in {x.upper()}" for x, s in seeds)
        for arm in arms
        if (seeds := [(x, s) for x in "ab" for s in arm[f"only_{x}"]])
    ]
    if uneven:
        yield "compared on the seeds in common:", uneven
    diverged = [
        f"{arm['name']}: " + ", ".join(f"seed {s} in {x.upper()}" for x, s in seeds)
        for arm in arms
        if (seeds := [(x, s) for x in "ab" for s in arm[f"diverged_{x}"]])
        and arm["diverged_a"] != arm["diverged_b"]
    ]
    if diverged:
        counts = [str(sum(len(arm[f"diverged_{x}"]) for arm in arms)) for x in "ab"]
        yield f"diverged, counted at chance, {' -> '.join(counts)} runs:", diverged
    runs = content["runs"]
    yield (
        f"runs: {runs['paired']} in both, {runs['equal']} equal in every "
        f"{'bit' if runs['traced'] == runs['paired'] else 'value that is stored'}",
        _changed(runs["changed"]),
    )


def _changed(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each arm: its first run that differs, and on which seeds others do."""
    seeds: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        seeds.setdefault(run["arm"], []).append(run)
    lines = []
    for name, (first, *others) in seeds.items():
        also = f"; also seed {', '.join(str(run['seed']) for run in others)}" if others else ""
        tail = f"; tail accuracy {first['tail']:+.2f} pp" if first["round"] else ""
        lines.append(f"{name}, seed {first['seed']}: {first['difference']}{tail}{also}")
    return lines


def _tables(content: Content) -> Iterator[tuple[str, Table]]:
    if content["arms"]:
        yield (
            "mean tail accuracy over the arms and seeds in both, %",
            _strategies(content["arms"], content["runs"]["changed"]),
        )
    significant = [test for test in content["tests"] if test["direction"]]
    if significant:
        yield "significant differences, losses and improvements", _tests(significant)
    moved = [
        test
        for test in content["tests"]
        if not test["direction"] and test["level"] == "arm" and (test["low"] or test["high"])
    ]
    if moved:
        yield (
            "other arms that differ, none significantly by itself",
            _tests(sorted(moved, key=lambda test: test["p_holm"])),
        )
    yield from _standings(content)


def _standings(content: Content) -> Iterator[tuple[str, Table]]:
    """A table for each scope in which both sides have ranks, the order of A first."""
    theirs = {(s["scope"], str(s["setting"])): s for s in content["standings"]["b"]}
    for mine in content["standings"]["a"]:
        other = theirs.get((mine["scope"], str(mine["setting"])))
        if other is None:
            continue
        by_arm = {row["arm"]: row for row in other["rows"]}
        rows = []
        for row in mine["rows"]:
            if row["arm"] in by_arm:
                pair = row, by_arm[row["arm"]]
                rows.append(
                    [row["arm"]]
                    + [number(side["mean"]) for side in pair]
                    + [rank_text(side["rank"]) or "-" for side in pair]
                    + [number(side["worst"]["mean"]) for side in pair]
                    + [rank_text(side["worst_rank"]) or "-" for side in pair]
                )
        head = [
            "arm",
            *(f"{what} {x}" for what in ("mean", "rank", "worst", "its rank") for x in "AB"),
        ]
        counts = " and ".join(str(len(side["cells"])) for side in (mine, other))
        yield f"standings of {mine['scope']} over {counts} converged cells, %", (head, rows)


def _tests(tests: Sequence[Mapping[str, Any]]) -> Table:
    head = ["what", "B-A", "by run", "p", "n", "of"]
    rows = []
    for test in tests:
        word = {"worse": "WORSE", "better": "BETTER"}.get(test["direction"] or "", "-")
        span = "-" if test["low"] is None else f"{test['low']:+.1f}..{test['high']:+.1f}"
        size = "-" if test["size"] is None else f"{test['size']:+.2f}"
        if test["level"] == "diverged":
            size = f"{test['size'] or 0:+.0f} runs"
        rows.append([word, size, span, f"{test['p_holm']:.2g}", str(test["pairs"]), _what(test)])
    return head, rows


def _what(test: Mapping[str, Any]) -> str:
    """What a test is of: an arm by its name, groups of arms with their number."""
    metric = "" if test["metric"] == "accuracy" else f"{test['metric'].upper()} of "
    if test["level"] == "arm":
        return f"{metric}{test['name']}"
    named = f"arms of {test['name']}" if test["level"] == "strategy" else test["name"]
    return f"{metric}{named} ({test['arms']})"


def _strategies(arms: Sequence[Mapping[str, Any]], changed: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each strategy: means over all pairs of runs, without attack and under attack."""
    head = ["strategy", "clean A", "clean B", "attacked A", "attacked B", "runs", "changed"]
    rows = []
    for name in dict.fromkeys(arm["strategy"] for arm in arms):
        own = [arm for arm in arms if arm["strategy"] == name]
        row = [name]
        for attacked in (False, True):
            for letter in "ab":
                values = [
                    value
                    for arm in own
                    if arm["attacked"] == attacked
                    for value in arm["accuracy"][letter]
                ]
                row.append(f"{sum(values) / len(values):.2f}" if values else "-")
        names = {arm["name"] for arm in own}
        runs = sum(len(arm["accuracy"]["seeds"]) for arm in own)
        rows.append([*row, str(runs), str(sum(run["arm"] in names for run in changed))])
    return head, rows


def _drawn(table: Table) -> list[str]:
    """The table within `WIDTH`; a last column of names that is too wide goes on below itself."""
    head, rows = table
    names = head[-1] == "of"
    align = ["left", *["right"] * (len(head) - 2), "left" if names else "right"]
    lines = [line.rstrip() for line in _grid([head, *rows], align)]
    if not names:
        return lines
    start = lines[0].rindex("of")
    found = []
    for line in lines:
        pieces = textwrap.wrap(line[start:], WIDTH - start - 2) or [""]
        found += [(line[:start] + pieces[0]).rstrip(), *(" " * (start + 2) + p for p in pieces[1:])]
    return found


def _grid(rows: list[list[str]], align: list[str]) -> list[str]:
    text = tabulate(rows, tablefmt=NARROW, disable_numparse=True, colalign=align)
    return str(text).splitlines()


def _wrapped(lines: Sequence[str], indent: str = "") -> list[str]:
    return [
        piece
        for line in lines
        for piece in textwrap.wrap(
            line,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_on_hyphens=False,
        )
    ]


def _fact(value: str | None) -> str:
    """A value of `differing.changed_facts`, a commit with as many digits as code has."""
    return (
        "not stored" if value is None else re.sub(r"\b([0-9a-f]{16})[0-9a-f]{24}\b", r"\1", value)
    )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "an error without a message"


def _capital(title: str) -> str:
    return (title[0].upper() + title[1:]).rstrip(":")
