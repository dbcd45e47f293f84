"""Limits from recorded values: ``python -m benchmark.limits`` renews that part of thresholds.toml.

Every cell of a recorded baseline gets a window about its recorded mean m, by one rule:

The window holds for the horizon that was recorded: ``rounds`` is among its conditions.

- h is half of the cell's interval as a session would judge it: level over all looks, variance
  moderated by the prior of its stratum. H is the same where the prior deviation is that of the
  cell's group (data set, test file, partition and metric), if that is larger: room for other seeds
  and machines. The window is m -+ 2 H, in whole numbers towards the outside.
- A drop must not reach the fall to guessing: clean accuracy minus the share of the largest test
  class or, where m + 2 h comes closer than a point to that, minus 100 / classes. The window ends
  at the latest where the interval about that fall begins, or half way to it from m + h if that is
  more. Where m + h reaches the fall but for a point, poison cannot be told from a model that knows
  nothing, and there is no limit.
- Where m - h is at least `CLEAR`, the attack has an effect beyond noise, and no effect is outside
  the window: it begins at no less than a third of m - h or, where m - H is not above 0, at 0.1.
  Otherwise no effect stays inside, and the reason says so.
- A clean window begins at no less than a third of the way from guessing to m - h, and an attack
  success rate at a third of m - h, where that is beyond `CONFUSED`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import chi2

from fedcore.harness.baselines.file import Baseline, BaselineError
from fedcore.harness.statistics.estimates import Estimate, confidence, estimate
from fedcore.harness.statistics.prior import Priors
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.thresholds import Thresholds

from . import test_privacy, test_robustness

FOLDER = Path(__file__).parent
DATASETS = ("mnist5k", "bloodmnist")
#: Share of the largest class of the test set in percent: the accuracy of naming it for every image.
GUESSING = {"mnist5k": 10.0, "bloodmnist": 19.5}
#: 100 / classes: the accuracy of answering at random, at which a diverged run counts.
CHANCE = {"mnist5k": 10.0, "bloodmnist": 12.5}
#: What explains a drop that a reader would not expect, by strategy.
NOTES = {
    "krum": "random flips make short updates, near each other, and Krum picks one of them",
    "multikrum": "it prefers the short updates of flipped clients",
    "fedavgm": "server momentum carries poison on",
    "median": "single cohorts are half malicious",
}
#: Points below which the lower end of a drop's interval is no effect.
CLEAR = 0.3
#: Attack success rate in percent that errors of a model without attack may reach.
CONFUSED = 3.0
MARK = "# --- recorded values"
#: What sets a recorded cell apart from all others, as conditions of its limits; with parameters of
#: strategy and attack, as `where` adds them.
_FIELDS = (
    "dataset", "model", "num_clients", "rounds", "partition", "alpha", "strategy", "attack",
    "malicious_fraction", "poison_ratio", "source_class", "target_class", "privacy", "epsilon",
    "neighbours", "released",
)  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """A cell of the suite and its recorded ``values`` of ``metric``, by seed, in percent/points."""

    cell: Cell
    test: str
    metric: str
    values: tuple[float, ...]
    clean: tuple[float, ...]

    @property
    def group(self) -> tuple[str, ...]:
        """What pools the deviations between seeds."""
        return self.cell.scenario.dataset, self.test, self.cell.scenario.partition, self.metric

    def interval(self, values: Sequence[float], priors: Priors, least: float = 0.0) -> Estimate:
        """As the session judges ``values`` of this cell, with a prior deviation >= ``least``."""
        noise = priors.of(self.cell.scenario.partition, self.metric, statistics.fmean(values))
        noise = replace(noise, sd=max(noise.sd, least))
        return estimate(values, noise, confidence(len(self.cell.looks())))


def recorded(dataset: str) -> Iterator[Recorded]:
    """Every recorded value of profile quick, in the order of the suite."""
    # of several machine classes the first by name: the windows leave room for other machines
    path = min((FOLDER / "baselines" / f"{dataset}-quick-cpu").glob("*.json"), default=None)
    if path is None:
        raise BaselineError(
            f"no baseline of {dataset} is recorded: pytest benchmark --update-baseline"
        )
    entries = Baseline.read(path).entries
    options = Options(dataset=dataset, device="cpu")
    for module in (test_robustness, test_privacy):
        for cell in module.cells(options):
            if cell.id not in entries or entries[cell.id].hash != cell.scenario.hash:
                continue
            values = entries[cell.id].values
            seeds = list(values["clean"])
            by_metric = {name: tuple(v[seed] for seed in seeds) for name, v in values.items()}
            clean, test = by_metric["clean"], module.__name__.rpartition(".")[2]
            if "poisoned" not in by_metric:
                yield Recorded(cell, test, "clean", clean, clean)
                continue
            drops = tuple(c - p for c, p in zip(clean, by_metric["poisoned"], strict=True))
            yield Recorded(cell, test, "drop", drops, clean)
            if "asr" in by_metric:
                yield Recorded(cell, test, "asr", by_metric["asr"], clean)


def deviations(found: Sequence[Recorded]) -> dict[tuple[str, ...], float]:
    """The usual deviation between the seeds of a cell, by group.

    The median of the cells' variances, over that of a chi-square variable by its degrees of
    freedom: one cell whose seeds lie far apart says little of the others.
    """
    variances: dict[tuple[str, ...], list[float]] = {}
    for one in found:
        n = len(one.values) - 1
        usual = float(chi2.ppf(0.5, n)) / n
        variances.setdefault(one.group, []).append(statistics.variance(one.values) / usual)
    return {group: math.sqrt(statistics.median(some)) for group, some in variances.items()}


def deviation(one: Recorded, usual: float, df: float) -> float:
    """That of ``one``: its own, moderated by the ``usual`` one of its group, worth ``df``."""
    n = len(one.values) - 1
    return math.sqrt((df * usual**2 + n * statistics.variance(one.values)) / (df + n))


def window(one: Recorded, priors: Priors, pooled: float) -> tuple[float | None, float | None, str]:
    """(min, max, what is left open) of the limit on ``one``; both None where there is none."""
    guess = GUESSING[one.cell.scenario.dataset]
    own = one.interval(one.values, priors)
    room = 2 * one.interval(one.values, priors, pooled).half_width
    low, high = math.floor(own.mean - room), math.ceil(own.mean + room)
    if one.metric == "clean":
        if own.low <= guess:
            return None, max(high, own.high), "; guessing cannot be told apart"
        return max(low, math.ceil(guess + (own.low - guess) / 3)), min(high, 99.5), ""
    if one.metric == "asr":
        if own.low / 3 <= CONFUSED:
            return None, min(high, 98), "; no effect is within noise"
        return max(low, math.floor(own.low / 3)), min(high, 98), ""
    falls = [
        one.interval([clean - level for clean in one.clean], priors)
        for level in (guess, CHANCE[one.cell.scenario.dataset])
    ]
    far = own.high + own.half_width
    fall = next((fall for fall in falls if far <= fall.mean - 1), falls[-1])
    if own.high > fall.mean - 1:
        return None, None, "; a model that guesses loses no more, within noise"
    high = min(high, max(fall.low, (own.high + fall.mean) / 2))
    if own.low < CLEAR:
        return min(low, math.floor(own.low)), high, "; no effect is within noise"
    least = math.floor(10 * own.low / 3) / 10 if own.mean > room / 2 else 0.1
    return max(low, least, 0.1), high, ""


def table(one: Recorded, priors: Priors, pooled: float) -> str:
    """The table of ``one`` in the TOML file, on one line."""
    *ends, left = window(one, priors, pooled)
    low, high = (None if end is None else round(end, 1) for end in ends)
    mean = math.fsum(one.values) / len(one.values)
    reason = f"recorded {mean:.1f} ({min(one.values):.1f} to {max(one.values):.1f} by seed)"
    clean = math.fsum(one.clean) / len(one.clean)
    guess = GUESSING[one.cell.scenario.dataset]
    way = None  # to guessing that the window allows
    if one.metric == "clean" and low is not None:
        way = (mean - low) / (mean - guess)
    if one.metric == "drop":
        reason += f" of {clean:.1f}"
        way = None if high is None else (high - mean) / (clean - guess - mean)
    if way is not None:
        reason += f", {100 * way:.0f} % of the way to guessing"
    if one.metric == "drop":
        note = NOTES.get(one.cell.scenario.strategy)
        left = f"; {note}{left}" if note and (low or 0) > 0 else left
    limits = {"min": low, "max": high} if (low, high) != (None, None) else {"none": True}
    parts = [f"{key} = {_toml(value)}" for key, value in limits.items() if value is not None]
    conditions = ", ".join(f"{key} = {_toml(value)}" for key, value in where(one.cell).items())
    prefix = "" if one.cell.scenario.dataset in one.cell.id else f"{one.cell.scenario.dataset}-"
    name = (prefix + one.cell.id).replace(".", "_")
    return (
        f'{name} = {{ {", ".join(parts)}, reason = "{reason}{left}", where = {{ {conditions} }} }}'
    )


def where(cell: Cell) -> Mapping[str, Any]:
    """The conditions of the limits of ``cell``, by field: a limit holds for what was recorded."""
    scenario = cell.scenario
    values = {name: getattr(scenario, name) for name in _FIELDS}
    if scenario.attack is None:
        del values["malicious_fraction"], values["poison_ratio"]
    conditions = {name: value for name, value in values.items() if value is not None}
    # others share the rest
    conditions |= {"privacy": scenario.privacy or "none", "preaggregation": "none"}
    assert scenario.preaggregation is None
    for part in (scenario.parts.strategy, scenario.parts.attack):
        for name in () if part is None else part.specs():
            value = getattr(scenario, name)
            conditions.setdefault(name, "none" if value is None else value)
    return conditions


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def renewed(text: str) -> str:
    """``text`` of thresholds.toml with its recorded part made anew."""
    head = text[: text.index(MARK)] + text[text.index(MARK) :].split("\n", 1)[0] + "\n"
    priors = Thresholds.read(FOLDER / "thresholds.toml").priors
    found = [one for dataset in DATASETS for one in recorded(dataset)]
    pooled = deviations(found)
    for metric in ("clean", "drop", "asr"):
        lines = [table(one, priors, pooled[one.group]) for one in found if one.metric == metric]
        head += f"\n[{metric}]\n" + "\n".join(lines) + "\n"
    return head


if __name__ == "__main__":
    path = FOLDER / "thresholds.toml"
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
