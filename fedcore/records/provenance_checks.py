"""What must hold within the provenance of a record: forms of digests, names, commit and date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from fedcore.native.kernels import NONE
from fedcore.origin.closure import UNKNOWN
from fedcore.records.provenance import CHANGED, Provenance

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

#: What a digest looks like.
DIGEST: Final = re.compile("[0-9a-f]{16}")
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def provenance_problems(found: Provenance, scenario: Scenario) -> Iterator[str]:
    """Yield what is wrong with the provenance of a run of ``scenario``, as messages."""
    digests = {"code": found.code, "data": found.data, "kernels": found.kernels}
    digests |= {f"foreign {kind}": value for kind, value in found.foreign}
    if found.weights is not None:
        digests["weights"] = found.weights
    for name, value in digests.items():
        # the states that cannot be told apart are said to be so, and match no key of the store
        bare = value.removesuffix("-incomplete") if name == "kernels" else value
        allowed = {CHANGED, UNKNOWN} if name != "kernels" else {NONE}
        if bare not in allowed and not DIGEST.fullmatch(bare):
            yield f"{name} must be 16 hexadecimal digits, got {value!r}"
    if (found.weights is None) != (scenario.weights is None):
        yield f"weights must have a digest where weights={scenario.weights!r} are given"
    if (found.commit is None) != (found.dirty is None) or not _COMMIT.fullmatch(
        found.commit or "0" * 40
    ):
        yield f"commit must be 40 or 64 hexadecimal digits with dirty, got {found.commit!r}"
    for name in ("versions", "foreign"):
        names = [key for key, _ in getattr(found, name)]
        if names != sorted(set(names)) or not all(all(pair) for pair in getattr(found, name)):
            yield f"{name} must be pairs of texts, sorted by name"
    known = dict(found.versions)
    if (known.get("torch"), known.get("numpy")) != (found.torch, found.numpy):
        yield "versions must name torch and numpy as provenance does"
    if not all((found.python, found.device, found.machine)):
        yield "python, device and machine must be named"
    try:
        same = datetime.fromisoformat(found.date).isoformat(timespec="seconds") == found.date
    except ValueError:
        same = False
    if not same:
        yield f"date must be of the form 2025-01-01T00:00:00+00:00, got {found.date!r}"
