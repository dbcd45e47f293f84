"""The claims of a session as a table of at most 100 columns, and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedcore.harness.claims.claims import ClaimOutcome
from fedcore.harness.claims.records import Agreement, RecordedClaim
from fedcore.harness.reports.table import WIDTH

_NAME, _EFFECT, _INTERVAL, _SEEDS, _VERDICT, _RECORD = 41, 8, 18, 5, 10, 13


@dataclass(frozen=True)
class Judged:
    """An outcome beside its record; ``subject`` and ``profile`` are those of the session."""

    outcome: ClaimOutcome
    recorded: RecordedClaim | None
    agreement: Agreement
    subject: str
    profile: str
    machine: str


def claims_table(judged: Sequence[Judged]) -> str:
    """A line per claim and per contrast, and the meaning of the columns."""
    lines = [
        _line("claim / contrast", "effect", "interval", "seeds", "verdict", "record"),
        " ".join("-" * w for w in (_NAME, _EFFECT, _INTERVAL, _SEEDS, _VERDICT, _RECORD)),
    ]
    for item in judged:
        outcome = item.outcome
        seeds, verdict = str(len(outcome.seeds)), outcome.verdict.value
        lines.append(_line(outcome.claim.name, "", "", seeds, verdict, item.agreement.status))
        lines += [
            f"  {text}"
            for text in _wrap(f"{outcome.claim.statement} ({outcome.claim.rule})", WIDTH - 2)
        ]
        for number, contrast in enumerate(outcome.claim.contrasts):
            effect, interval = _figures(outcome, number)
            role = contrast.role.value
            lines.append(_line(f"  {contrast.name}", effect, interval, "", role, ""))
        listed = dict.fromkeys(text for c in outcome.claim.contrasts for text in c.confounds)
        notes = [f"confounded: {'; '.join(listed)}"] if listed else []
        notes += [f"error: {text}" for text in outcome.errors[:3]]
        notes += [f"learned nothing: {text}" for text in outcome.unskilled[:3]]
        notes += [f"diverged, at chance: {text}" for text in outcome.diverged[:3]]
        notes += [f"not proven: {text}" for text in outcome.unproven[:3]]
        lines += [f"  {text}" for note in notes for text in _wrap(note, WIDTH - 2)]
    levels = {item.outcome.intervals.confidence for item in judged if item.outcome.intervals}
    level = f"{100 * max(levels):.3g} %, " if levels else ""
    legend = (
        "effect: percentage points of drop (clean minus poisoned tail accuracy), mean of paired "
        f"seeds. interval: {level}simultaneous over the contrasts of a claim. supported: all that "
        "decide lie beyond the margin, and controls above 0; refuted: one that decides or guards "
        "lies wholly on the other side; undecided where a clean arm of these has learned nothing."
    )
    return "\n".join([*lines, "", *_wrap(legend, WIDTH)])


def claims_markdown(judged: Sequence[Judged], content: dict[str, Any]) -> str:
    """The same as a Markdown document, with machine, commit and date."""
    lines = [
        "# Claims",
        "",
        f"{content['date']}, commit {content['commit'] or 'unknown'}"
        f"{' (with changes)' if content['dirty'] else ''}, {content['machine']}",
        "",
        f"Repeat with `{content['repeat']}`.",
        "",
        "| claim, contrast | effect, pp | simultaneous interval | seeds | verdict | record |",
        "|---|--:|---|--:|---|---|",
    ]
    for item in judged:
        outcome, claim = item.outcome, item.outcome.claim
        lines.append(
            f"| **{claim.name}**: {claim.statement} ({claim.rule}) | | | {len(outcome.seeds)} | "
            f"**{outcome.verdict.value}** | {item.agreement.status} |"
        )
        for number, contrast in enumerate(claim.contrasts):
            effect, interval = _figures(outcome, number)
            name = contrast.name
            if contrast.confounds:
                name += f" (confounded: {'; '.join(contrast.confounds)})"
            lines.append(f"| {name} | {effect} | {interval} | | {contrast.role.value} | |")
        for text in (*outcome.errors, *outcome.unskilled, *outcome.diverged):
            lines.append(f"| {text.splitlines()[-1]} | | | | | |")
    return "\n".join(lines) + "\n"


def _figures(outcome: ClaimOutcome, number: int) -> tuple[str, str]:
    found = outcome.intervals
    if found is None:
        return "-", "-"
    low, high = found.low[number], found.high[number]
    return f"{found.mean[number]:+.2f}", f"[{low:+.2f}, {high:+.2f}]"


def _line(name: str, effect: str, interval: str, seeds: str, verdict: str, record: str) -> str:
    return (
        f"{name:{_NAME}} {effect:>{_EFFECT}} {interval:>{_INTERVAL}} {seeds:>{_SEEDS}} "
        f"{verdict:{_VERDICT}} {record:{_RECORD}}"
    ).rstrip()


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)
