"""Published results: what a study printed, and how far a repetition may be from it.

::

    source = "..."
    level = 0.95      # that no true cell fails, over all values of the file together
    cells = [  # each on one line
        { arm = "study-fedavg", partition = "iid", malicious_fraction = 0.3, poison_ratio = 0.8, ...
          value = 83.755, runs = 2, noise = "poisoned-strongly" },
    ]

    [noise.poisoned-strongly]
    sd = 2.67         # between runs of the same cell, percentage points
    reason = "..."

``arm`` is a preset, ``partition`` a name that the suite knows, ``value`` a tail accuracy in
percent, the mean of ``runs`` runs; a cell without the last three was not published.

The rule: the mean of n new runs lies within z sd sqrt(1/runs + 1/n) of the published mean, the
normal prediction interval for the difference of two means with a known standard deviation; for
one run against one run z sd sqrt(2). z holds `level` over all values at once (Bonferroni), so
that it does not depend on which cells are selected. A prediction interval, and no interval of
the new mean alone: the published number is a draw as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from scipy.special import ndtri

from fedcore.errors import FedcoreError
from fedcore.harness.statistics.estimates import CellVerdict, Estimate, judge
from fedcore.harness.suite.thresholds import Threshold
from fedcore.records.tables import read_toml, table
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class _Cell:
    """A line of ``cells``."""

    arm: str
    partition: str
    malicious_fraction: float
    poison_ratio: float
    value: float | None = None
    runs: int | None = None
    noise: str | None = None

    def __post_init__(self) -> None:
        if len({self.value is None, self.runs is None, self.noise is None}) > 1:
            raise ValueError("must hold all of value, runs and noise, or none of them")
        if self.value is None or self.runs is None:
            return
        if not 0 <= self.value <= 100 or self.runs < 1:
            got = f"{self.value:g} and {self.runs}"
            raise ValueError(f"needs value in 0..100 and runs >= 1, got {got}")


@dataclass(frozen=True)
class _Noise:
    """A table ``[noise.NAME]``."""

    sd: float
    reason: str

    def __post_init__(self) -> None:
        if self.sd <= 0:
            raise ValueError(f"needs sd > 0, got {self.sd:g}")


class PublishedError(FedcoreError, ValueError):
    """A file of published values that cannot be read or breaks a rule."""


@dataclass(frozen=True)
class Published:
    """A published tail accuracy: ``value`` in percent, the mean of ``runs`` runs.

    ``sd`` is the deviation between runs in percentage points, ``z`` the critical value.
    """

    value: float
    runs: int
    sd: float
    z: float
    source: str
    reason: str

    def tolerance(self, seeds: int) -> float:
        """How far the mean of ``seeds`` new runs may be from ``value``, percentage points."""
        return self.z * self.sd * math.sqrt(1 / self.runs + 1 / seeds)

    def judge(self, mean: float, seeds: int) -> CellVerdict:
        """PASS where ``mean``, in percent over ``seeds`` runs, is within the tolerance."""
        return (
            CellVerdict.PASS
            if abs(mean - self.value) <= self.tolerance(seeds)
            else CellVerdict.FAIL
        )


@dataclass(frozen=True)
class PublishedCell:
    """A cell of the study's tables; ``published`` None where it printed no value."""

    arm: str
    partition: str
    malicious_fraction: float
    poison_ratio: float
    published: Published | None


def published_limits(
    scenario: Scenario,
    found: Estimate,
    classes: int,
    published: Published | None,
    reported: str | None,
) -> list[tuple[Threshold, CellVerdict]]:
    """What the accuracy ``found`` of ``scenario`` must keep to, and whether it does.

    It must be above chance, 100 / ``classes`` percent, and within the tolerance of what is
    ``published``, unless that is only to be ``reported`` beside it.
    """
    metric = "clean" if scenario.attack is None else "poisoned"
    chance = Threshold(
        "published.chance", metric, 100 / classes, None, f"guessing among {classes} classes", {}
    )
    limits = [(chance, judge(found, chance.min, None))]
    if published is not None and reported is None:
        reach = published.tolerance(found.seeds)
        reason = (
            f"{published.value:g} in {published.source}, runs: {published.runs}; {published.z:.3g} "
            f"x {published.sd:g} x sqrt(1/{published.runs} + 1/{found.seeds}) = {reach:.2f} points "
            f"either way for the mean itself; {published.reason}"
        )
        low, high = (round(published.value + side * reach, 2) for side in (-1, 1))
        near = Threshold("published.value", metric, low, high, reason, {})
        limits.append((near, published.judge(found.mean, found.seeds)))
    return limits


def critical(level: float, values: int) -> float:
    """The normal quantile with which ``values`` two-sided statements hold at once (Bonferroni)."""
    return float(ndtri(1 - (1 - level) / (2 * values)))


def read_published(path: Path) -> tuple[PublishedCell, ...]:
    """The cells in ``path``, in its order. Raises PublishedError with path, place and rule."""
    content = read_toml(path, "published values", PublishedError)
    if set(content) != {"source", "level", "noise", "cells"}:
        raise PublishedError(
            f"published values {path}: must hold source, level, cells and [noise.NAME], got "
            f"{', '.join(sorted(content)) or 'nothing'}"
        )
    level = content["level"]
    if not isinstance(level, float) or not 0 < level < 1:
        raise PublishedError(f"published values {path}: level must be in (0, 1), got {level!r}")
    if not all(isinstance(cell, dict) for cell in content["cells"]):
        raise PublishedError(f"published values {path}: cells must be tables, [[cells]]")
    cells = [
        table(_Cell, cell, f"published values {path}, cell {number}", PublishedError)
        for number, cell in enumerate(content["cells"], start=1)
    ]
    z = critical(level, sum(cell.value is not None for cell in cells))
    found: list[PublishedCell] = []
    for number, cell in enumerate(cells, start=1):
        place = f"published values {path}, cell {number}"
        published = None
        if cell.value is not None and cell.runs is not None:
            if cell.noise not in content["noise"]:
                known = ", ".join(content["noise"])
                raise PublishedError(f"{place}: noise must be one of {known}, got {cell.noise}")
            named = f"published values {path}, [noise.{cell.noise}]"
            noise = table(_Noise, content["noise"][cell.noise], named, PublishedError)
            source, reason = content["source"], noise.reason
            published = Published(cell.value, cell.runs, noise.sd, z, source, reason)
        arm = cell.arm, cell.partition, cell.malicious_fraction, cell.poison_ratio
        found.append(PublishedCell(*arm, published))
    keys = [(c.arm, c.partition, c.malicious_fraction, c.poison_ratio) for c in found]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise PublishedError(f"published values {path}: more than one cell for {twice[0]}")
    return tuple(found)
