"""What of a matrix has not been shown to converge is marked, and neither ranked nor costed."""

from __future__ import annotations

import csv
import io
import re

import pytest

from fedcore.harness.reports.matrix import matrices
from fedcore.harness.reports.matrix_csv import matrices_csv
from fedcore.harness.reports.matrix_text import markdown_matrices, terminal_matrices
from fedcore.harness.statistics.convergence import Trend
from tests.harness.reports.test_matrix import NOISE, OPEN, RISING, by_name, cell, full, krum


def test_what_converges_first_is_ranked_first() -> None:
    rows = by_name(matrices(full() + krum(), NOISE)[0])
    assert tuple(rows["krum"]["rank"].values()) == (1, 1)
    assert rows["krum"]["cost"]["mean"] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("trends", "sign", "reason"),
    [(RISING, "^", "it still rises"), (OPEN, "~", "noise hides whether it still rises")],
)
def test_what_is_not_shown_to_have_converged_is_marked_and_has_neither_rank_nor_cost(
    trends: list[Trend], sign: str, reason: str
) -> None:
    (table,) = matrices(full() + krum(trends), NOISE)
    rows = by_name(table)
    assert rows["krum"]["rank"] is rows["krum"]["cost"] is None
    assert not any("rank" in one for one in rows["krum"]["cells"].values())
    assert rows["krum"]["unranked"] == f"without attack: {reason}"
    assert rows["krum"]["uncosted"] == f"of krum without attack: {reason}"
    assert tuple(rows["bucketing + krum"]["rank"].values()) == (1, 1)
    text = " ".join(terminal_matrices([table]).split())
    assert f"krum 90.0{sign} - 99.0 99.0" in text
    assert "Not shown to have converged at 15 rounds:" in text
    assert f"No rank at 15 rounds: krum (without attack: {reason})." in text
    assert f"No cost at 15 rounds: krum (of krum without attack: {reason})." in text
    assert f"krum ({'+4.0 [' if sign == '^' else '+0.8 ['}" in text
    line = next(x for x in csv.DictReader(io.StringIO(matrices_csv([table])))
                if x["defence"] == "krum")  # fmt: skip
    assert (line["rank"], line["attack_rank"], line["cost"]) == ("", "", "")


def test_a_reference_that_rises_leaves_no_cost_at_all() -> None:
    cells = [c for c in full() if c["place"]["defence"] != "fedavg"]
    values = ((None, 0.0), ("flip", 80.0), ("sign", 40.0))
    cells += [cell("fedavg", attack, value, 95.0, RISING) for attack, value in values]
    rows = by_name(matrices(cells, NOISE)[0])
    assert {row["cost"] for row in rows.values()} == {None}
    assert rows["median"]["uncosted"] == "of fedavg without attack: it still rises"


def test_an_attacked_arm_that_rises_is_not_ranked_where_it_may_be_the_worst_case() -> None:
    (table,) = matrices(full() + krum(struck=RISING, door=95.0), NOISE)
    row = by_name(table)["krum"]
    assert row["worst"]["attacks"] == ["door"]
    assert (row["rank"], row["unranked"]) == (None, "under door: it still rises")
    assert "rank" not in row["cells"]["door"]
    assert row["cells"]["flip"]["rank"]["best"] == 1  # that arm has converged
    assert row["cost"] is not None
    text = " ".join(terminal_matrices([table]).split())
    assert "95.0^" in text
    assert "No rank at 15 rounds: krum (under door: it still rises)." in text
    assert re.search(r"95\.0 \[9\d\.\d, 9\d\.\d\]\^ \(-5\.0\)", markdown_matrices([table]))


def test_an_attacked_arm_that_rises_above_the_worst_case_leaves_it_as_it_is() -> None:
    row = by_name(matrices(full() + krum(struck=RISING, door=99.9), NOISE)[0])["krum"]
    assert row["worst"]["attacks"] == ["flip", "sign"]
    assert tuple(row["rank"].values()) == (1, 1)
    assert "rank" not in row["cells"]["door"]


def test_an_attacked_arm_that_goes_up_and_down_is_marked_and_ranked() -> None:
    (table,) = matrices(full() + krum(struck=OPEN, door=95.0), NOISE)
    assert tuple(by_name(table)["krum"]["rank"].values()) == (1, 1)
    assert "95.0~" in " ".join(terminal_matrices([table]).split())
