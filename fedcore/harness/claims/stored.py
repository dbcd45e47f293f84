"""Read claims.json again: the curves of all arms, for any estimand.

stored = read_claims(Path("benchmark/results/claims-mnist5k-10seeds-40and80rounds-cpu.json"))
clean, struck = stored.arms["a2069cb4c084540c"], stored.arms["99b98b36350872d4"]
[clean.level(seed, 40) - struck.level(seed, 40) for seed in clean.seeds]     # drops, in points
stored.effects("claim4-modest-is-tolerated", "clients 10%, samples 10%", "both", 40)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fedcore.harness.claims.claims import ClaimError
from fedcore.harness.statistics.curves import level_at
from fedcore.outside.files import read_text
from fedcore.outside.limits import JSON_BYTES
from fedcore.outside.text import read_json


class Scored(NamedTuple):
    """Evaluated rounds and the accuracy in each."""

    rounds: tuple[int, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True)
class Arm:
    """The curves of one scenario: by seed the accuracy, a share, after each of ``rounds``."""

    id: str
    rounds: tuple[int, ...]
    seeds: Mapping[int, tuple[float, ...]]

    def level(self, seed: int, horizon: int) -> float:
        """Tail accuracy of the first ``horizon`` rounds in ``seed``, in percent.

        The rounds of the arm, where these are fewer. KeyError for a seed that is not there.
        """
        curve = Scored(self.rounds, self.seeds[seed])
        return 100 * level_at(curve, min(horizon, self.rounds[-1]))


@dataclass(frozen=True)
class StoredClaims:
    """The content of a claims.json: ``arms`` by the hash of their scenario, ``claims`` by name."""

    arms: Mapping[str, Arm]
    claims: Mapping[str, Mapping[str, Any]]

    def effects(self, claim: str, contrast: str, estimand: str, horizon: int) -> list[float]:
        """An estimand of a contrast by seed, in points, computed from the curves.

        KeyError for a name that is not there.
        """
        terms = {c["name"]: c["terms"] for c in self.claims[claim]["contrasts"]}[contrast][estimand]
        return [
            math.fsum(weight * self.arms[key].level(seed, horizon) for _, key, weight in terms)
            for seed in self.claims[claim]["seeds"]
        ]


def read_claims(path: Path) -> StoredClaims:
    """The claims and curves of the file at ``path``; ClaimError for what is none of its kind."""
    try:
        content = read_json(read_text(path, JSON_BYTES))
        arms = {
            key: Arm(
                arm["id"],
                tuple(arm["rounds"]),
                {int(seed): tuple(accuracy) for seed, accuracy in arm["seeds"].items()},
            )
            for key, arm in content["arms"].items()
        }
        return StoredClaims(arms, {claim["name"]: claim for claim in content["claims"]})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ClaimError(f"{path} holds no claims with curves: {error!r}") from error
