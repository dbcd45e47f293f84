"""Standings of the strategies of one session: ranks, worst cases, performance profiles.

Over the attacked cells in which the same strategies are measured and have converged: at ten rounds
the order of arms is that of their learning speed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedcore.harness.comparisons.side import Known, Side
from fedcore.harness.reports.matrix import without_holes
from fedcore.harness.reports.overall import own_fields, setting_of
from fedcore.harness.statistics.bootstrap import mean_over_cells
from fedcore.harness.statistics.convergence import Convergence, why_not_compared
from fedcore.harness.statistics.profiles import profiles
from fedcore.harness.statistics.ranks import RANK_CONFIDENCE, ranks, worst_columns
from fedcore.scenario import naming

#: Percentage points from the best, within which shares of the cells are counted.
WITHIN = (0.0, 1.0, 2.0, 5.0, 10.0)
#: Fields beside the tuned ones in which arms of one table may differ.
_CHAIN = "preaggregation"

Standing = dict[str, Any]


@dataclass(frozen=True)
class _Entry:
    """An attacked cell: of which ``arm``, in which column, with what, or why it is left out."""

    name: str
    arm: str
    partition: str
    attack: str
    rounds: int
    values: Mapping[int, float]
    reason: str | None

    @property
    def column(self) -> str:
        return f"{self.partition} {self.attack}"


def standings(side: Side, among: Collection[str] | None = None) -> list[Standing]:
    """The standings of ``side``: of each partition, and of all together where there are several.

    Cells that differ in more than strategy (with what is tuned for it), partition and attack are in
    tables of their own. Keys: scope (a partition, or "all partitions"), rounds (the horizon),
    setting (fields that set the table apart from others), cells (the common ones), seeds (those
    that all share), confidence, within, ``rows`` and ``left_out``: cells (id, rounds, reason) of
    arms that have not converged, which take no part, and ``absent``, arms that are not in every
    common cell. A row has arm, mean with low and high over seed blocks, rank, worst (cells, mean,
    low, high), worst_rank, gaps to the best by cell, and share, low, high of the cells by
    ``within``. Of a single seed there are no ranks and no bounds. A table has two arms or more.

    ``among`` keeps the cells whose scenario has one of these keys.
    """
    groups: dict[tuple[Any, ...], list[_Entry]] = {}
    settings: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, cell in side.cells.items():
        arm = side.arms.get(cell.known.key)
        chosen = among is None or cell.known.key in among
        if arm is None or not arm.accuracy or cell.known.clean or not chosen:
            continue
        setting = _setting(cell.known)
        key = tuple(sorted(setting.items(), key=str))
        settings[key] = setting
        groups.setdefault(key, []).append(_entry(side, name, cell.known))
    differing = _differing(settings.values())
    found = []
    for key, entries in groups.items():
        entries = _told_apart(entries)
        scopes = [(p, [p]) for p in dict.fromkeys(e.partition for e in entries)]
        if len(scopes) > 1:
            scopes.append(("all partitions", [partition for partition, _ in scopes]))
        for scope, partitions in scopes:
            table = _table([e for e in entries if e.partition in partitions])
            shown = {n: v for n, v in settings[key].items() if n in differing}
            if table is not None:
                found.append({"scope": scope, "setting": shown, **table})
    return found


def _entry(side: Side, name: str, known: Known) -> _Entry:
    arm, twin = side.arms[known.key], side.arms.get(known.twin.key)
    reason = _unsettled(None if twin is None else twin.state, attacked=False)
    if reason is not None:
        reason = f"without attack: {reason}"
    elif (attacked := _unsettled(arm.state, attacked=True)) is not None:
        reason = f"under attack: {attacked}"
    strategy = str(known.values.get("strategy"))
    attack = str(known.values.get("attack"))
    if known.scenario is not None:
        strategy = naming.strategy_token(known.scenario)
        attack = " ".join(naming.attack_tokens(known.scenario))
    chain = known.values.get(_CHAIN)
    return _Entry(
        name,
        f"{chain} {strategy}" if chain else strategy,
        known.partition,
        attack,
        rounds if isinstance(rounds := known.values.get("rounds"), int) else 0,
        arm.accuracy,
        reason,
    )


def _unsettled(state: str | None, *, attacked: bool) -> str | None:
    """As `why_not_compared`, where the rounds may not be stored, either."""
    if state is None:
        return "its tail is too short for a test of convergence, or its rounds are not stored"
    return why_not_compared(Convergence(state), attacked=attacked)


def _setting(known: Known) -> dict[str, Any]:
    """What all cells of a table share: no partition, attack, strategy, or what is tuned for it."""
    own = own_fields() | {_CHAIN}
    fields = dict(setting_of(known.values))
    return {n: v for n, v in fields.items() if n not in own and v is not None}


def _differing(settings: Iterable[Mapping[str, Any]]) -> set[str]:
    """The fields in which the tables differ."""
    each = list(settings)
    names = {name for setting in each for name in setting}
    return {name for name in names if len({str(setting.get(name)) for setting in each}) > 1}


def _told_apart(entries: Sequence[_Entry]) -> list[_Entry]:
    """``entries`` with the whole id behind an arm that has several cells in one column."""
    places: dict[tuple[str, str], int] = {}
    for e in entries:
        places[e.arm, e.column] = places.get((e.arm, e.column), 0) + 1
    twice = {arm for (arm, _), count in places.items() if count > 1}
    return [
        dataclasses.replace(e, arm=f"{e.arm} ({_rest(e)})") if e.arm in twice else e
        for e in entries
    ]


def _rest(entry: _Entry) -> str:
    """What the id says beyond partition and attack."""
    known = {entry.partition, *entry.attack.split(), *entry.arm.split()}
    return " ".join(token for token in entry.name.split("-") if token not in known) or "base"


def _table(entries: Sequence[_Entry]) -> Standing | None:
    settled = [e for e in entries if e.reason is None]
    columns = list(dict.fromkeys(e.column for e in settled))
    by_place = {(e.arm, e.column): e for e in settled}
    arms = dict.fromkeys(e.arm for e in settled)
    rows = [
        {"defence": arm, "cells": {c: 0 for c in columns if (arm, c) in by_place}} for arm in arms
    ]
    common, chosen = without_holes(rows, columns, fewest=2)
    if not common:
        return None
    members = [[by_place[arm, column] for column in common] for arm in chosen]
    seeds = sorted(set.intersection(*(set(e.values) for row in members for e in row)))
    if not seeds:
        return None
    values = np.array([[[e.values[seed] for e in row] for row in members] for seed in seeds])
    return {
        "rounds": sorted({e.rounds for row in members for e in row}),
        "cells": common,
        "seeds": seeds,
        "confidence": RANK_CONFIDENCE,
        "within": list(WITHIN),
        "rows": _rows(chosen, common, values),
        "left_out": [
            {"id": e.name, "rounds": e.rounds, "reason": e.reason} for e in entries if e.reason
        ],
        "absent": [arm for arm in dict.fromkeys(e.arm for e in entries) if arm not in chosen],
    }


def _rows(arms: Sequence[str], cells: Sequence[str], values: Any) -> list[Standing]:
    """A row for each arm of ``values`` [seeds, arms, cells], the best mean first."""
    several = len(values) > 1
    by_mean = ranks(values.mean(axis=2)) if several else [None] * len(arms)
    by_worst = ranks(values) if several else [None] * len(arms)
    worst, shares = worst_columns(values), profiles(values, WITHIN)
    rows = []
    for place, arm in enumerate(arms):
        mean, profile = mean_over_cells(values[:, place], RANK_CONFIDENCE), shares[place]
        rank, worst_rank = by_mean[place], by_worst[place]
        rows.append(
            {
                "arm": arm,
                "mean": mean.mean,
                "low": mean.low,
                "high": mean.high,
                "rank": None if rank is None else dataclasses.asdict(rank),
                "worst": {
                    "cells": [cells[column] for column in worst[place].columns],
                    "mean": worst[place].mean,
                    "low": worst[place].low,
                    "high": worst[place].high,
                },
                "worst_rank": None if worst_rank is None else dataclasses.asdict(worst_rank),
                "gaps": list(profile.gaps),
                "share": list(profile.share),
                "share_low": None if profile.low is None else list(profile.low),
                "share_high": None if profile.high is None else list(profile.high),
            }
        )
    return sorted(rows, key=lambda row: -row["mean"])
