"""Where the numbers of a results.json come from, as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def facts(document: Mapping[str, Any]) -> list[str]:
    """Date, commit, code, versions, machine, device, engine and digests of data, a line each."""
    lines = [f"made: {document['date']}"]
    for name, value in document["provenance"].items():
        parts = value.items() if isinstance(value, Mapping) else ()
        lines += [f"{name} {part}: {digest}" for part, digest in parts]
        lines += [] if parts or value is None else [f"{name}: {value}"]
    return lines
