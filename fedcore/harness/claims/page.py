"""The page of claims: Markdown from the content of one claims.json or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore.errors import ResultsError, StoreError
from fedcore.harness.reports.matrix_page import KEPT
from fedcore.outside.files import read_text
from fedcore.outside.limits import JSON_BYTES
from fedcore.outside.text import read_json
from fedcore.records.store import write_atomically

#: Of claims.json: 1 had no looks, horizons and curves, and 10 rounds.
CLAIMS_SCHEMA = 2


def write_claims_page(directory: Path, path: Path, source: str) -> None:
    """Write the page of all claims*.json in ``directory`` to ``path``; ``source`` is the command.

    Files of an older schema are named only. What stands in the page below `KEPT` stays. StoreError
    where there is no file to show, or one is damaged, or the page cannot be read or written.
    """
    contents: list[Mapping[str, Any]] = []
    older: list[str] = []
    for file in sorted(directory.glob("claims*.json")):
        try:
            content = read_json(read_text(file, JSON_BYTES))
            if content["schema"] == CLAIMS_SCHEMA:
                contents.append(content)
            else:
                older.append(f"`{file.name}`")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ResultsError(f"{file} holds no claims: {error!r}") from error
    if not contents:
        raise ResultsError(
            f"{directory} holds no claims*.json of schema {CLAIMS_SCHEMA}: make one with "
            "pytest benchmark/test_claims.py --report DIR"
        )
    try:
        text = page(contents, source)
    except Exception as error:  # edited by hand, a value may be of any type
        raise ResultsError(f"claims in {directory} are damaged: {error!r}") from error
    if older:
        text += f"\nOf an older rule, without looks and margins, not shown: {', '.join(older)}.\n"
    try:
        known = read_text(path, JSON_BYTES) if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = known.partition(KEPT)[2]
        write_atomically(path, f"{text}\n{KEPT}{kept or chr(10)}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"the page cannot be written to {path} ({reason}): name another file"
        ) from error


def page(contents: Sequence[Mapping[str, Any]], command: str = "") -> str:
    """Markdown of ``contents``, each that of a claims.json: verdicts first, then all rows."""
    from fedcore.harness.claims.report import LEGEND

    lines = ["# Claims", ""]
    if command:
        lines += [f"Made by `{command}`.", ""]
    for content in contents:
        lines += [*_origin(content), "", *_verdicts(content), ""]
    lines += [LEGEND[0].upper() + LEGEND[1:], ""]
    for content in contents:
        for claim in content["claims"]:
            lines += [*_claim(claim), ""]
    return "\n".join(lines)


def _origin(content: Mapping[str, Any]) -> Iterator[str]:
    names = dict.fromkeys(f"{c['subject']}, profile {c['profile']}" for c in content["claims"])
    changed = " (with changes)" if content["dirty"] else ""
    yield f"## {'; '.join(names) or 'no claims'}"
    yield ""
    yield (
        f"{content['date'][:10]}, commit {content['commit'] or 'unknown'}{changed}, "
        f"{content['machine']}. Repeat with `{content['repeat']}`."
    )


def _verdicts(content: Mapping[str, Any]) -> Iterator[str]:
    yield "| claim | margin | verdict | look | by horizon, rounds | what is to say | record |"
    yield "|---|---|---|--:|---|---|---|"
    for claim in content["claims"]:
        horizons = "; ".join(f"{h['rounds']}: {h['verdict']}" for h in claim["horizons"])
        remark = claim["reason"]
        if claim["needs"]:
            remark += f"; to decide it: {claim['needs']}"
        yield (
            f"| **{claim['name']}**: {claim['statement']} | {claim['rule']}: {claim['because']} | "
            f"**{claim['verdict']}** | {claim['look'] or '-'} | {horizons} | "
            f"{_cell(remark)} | {claim['record']} |"
        )


def _claim(claim: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {claim['name']} ({claim['subject']}, profile {claim['profile']})"
    yield ""
    yield f"{claim['statement']} ({claim['rule']}); {len(claim['seeds'])} seeds."
    confounds = dict.fromkeys(text for c in claim["contrasts"] for text in c["confounds"])
    if confounds:
        yield f"Confounded: {'; '.join(confounds)}."
    yield ""
    if claim["horizons"]:
        yield "| rounds | contrast | estimand | role | effect | interval | together | place |"
        yield "|--:|---|---|---|--:|---|---|---|"
    for horizon in claim["horizons"]:
        for row in horizon["rows"]:
            yield (
                f"| {horizon['rounds']} | {row['contrast']} | {row['estimand']} | {row['role']} | "
                f"{row['effect']:+.2f} | {_span(row['interval'])} | {_span(row['together'])} | "
                f"{row['place']} |"
            )
    for text in _remarks(claim):
        yield f"- {_cell(text)}"


def _remarks(claim: Mapping[str, Any]) -> Iterator[str]:
    if any(claim[name] for name in ("errors", "unskilled", "diverged", "horizons")):
        yield ""
    for horizon in claim["horizons"]:
        arms = dict.fromkeys(text for row in horizon["rows"] for text in row["rising"])
        if arms:
            yield f"Not converged at {horizon['rounds']} rounds: {'; '.join(arms)}."
    for name in ("errors", "unskilled", "diverged"):
        yield from (f"{name}: {text}" for text in claim[name])


def _span(span: Sequence[float | None]) -> str:
    low, high = span
    return "-" if low is None or high is None else f"[{low:+.2f}, {high:+.2f}]"


def _cell(text: str) -> str:
    """``text`` as it stands in one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")
