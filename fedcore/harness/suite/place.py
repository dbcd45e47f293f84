"""Place: where a cell stands in a matrix of defences and attacks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Row ``defence`` and column ``attack`` (None: without an attacker) of a matrix.

    ``chain`` is what stands before the rule, as written, "" for nothing. ``declared`` is f, the
    malicious clients that the defence is told to withstand, also where its rule has no such
    parameter. ``setting`` is the attack with its parameters, as written. ``knows`` is what
    its attackers know: "own", "omniscient", or "data" of an attack on data alone.
    """

    defence: str
    attack: str | None
    declared: int
    chain: str = ""
    setting: str = ""
    knows: str = ""
