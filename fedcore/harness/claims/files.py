"""The files that a session leaves about its claims: claims.json, claims.md and claims.toml."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore.harness.claims.judging import Curve
from fedcore.harness.claims.page import CLAIMS_SCHEMA, page
from fedcore.harness.claims.power import needs
from fedcore.harness.claims.report import Judged, placed
from fedcore.harness.claims.rule import Row
from fedcore.harness.statistics.looks import ERROR, LOOKS
from fedcore.harness.statistics.simultaneous import Span
from fedcore.records.stamp import stamp
from fedcore.records.store import write_atomically

#: Digits after the point of an accuracy in a curve, a share: 0.0001 points.
DIGITS = 6


def document(
    judged: Sequence[Judged], repeat: str, origin: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of claims.json; an interval without end is null.

    ``arms`` holds the curves of all arms: by the hash of their scenario the id, the evaluated
    rounds, and by seed the accuracy after each. `fedcore.harness.claims.stored` reads them.
    """
    return {
        **stamp(CLAIMS_SCHEMA, repeat, origin),
        "machine": judged[0].machine if judged else None,
        "looks": list(LOOKS),
        "error": ERROR,
        "claims": [_claim(item) for item in judged],
        "arms": _arms([curve for item in judged for curve in item.outcome.curves]),
    }


def write_claims(
    judged: Sequence[Judged],
    directory: Path,
    repeat: str,
    origin: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write claims.json, claims.md and claims.toml, each in one step. OSError if that fails."""
    content = document(judged, repeat, origin)
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        "claims.json": compact(content),
        "claims.md": page([content]),
        "claims.toml": "\n".join(
            _toml(item, content) for item in judged if not item.outcome.errors
        ),
    }
    for name, text in texts.items():
        write_atomically(directory / name, text)
    return [directory / name for name in texts]


def compact(content: Mapping[str, Any]) -> str:
    """JSON of ``content``, indented, with lists of numbers on one line."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    numbers = re.compile(r"\[\s+((?:-?[\d.eE+-]+|null)(?:,\s+(?:-?[\d.eE+-]+|null))*)\s+\]")
    return numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _arms(curves: Sequence[Curve]) -> dict[str, Any]:
    arms: dict[str, Any] = {}
    for curve in curves:
        name, rounds = curve.scenario.id, list(curve.rounds)
        arm = arms.setdefault(curve.scenario.hash, {"id": name, "rounds": rounds, "seeds": {}})
        accuracy = [round(value, DIGITS) for value in curve.accuracy]
        arm["seeds"][str(curve.seed)] = accuracy
    return arms


def _claim(item: Judged) -> dict[str, Any]:
    outcome, claim = item.outcome, item.outcome.claim
    return {
        "name": claim.name,
        "statement": claim.statement,
        "rule": claim.rule,
        "because": claim.because,
        "definition": claim.definition,
        "subject": item.subject,
        "profile": item.profile,
        "seeds": list(outcome.seeds),
        "look": outcome.look,
        "verdict": outcome.verdict.value,
        "reason": outcome.reason,
        "needs": needs(outcome),
        "record": item.agreement.status,
        "message": item.agreement.message,
        "contrasts": [
            {
                "name": contrast.name,
                "role": contrast.role.value,
                "factor": sorted(contrast.factor),
                "confounds": list(contrast.confounds),
                "terms": {
                    name: [[claim.measured(s).id, claim.measured(s).hash, w] for s, w in e.terms]
                    for name, e in contrast.estimands.items()
                },
            }
            for contrast in claim.contrasts
        ],
        "horizons": [
            {
                "rounds": finding.horizon,
                "verdict": finding.verdict.value,
                "reason": finding.reason,
                "rows": [_row(row, placed(outcome, row)) for row in finding.rows],
            }
            for finding in outcome.findings
        ],
        "errors": list(outcome.errors),
        "diverged": list(outcome.diverged),
        "unskilled": list(outcome.unskilled),
        "unproven": list(outcome.unproven),
    }


def _row(row: Row, place: str) -> dict[str, Any]:
    return {
        "contrast": row.contrast.name,
        "role": row.contrast.role.value,
        "estimand": row.estimand,
        "effect": row.mean,
        "sd": row.sd,
        "interval": _finite(row.each),
        "together": _finite(row.together),
        "place": place,
        "rising": list(row.rising),
        "values": list(row.values),
    }


def _toml(item: Judged, content: dict[str, Any]) -> str:
    outcome = item.outcome
    values = {
        "verdict": outcome.verdict.value,
        "seeds": len(outcome.seeds),
        "look": outcome.look,
        "horizons": ", ".join(map(str, outcome.claim.reached)),
        "definition": outcome.claim.definition,
        "reason": "",
        "date": content["date"][:10],
        "machine": item.machine,
        "commit": content["commit"] or "unknown",
    }
    head = f"[{json.dumps(item.subject)}.{item.profile}.{json.dumps(outcome.claim.name)}]"
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join([head, *lines]) + "\n"


def _finite(span: Span) -> list[float | None]:
    return [edge if math.isfinite(edge) else None for edge in span]
