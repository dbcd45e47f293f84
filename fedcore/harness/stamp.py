"""When, by which command and by which code a file of results was made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fedcore.provenance import code_digest, git_state


def stamp(schema: int, repeat: str) -> dict[str, Any]:
    """The head of a JSON file of ``schema``: date (UTC, to the second), command, commit, code."""
    commit, dirty = git_state()
    return {
        "schema": schema,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "repeat": repeat,
        "commit": commit,
        "dirty": dirty,
        "code": code_digest(),
    }
