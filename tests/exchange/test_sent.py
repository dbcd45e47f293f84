"""Rows as the audit of attacks sees them, and what it keeps of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedcore.exchange import sent as module
from fedcore.exchange.cohort import Cohort
from fedcore.exchange.sent import Sent, off_by
from fedcore.exchange.updates import UpdateLog


def cohort(rows: Any) -> Cohort:
    updates = torch.as_tensor(rows, dtype=torch.float32)
    size = len(updates)
    none = torch.zeros(size, 0, dtype=torch.int64)
    return Cohort(tuple(range(size)), updates, none, (1,) * size, (1,) * size, (None,) * size)


class Sizes:
    """Measures the sum of a row; clients 0 and 2 are malicious."""

    knows = "benign"

    def __init__(self, one_row: bool) -> None:
        self.one_row, self.seen = one_row, list[Sent]()

    def measured(self, sent: Sent) -> dict[str, float]:
        self.seen.append(sent)
        size = float(sent.sums(lambda piece: piece.row.sum()))
        return {"size": size, "same": sent.same, "odd": float("nan")}


HONEST = cohort([[1.0, 1], [5, 5], [2, 2], [7, 7]])


def logged(measure: Sizes, *rounds: Any) -> list[Any]:
    log = UpdateLog([0, 2], measure)
    for number, rows in enumerate(rounds, 1):
        log.sent(number, HONEST, cohort(rows), 2, torch.tensor([8.0, 9.0]))
    return [dict(audit.measured) for audit in log.audits()]


def test_spans_over_rounds_of_what_is_finite() -> None:
    measure = Sizes(one_row=False)
    first, second = logged(
        measure, [[9.0, 1], [5, 5], [4, 4], [7, 7]], [[6.0, 1], [5, 5], [6, 1], [7, 7]]
    )
    assert first == {"size": (7.0, 10.0), "same": (0.0, 1.0)}
    assert second == {"size": (7.0, 8.0), "same": (0.0, 1.0)}
    sent = measure.seen[1]  # the first round's second malicious client
    assert (sent.malicious, sent.clients, sent.position, sent.round) == (2, 4, 1, 1)
    assert sent.others == (1, 3)
    assert sent.visible.tolist() == [[5, 5], [7, 7]]
    assert sent.own.tolist() == [[1, 1], [2, 2]]
    assert float(sent.sums(lambda piece: piece.model.sum())) == 17


def test_one_row_is_measured_once_and_another_one_all_the_same() -> None:
    measure = Sizes(one_row=True)
    first, second = logged(
        measure, [[3.0, 1], [5, 5], [3, 1], [7, 7]], [[3.0, 1], [5, 5], [6, 1], [7, 7]]
    )
    assert [each.position for each in measure.seen] == [0, 0, 1]
    assert first == {"size": (4.0, 4.0), "same": (0.0, 1.0)}
    assert second == {"size": (4.0, 7.0), "same": (0.0, 1.0)}


def test_attackers_among_themselves_see_their_own() -> None:
    rows = torch.ones(2, 3)
    sent = Sent(rows, rows, rows[:0], "benign", 0, 1, ())
    assert not sent.sees_benign
    assert sent.visible is rows


def test_sums_run_over_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(14.0).view(2, 7)
    sent = Sent(rows, rows + 1, rows[:0], "own", 1, 1, ())
    whole = sent.sums(lambda piece: torch.stack((piece.row.sum(), piece.own.sum())))
    monkeypatch.setattr(module, "_CHUNK", 3)
    parts = sent.sums(lambda piece: torch.stack((piece.row.sum(), piece.own.sum())))
    assert whole.tolist() == parts.tolist() == [70.0, 105.0]
    assert sent.over(2.0).sums(lambda piece: piece.row.sum()).item() == 35.0


def test_a_scale_of_nothing() -> None:
    assert (off_by(4.0, 16.0), off_by(4.0, 0.0), off_by(0.0, 0.0)) == (0.5, 2.0, 0.0)
