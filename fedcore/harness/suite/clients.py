"""What the runs of a cell show of single clients: whom the rule detected, whom the model serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.measures import Records
from fedcore.records.client_accuracy import Spread, honest_spread
from fedcore.records.detection import Detection, absence, detections
from fedcore.records.store import Run


@dataclass(frozen=True)
class ClientFindings:
    """By seed, each in the order of the outcome's.

    ``detected`` is by name of `fedcore.records.detection.RULES`, None where the rule notes no
    shares; ``absent`` says why no rule could there. ``final`` is the accuracy of the final
    model over the honest clients, ``twin`` that of the clean twin over the same ones, empty for a
    clean cell.
    """

    detected: tuple[Mapping[str, Detection] | None, ...]
    absent: str | None
    final: tuple[Spread | None, ...]
    twin: tuple[Spread | None, ...] = ()


def client_findings(cell: Cell, seeds: Sequence[int], records: Records) -> ClientFindings:
    """The findings of ``cell`` from its records."""
    arm = [records[Run(cell.scenario, seed)] for seed in seeds]
    detected = tuple(detections(record) for record in arm)
    final = tuple(honest_spread(record) for record in arm)
    if cell.scenario.attack is None:
        return ClientFindings(detected, None, final)
    twins = [records[Run(cell.scenario.clean_twin(), seed)] for seed in seeds]
    pairs = zip(twins, arm, strict=True)
    twin = tuple(honest_spread(calm, struck.audit.malicious) for calm, struck in pairs)
    return ClientFindings(detected, absence(cell.scenario), final, twin)
