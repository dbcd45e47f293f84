"""Privacy, utility and robustness together: does noise mend poisoning, or only mask it?

Each private cell is compared, seed by seed, with its twin that clips and does not noise: same
clip norm, same parameters released, same local work, so that noise is all that differs.

- *mends*: the poisoned model is better with the noise than without it.
- *masks*: the drop is smaller with the noise, yet the poisoned model is not better: there was less
  left to lose.
- *adds*: the drop is larger with the noise.
- *-*: none of these is shown at the 90 % level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from fedcore.components.kinds import PRIVACY, REFERENCE
from fedcore.components.written import registered
from fedcore.harness.reports.figures import new_figure, png
from fedcore.harness.reports.horizons import at_rounds
from fedcore.harness.reports.rows import Row, mean
from fedcore.harness.statistics.estimates import Estimate, Noise, estimate
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class NoiseEffect:
    """What noise does to a cell: differences to the clip-only twin, in percentage points."""

    poisoned: Estimate
    drop: Estimate

    @property
    def verdict(self) -> str:
        """mends, masks, adds or ``-``; see the module."""
        if self.poisoned.low > 0:
            return "mends"
        if self.drop.high < 0:
            return "masks"
        return "adds" if self.drop.low > 0 else "-"


def noise_of(content: Mapping[str, Any]) -> Noise | None:
    """The noise between seeds that results.json was judged with; None in files that lack it."""
    return Noise(**content["noise"]) if content.get("noise") else None


def private(cells: Sequence[Row]) -> list[Row]:
    """The cells whose scenario names a mechanism."""
    return [cell for cell in cells if cell["scenario"].get("privacy")]


def effect(cell: Row, cells: Sequence[Row], noise: Noise | None) -> NoiseEffect | None:
    """What noise does to the poisoned ``cell``; None without a clip-only twin on its seeds.

    ``noise`` is that between seeds, as the thresholds of the suite have it; None: nothing is said.
    """
    if noise is None or not cell["values"]["drop"] or not _noise(cell):
        return None
    for twin in cells:
        if _key(twin, plain=True) == _key(cell) and twin["seeds"] == cell["seeds"]:
            differences = {
                metric: [
                    a - b
                    for a, b in zip(cell["values"][metric], twin["values"][metric], strict=True)
                ]
                for metric in ("poisoned", "drop")
            }
            return NoiseEffect(
                **{name: estimate(found, noise) for name, found in differences.items()}
            )
    return None


def table(cells: Sequence[Row], noise: Noise | None) -> str:
    """Accuracy, drop and ASR by mechanism, epsilon and malicious fraction; '' without any.

    ``noise`` as in `effect`.
    """
    shown = private(cells)
    if not shown:
        return ""
    lines = []
    for cell in sorted(shown, key=_order):
        found = effect(cell, shown, noise)
        scenario = cell["scenario"]
        poisoned = bool(cell["values"]["drop"])
        lines.append(
            {
                "mechanism": _arm(cell),
                "eps": _number(scenario["epsilon"], "g"),
                "eps total": _number(_total(cell), ".4g"),
                "attack": cell["labels"]["variant"] or "clean",
                "mal": cell["labels"]["malicious"],
                "acc": _number(mean(cell, "poisoned" if poisoned else "clean"), ".1f"),
                "drop": _number(mean(cell, "drop"), ".1f"),
                "ASR": _number(mean(cell, "asr"), ".1f"),
                "noise: acc": _interval(found.poisoned if found else None),
                "noise: drop": _interval(found.drop if found else None),
                "noise": found.verdict if found else None,
            }
        )
    text = tabulate(lines, headers="keys", disable_numparse=True, missingval="", tablefmt="simple")
    return (
        f"{text}\nacc: tail accuracy {at_rounds(shown)}, %. eps: of one participation; eps total: "
        "of the client that\ntook part most, over all seeds.\n"
        "noise: against the same arm clipped and not noised, points, 90 % intervals. mends: "
        "poisoned accuracy\nrises; masks: the drop shrinks, the poisoned accuracy does not rise; "
        "adds: the drop grows."
    )


def figure(cells: Sequence[Row]) -> bytes | None:
    """Accuracy, drop and ASR over the total epsilon, a line per arm and malicious share, as PNG.

    None where no cell is private; ImportError without matplotlib.
    """
    shown = private(cells)
    points = [cell for cell in shown if _total(cell) is not None]
    if not points:
        return None
    panels = [("accuracy", "tail accuracy (%)"), ("drop", "drop (percentage points)")]
    if any(cell["values"]["asr"] for cell in points):
        panels.append(("asr", "attack success rate (%)"))
    plot = new_figure(4.2 * len(panels), 4.2)
    groups: dict[tuple[str, str], list[Row]] = {}
    for cell in sorted(points, key=_order):
        what = cell["labels"]["variant"]
        label = "clean" if what is None else f"{what} {cell['labels']['malicious']} %"
        groups.setdefault((_arm(cell), label), []).append(cell)
    arms = list(dict.fromkeys(arm for arm, _ in groups))
    attacks = list(dict.fromkeys(label for _, label in groups))
    for place, (metric, title) in enumerate(panels):
        axes = plot.add_subplot(1, len(panels), place + 1)
        for (arm, label), members in groups.items():
            dots = [(_total(cell), _value(cell, metric)) for cell in members]
            dots = [dot for dot in dots if dot[1] is not None]
            axes.plot(
                *zip(*dots, strict=True) if dots else ((), ()),
                marker="osv^D"[arms.index(arm) % 5],
                color=f"C{attacks.index(label)}",
                linestyle="-" if arms.index(arm) == 0 else "--",
                label=f"{arm}, {label}",
            )
        axes.set_xscale("log")
        axes.set_xlabel("epsilon, largest total of a client")
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
    plot.axes[0].legend(fontsize=7)
    return png(plot)


def _key(cell: Row, plain: bool = False) -> dict[str, Any] | None:
    """The scenario without its noise, to find twins by; None for a plain cell that has noise."""
    scenario = cell["scenario"]
    if plain and (_noise(cell) or not scenario["privacy"]):
        return None
    noise = {name for mechanism in PRIVACY for name in PRIVACY[mechanism].noise_parameters}
    return {k: v for k, v in scenario.items() if k not in noise and k != "privacy"}


def _noise(cell: Row) -> tuple[str, ...]:
    """What the cell's mechanism has beyond one that only clips."""
    privacy = cell["scenario"]["privacy"]
    return () if not privacy else PRIVACY[registered("privacy", privacy)].noise_parameters


def _arm(cell: Row) -> str:
    scenario = Scenario.from_dict(cell["scenario"])
    words = [scenario.privacy or "", scenario.released or ""]
    if scenario.strategy != REFERENCE:
        words.insert(0, scenario.strategy)
    words.insert(0, scenario.preaggregation or "")
    return " ".join(filter(None, words))


def _order(cell: Row) -> tuple[Any, ...]:
    scenario = cell["scenario"]
    return (
        _arm(cell),
        scenario["attack"] or "",
        scenario["malicious_fraction"],
        scenario["epsilon"] or 0.0,
    )


def _total(cell: Row) -> float | None:
    """The largest total epsilon over seeds; None where there is none, or no bound."""
    found = cell.get("epsilon_total") or [None]
    return None if None in found else max(found)


def _value(cell: Row, metric: str) -> float | None:
    if metric == "accuracy":
        metric = "poisoned" if cell["values"]["poisoned"] else "clean"
    return mean(cell, metric)


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _interval(found: Estimate | None) -> str | None:
    return None if found is None else f"{found.mean:+.1f}+-{found.half_width:.1f}"
