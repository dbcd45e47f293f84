"""Single clients in results: whom a rule detected, and the accuracy of the worst served ones."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedcore.records.detection import RULES, Detection, pooled

if TYPE_CHECKING:
    from fedcore.harness.suite.clients import ClientFindings
    from fedcore.records.client_accuracy import Spread

Row = Mapping[str, Any]
Columns = dict[str, list[str | None]]

RATES = ("precision", "recall", "false_positive_rate")
_COUNTS = ("caught", "missed", "blamed", "spared")
TITLE = "whom the rule detected"


def accuracy_row(found: ClientFindings | None) -> dict[str, Any] | None:
    """Accuracy over honest clients by seed, in percent; None where nothing is known.

    Keys: clients (their number), mean and worst (mean of the lowest tenth) of the final model,
    mean_twin and worst_twin of the clean twin's over the same clients (empty for a clean cell).
    """
    if found is None:
        return None
    final, twin = _known(found.final), _known(found.twin)
    if final is None or (found.twin and twin is None):
        return None
    return {
        "clients": [each.clients for each in final],
        "mean": [100 * each.mean for each in final],
        "worst": [100 * each.worst for each in final],
        "mean_twin": [100 * each.mean for each in twin or ()],
        "worst_twin": [100 * each.worst for each in twin or ()],
    }


def detection_row(found: ClientFindings | None, seeds: Sequence[int]) -> dict[str, Any] | None:
    """Detection by rule; ``{"absent": reason}`` behind pre-aggregation, None without anything.

    Of each rule, over rounds with a malicious client: caught, missed, blamed and spared clients by
    seed; precision, recall, false_positive_rate and base_rate in percent of their sums over seeds;
    ``first``, when each malicious client was detected.
    """
    if found is None or None in found.detected or not found.detected:
        return None if found is None or found.absent is None else {"absent": found.absent}
    known = [each for each in found.detected if each is not None]
    return {name: _rule([each[name] for each in known], seeds) for name in RULES}


def _rule(found: Sequence[Detection], seeds: Sequence[int]) -> dict[str, Any]:
    total = pooled(each.counts for each in found)
    rates = {name: getattr(total, name) for name in (*RATES, "base_rate")}
    return {
        **{name: [getattr(each.counts, name) for each in found] for name in _COUNTS},
        **{name: None if rate is None else 100 * rate for name, rate in rates.items()},
        "first": [
            {"seed": seed, **vars(first)}
            for seed, each in zip(seeds, found, strict=True)
            for first in each.first
        ],
    }


def flat(cell: Row) -> dict[str, Any]:
    """What a CSV row shows of ``cell``: rates by rule, means over seeds of the accuracies."""
    values: dict[str, Any] = {}
    accuracy = cell.get("client_accuracy") or {}
    for name in ("mean", "worst", "mean_twin", "worst_twin"):
        if accuracy.get(name):
            values[f"client_{name}"] = statistics.fmean(accuracy[name])
    detection = cell.get("detection") or {}
    for rule in RULES:
        for name in (*RATES, "base_rate") if rule in detection else ():
            values[f"{rule}_{name}"] = detection[rule][name]
    return values


def table(cells: Sequence[Row]) -> tuple[str, Columns, str] | None:
    """(title, columns, legend) of detection; None where no cell has any."""
    shown = [cell for cell in cells if "left_out" in (cell.get("detection") or {})]
    if not shown:
        return None
    labels = [cell["labels"] for cell in shown]
    columns = {
        "strategy": [each["strategy"] for each in labels],
        "partition": [each["partition"] for each in labels],
        "attack": [each["variant"] for each in labels],
        "note": [each["note"].replace("-", " ") or None for each in labels],
        "mal/poi": [f"{each['malicious']}/{each['poison'] or '-'}" for each in labels],
        "base": [_whole(cell["detection"]["left_out"]["base_rate"]) for cell in shown],
        "left out": [_rates(cell["detection"]["left_out"]) for cell in shown],
        "below half": [_rates(cell["detection"]["weighed_down"]) for cell in shown],
        "caught": [_caught(cell["detection"]["weighed_down"]) for cell in shown],
        "after": [_after(cell["detection"]["weighed_down"]) for cell in shown],
        "n": [str(len(cell["seeds"])) for cell in shown],
    }
    return TITLE, {name: c for name, c in columns.items() if any(c)}, _legend(cells)


def _legend(cells: Sequence[Row]) -> str:
    text = (
        "precision/recall/false positives, %, of clients that the rule left out (coefficient 0), "
        "and of those below half of their plain share, over rounds with a malicious client and all "
        "seeds. base: malicious among these clients, %, the precision of chance. caught: malicious "
        "clients once below half, of those that took part; after: median participations up to it."
    )
    reasons = [(cell.get("detection") or {}).get("absent") for cell in cells]
    for reason in dict.fromkeys(filter(None, reasons)):
        text += f" Not shown for {reasons.count(reason)} cell(s): {reason}."
    return text


def _rates(rule: Mapping[str, Any]) -> str:
    return "/".join(_whole(rule[name]) or "-" for name in RATES)


def _caught(rule: Mapping[str, Any]) -> str:
    caught = sum(first["round"] is not None for first in rule["first"])
    return f"{caught}/{len(rule['first'])}"


def _after(rule: Mapping[str, Any]) -> str | None:
    counts = [first["participations"] for first in rule["first"] if first["round"] is not None]
    return f"{statistics.median(counts):g}" if counts else None


def _whole(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _known(values: Sequence[Spread | None]) -> list[Spread] | None:
    known = [value for value in values if value is not None]
    return known if known and len(known) == len(values) else None
