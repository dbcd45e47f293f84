"""Curves in results.json and results.csv, the table of learning, and what its figure draws."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from fedcore.harness.reports import learning
from fedcore.harness.reports.formats import to_csv, to_latex, to_markdown
from fedcore.harness.reports.learning import learning_figure, learning_table
from fedcore.harness.reports.rows import row
from fedcore.harness.statistics.curves import Reached, curve
from fedcore.harness.suite.learning import Curves, Learning

CALM = [(0.2, 0.6, 0.8, 0.9), (0.4, 0.6, 0.8, 0.9), (0.3, 0.6, 0.8, 0.9)]
STRUCK = [(0.1, 0.4, 0.5, 0.6), (0.1, 0.4, 0.5, 0.6), (0.1, 0.4, 0.5, 0.6)]


def arm(values: list[tuple[float, ...]], reached: tuple[float | None, ...], noise: Any) -> Learning:
    records = [SimpleNamespace(rounds=(1, 2, 3, 4), accuracy=one) for one in values]
    areas = tuple(100 * sum(one) / 4 for one in values)
    return Learning(curve(records, noise), Reached(4, reached), areas)


def attacked(samples: SimpleNamespace, **more: Any) -> dict[str, Any]:
    fields = {**samples.LABEL_FLIP, **more}
    outcome = samples.outcome(poisoned=(55.0, 55.0, 55.0), struck=samples.RISING, **fields)
    curves = Curves(
        (76.5, 76.5, 76.5),
        arm(CALM, (2.825, 2.825, 2.825), samples.NOISE),
        arm(STRUCK, (None, 3.0, None), samples.NOISE),
    )
    return row(replace(outcome, curves=curves))


def test_the_row_has_the_curves_as_they_are(samples: SimpleNamespace) -> None:
    found = attacked(samples)["curves"]
    assert found["rounds"] == [1, 2, 3, 4]
    assert found["clean"]["mean"] == [30.0, 60.0, 80.0, 90.0]
    assert found["attacked"]["mean"] == [10.0, 40.0, 50.0, 60.0]
    assert found["clean"]["low"][0] < 30 < found["clean"]["high"][0]
    assert found["attacked"]["rounds_to_level"] == [None, 3.0, None]
    assert (found["attacked"]["median_rounds"], found["attacked"]["censored"]) == (None, 2)
    assert found["clean"]["area_estimate"]["mean"] == pytest.approx(65)
    assert row(samples.outcome())["curves"] is None


def test_the_csv_has_rounds_areas_and_convergence(samples: SimpleNamespace) -> None:
    document = {"cells": [attacked(samples), row(samples.outcome())]}
    first, second = csv.DictReader(io.StringIO(to_csv(document)))
    assert (first["clean_convergence"], first["poisoned_convergence"]) == ("flat", "rising")
    assert float(first["poisoned_rise_per_ten_rounds_mean"]) == pytest.approx(4)
    assert first["clean_rounds_to_90_median"] == "2.825"
    assert first["poisoned_rounds_to_90_median"] == ""
    assert first["poisoned_rounds_to_90_values"] == ">4 3.0 >4"
    assert first["poisoned_rounds_to_90_censored"] == "2"
    assert float(first["poisoned_area_mean"]) == pytest.approx(40)
    assert float(first["clean_area_low"]) < 65 < float(first["clean_area_high"])
    assert second["clean_rounds_to_90_values"] == ""


def test_the_table_of_learning(samples: SimpleNamespace) -> None:
    title, shown, legend = learning_table([attacked(samples), row(samples.outcome())])
    assert title == "learning"
    assert shown["rounds"] == ["4"]  # a cell without curves has no line
    assert shown["clean: rounds to 90 %"] == ["2.8"]
    assert shown["poisoned: rounds to 90 %"] == [">4 (2 of 3 not by 4)"]
    assert shown["poisoned: area"][0].startswith("40.0 [")
    assert shown["poisoned: rise"][0].startswith("rising 4.0 [")
    assert "90 % of the tail accuracy of its clean twin" in legend
    assert learning_table([row(samples.outcome())]) is None


def test_reports_show_it_and_the_figure(samples: SimpleNamespace) -> None:
    document = {"cells": [attacked(samples)], "repeat": "r", "date": "d", "provenance": {}}
    text = to_markdown(document, None, (), None, "figures/curves.png")
    assert "## Learning" in text
    assert "![Accuracy by round](figures/curves.png)" in text
    assert "(2 of 3 not by 4)" in to_latex(document)


def test_the_figure_draws_each_round_where_it_is(
    samples: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    drawn: list[Any] = []
    monkeypatch.setattr(learning, "png", lambda figure: drawn.append(figure) or b"png")
    cells = [attacked(samples), attacked(samples, strategy="median"), row(samples.outcome())]
    assert learning_figure(cells) == b"png"
    first, second = drawn[0].axes
    assert (first.get_title(), second.get_title()) == ("fedavg iid", "median iid")
    calm, struck = first.lines
    assert calm.get_xydata().tolist() == [[1, 30], [2, 60], [3, 80], [4, 90]]
    assert struck.get_xydata().tolist() == [[1, 10], [2, 40], [3, 50], [4, 60]]
    assert (calm.get_label(), struck.get_label()) == ("nobody attacks", "labelflip 30/50")
    assert len(first.collections) == 2
    assert learning_figure([row(samples.outcome())]) is None
