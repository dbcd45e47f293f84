"""The head of every file of results: when, by which command and code, and on what it was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fedcore.native.kernels import kernels
from fedcore.records.provenance import code_digest, git_state, machine, versions_of

#: Distributions whose versions can change a result; those that are not installed are left out.
DISTRIBUTIONS = ("torch", "torchvision", "numpy", "scipy", "mlxtend", "flwr", "opacus")


def stamp(schema: int, repeat: str, origin: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The head of a JSON file of ``schema``: date (UTC, to the second), command, commit, code.

    ``provenance`` holds the latter two, versions, machine, compiled kernels, and ``origin``: the
    device, engine, precision and data of the session (`fedcore.harness.suite.lab.Lab.origin`).
    """
    commit, dirty = git_state()
    code = {"commit": commit, "dirty": dirty, "code": code_digest()}
    made = {"python": platform.python_version(), **versions_of(DISTRIBUTIONS), "machine": machine()}
    return {
        "schema": schema,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "repeat": repeat,
        **code,
        "provenance": {**code, **made, "kernels": kernels(), **(origin or {})},
    }
