"""The side that a results.json holds: tail values of every cell by seed, and what made them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.harness.comparisons.side import FACTS, Arm, Cell, ComparisonError, Known, Side
from fedcore.harness.reports.files import RESULTS_SCHEMA
from fedcore.harness.statistics.convergence import Convergence

_RUN = re.compile(r"(?P<id>.*) seed (?P<seed>\d+) in round \d+")
_OTHER_FACTS = ("commit", "dirty", "code", "data", "weights", "fingerprint")


def side_of_results(content: Mapping[str, Any], name: str, path: str) -> Side:
    """The session whose results.json at ``path`` has ``content``. Raises ComparisonError."""
    schema = content.get("schema")
    if schema != RESULTS_SCHEMA:
        raise ComparisonError(
            f"{path} has schema {schema!r}, this version reads {RESULTS_SCHEMA}: make it again "
            "with pytest benchmark --report DIR"
        )
    try:
        return _side(content, name)
    except ComparisonError as error:
        raise ComparisonError(f"{path} is damaged: {error}") from error
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ComparisonError(f"{path} is damaged: {error!r}") from error


def _side(content: Mapping[str, Any], name: str) -> Side:
    origin = dict(content["provenance"])
    side = Side(name, "results")
    side.machine_class = origin.get("class")
    side.data = {str(k): str(v) for k, v in (origin.get("data") or {}).items()}
    side.weights = {str(k): str(v) for k, v in (origin.get("weights") or {}).items()}
    side.facts = facts_of(content, origin)
    side.rows = list(content["cells"])
    for row in side.rows:
        _add(side, row)
    return side


def facts_of(head: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, str]:
    """What made the numbers of a file with this head (`fedcore.records.stamp`), in words."""
    commit, dirty = head.get("commit"), head.get("dirty")
    known = {
        "commit": commit and f"{commit}{' with changes' if dirty else ''}",
        "code": head.get("code"),
        "command": head.get("repeat"),
        **{what: value for what, value in origin.items() if what not in _OTHER_FACTS},
    }
    order = [*FACTS, *(what for what in known if what not in FACTS)]
    return {what: str(known[what]) for what in order if known.get(what) is not None}


def _add(side: Side, row: Mapping[str, Any]) -> None:
    """Add one row of the file: its cell and, unless it has errors, what its arms measured."""
    name, values = str(row["id"]), row["values"]
    known = Known.of(row["scenario"])
    if row["errors"]:  # a run failed, or a proof does not hold: the numbers are no measurement
        side.cells[name] = Cell(known, tuple(str(error) for error in row["errors"]))
        return
    seeds = [_seed(seed) for seed in row["seeds"]]
    for arm, metric in side.add(name, known):
        _merge(arm.accuracy, _by_seed(seeds, values[metric], f"{metric} of {name}"), arm.name)
        if metric == "poisoned":
            _merge(arm.asr, _by_seed(seeds, values["asr"], f"asr of {name}"), arm.name)
        which = "clean" if metric == "clean" else "attacked"
        course = (row.get("course") or {}).get(which)
        if course is not None:
            arm.state = Convergence(course["state"]).value
        curves = row.get("curves")
        if curves and set(arm.accuracy) == set(seeds):
            arm.curve = dict(zip(curves["rounds"], curves[which]["mean"], strict=True))
        arm.diverged |= _diverged(row, arm)


def _diverged(row: Mapping[str, Any], arm: Arm) -> set[int]:
    """The seeds of the diverged runs that are of ``arm``; a row names its control's, too."""
    found = (_RUN.fullmatch(str(run)) for run in row["diverged"])
    wanted = arm.name if arm.known.scenario is None else arm.known.scenario.id
    return {int(run["seed"]) for run in found if run is not None and run["id"] == wanted}


def _by_seed(seeds: Sequence[int], values: Sequence[Any], what: str) -> dict[int, float]:
    if len(set(seeds)) != len(seeds):
        raise ComparisonError(f"{what}: a seed stands twice in {seeds}")
    if values and len(values) != len(seeds):
        raise ComparisonError(f"{what}: {len(values)} values for {len(seeds)} seeds")
    return {seed: _percent(value, what) for seed, value in zip(seeds, values, strict=False)}


def _percent(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100.001:
        raise ComparisonError(f"{what}: {value!r} is no percentage")
    return float(value)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ComparisonError(f"{value!r} is no seed")
    return value


def _merge(into: dict[int, float], found: Mapping[int, float], name: str) -> None:
    """Add ``found``. One session has one value for a run: cells that disagree are no session."""
    for seed, value in found.items():
        if into.setdefault(seed, value) != value:
            raise ComparisonError(
                f"{name}, seed {seed}: {into[seed]!r} in one cell, {value!r} in another"
            )
