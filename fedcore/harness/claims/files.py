"""The files that a session leaves about its claims: claims.json, claims.md and claims.toml."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore.harness.claims.report import Judged, claims_markdown
from fedcore.records.stamp import stamp
from fedcore.records.store import write_atomically

CLAIMS_SCHEMA = 1


def document(
    judged: Sequence[Judged], repeat: str, origin: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of claims.json; an interval without end is null."""
    return {
        **stamp(CLAIMS_SCHEMA, repeat, origin),
        "machine": judged[0].machine if judged else None,
        "claims": [_claim(item) for item in judged],
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
        "claims.json": json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        "claims.md": claims_markdown(judged, content),
        "claims.toml": "\n".join(
            _toml(item, content) for item in judged if not item.outcome.errors
        ),
    }
    for name, text in texts.items():
        write_atomically(directory / name, text)
    return [directory / name for name in texts]


def _claim(item: Judged) -> dict[str, Any]:
    outcome, claim, found = item.outcome, item.outcome.claim, item.outcome.intervals
    return {
        "name": claim.name,
        "statement": claim.statement,
        "rule": claim.rule,
        "definition": claim.definition,
        "subject": item.subject,
        "profile": item.profile,
        "seeds": list(outcome.seeds),
        "verdict": outcome.verdict.value,
        "record": item.agreement.status,
        "message": item.agreement.message,
        "method": found.method if found else None,
        "confidence": found.confidence if found else None,
        "critical": _finite(found.critical) if found else None,
        "contrasts": [
            {
                "name": contrast.name,
                "role": contrast.role.value,
                "factor": sorted(contrast.factor),
                "confounds": list(contrast.confounds),
                "effect": found.mean[i] if found else None,
                "low": _finite(found.low[i]) if found else None,
                "high": _finite(found.high[i]) if found else None,
                "values": list(outcome.values[i]) if found else [],
                "terms": [[s.id, s.hash, w] for s, w in contrast.effect.terms],
            }
            for i, contrast in enumerate(claim.contrasts)
        ],
        "errors": list(outcome.errors),
        "diverged": list(outcome.diverged),
        "unskilled": list(outcome.unskilled),
        "unproven": list(outcome.unproven),
    }


def _toml(item: Judged, content: dict[str, Any]) -> str:
    outcome = item.outcome
    values = {
        "verdict": outcome.verdict.value,
        "seeds": len(outcome.seeds),
        "definition": outcome.claim.definition,
        "reason": "",
        "date": content["date"][:10],
        "machine": item.machine,
        "commit": content["commit"] or "unknown",
    }
    head = f"[{json.dumps(item.subject)}.{item.profile}.{json.dumps(outcome.claim.name)}]"
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join([head, *lines]) + "\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
