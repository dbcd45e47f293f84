"""Single clients in rows, tables and documents."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from types import SimpleNamespace

import pytest

from fedcore import Scenario, run
from fedcore.harness.reports.clients import accuracy_row, detection_row, table
from fedcore.harness.reports.files import document
from fedcore.harness.reports.formats import to_csv, to_html, to_latex, to_markdown
from fedcore.harness.reports.rows import row
from fedcore.harness.reports.table import WIDTH, terminal_document
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.clients import ClientFindings, client_findings
from fedcore.records.client_accuracy import Spread, honest_spread
from fedcore.records.detection import Counts, Detection, First, detections
from fedcore.records.store import Run

SEEDS = (0, 1, 2)  # of the samples' outcomes
OUT = (
    Detection(Counts(1, 3, 1, 4), (First(0, 3, 1, 1), First(1, 1, None, None))),
    Detection(Counts(3, 1, 0, 5), (First(2, 4, 2, 2),)),
    Detection(Counts(), ()),
)
DOWN = (
    Detection(Counts(4, 0, 1, 4), (First(0, 3, 1, 1), First(1, 1, 1, 1))),
    Detection(Counts(3, 1, 0, 5), (First(2, 4, 2, 2),)),
    Detection(Counts(), ()),
)
FOUND = ClientFindings(
    detected=tuple({"left_out": o, "weighed_down": d} for o, d in zip(OUT, DOWN, strict=True)),
    absent=None,
    final=(Spread(8, 0.5, 0.25), Spread(8, 0.7, 0.35)),
    twin=(Spread(8, 0.8, 0.5), Spread(8, 0.9, 0.6)),
)


def test_a_row_has_counts_by_seed_and_rates_of_their_sums() -> None:
    found = detection_row(FOUND, SEEDS)
    assert found is not None
    assert set(found) == {"left_out", "weighed_down"}
    out = found["left_out"]
    assert (out["caught"], out["missed"]) == ([1, 3, 0], [3, 1, 0])
    assert (out["blamed"], out["spared"]) == ([1, 0, 0], [4, 5, 0])
    # 4 of 5 that were left out are malicious, 4 of 8 malicious left out, 1 of 10 honest
    assert (out["precision"], out["recall"]) == (80, 50)
    assert out["false_positive_rate"] == 10
    assert out["base_rate"] == pytest.approx(800 / 18)
    assert out["first"][2] == {
        "seed": 1, "client": 2, "rounds": 4, "round": 2, "participations": 2,
    }  # fmt: skip


def test_a_row_has_the_accuracy_over_honest_clients_beside_the_twins() -> None:
    assert accuracy_row(FOUND) == {
        "clients": [8, 8],
        "mean": [50, 70],
        "worst": [25, 35],
        "mean_twin": [80, 90],
        "worst_twin": [50, 60],
    }
    clean = dataclasses.replace(FOUND, twin=())
    assert accuracy_row(clean)["mean_twin"] == []
    assert accuracy_row(dataclasses.replace(FOUND, final=(None, None))) is None
    assert accuracy_row(None) is None


def test_what_is_absent_has_its_reason_or_is_none() -> None:
    none = dataclasses.replace(FOUND, detected=(None, None))
    assert detection_row(none, SEEDS) is None
    mixed = dataclasses.replace(none, absent="the rows behind bucketing are not single clients")
    assert detection_row(mixed, SEEDS) == {"absent": mixed.absent}
    assert detection_row(None, SEEDS) is None


def test_all_documents_show_detection_in_a_table_of_its_own(samples: SimpleNamespace) -> None:
    attack = samples.LABEL_FLIP
    shown = samples.outcome(poisoned=samples.CLEAN, strategy="krum", **attack)
    mixed = samples.outcome(
        poisoned=samples.CLEAN, strategy="krum", preaggregation="bucketing(size=2)", **attack
    )
    none = dataclasses.replace(
        FOUND, detected=(None,), absent="the rows behind bucketing are not single clients"
    )
    outcomes = [
        dataclasses.replace(shown, clients=FOUND),
        dataclasses.replace(mixed, clients=none),
        samples.outcome(("clean", 85, 99)),
    ]
    content = json.loads(json.dumps(document(outcomes, repeat="pytest"), allow_nan=False))
    title, columns, legend = table(content["cells"])
    assert columns["left out"] == ["80/50/10"]
    assert columns["below half"] == ["88/88/10"]
    assert (columns["caught"], columns["after"], columns["base"]) == (["3/3"], ["1"], ["44"])
    assert "Not shown for 1 cell(s): the rows behind bucketing are not single clients." in legend
    text = terminal_document(content)
    assert title in text
    assert "88/88/10" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    for made in (to_markdown(content, None, ()), to_html(content, None, ()), to_latex(content)):
        assert "80/50/10" in made
    first, *rest = csv.DictReader(io.StringIO(to_csv(content)))
    assert float(first["left_out_precision"]) == 80
    assert float(first["client_worst"]) == pytest.approx(30)
    assert [other["left_out_precision"] for other in rest] == ["", ""]


def test_results_of_before_have_no_such_table(samples: SimpleNamespace) -> None:
    cells = [row(outcome) for outcome in samples.suite()]
    for cell in cells:
        del cell["detection"], cell["client_accuracy"]
    assert table(cells) is None
    assert to_csv({"cells": cells})


def test_the_twin_is_measured_over_the_clients_that_are_honest_in_the_attacked_arm() -> None:
    scenario = Scenario(
        dataset="synthetic:200", model="mlp", num_clients=6, rounds=2, lr=0.1, strategy="krum",
        attack="signflip", malicious_fraction=0.5, fraction_train=1.0,
        partition="dirichlet(alpha=0.5, min_partition_size=2)",
    )  # fmt: skip
    arms = scenario, scenario.clean_twin()
    records = {Run(arm, seed): run(arm, seed, device="cpu") for arm in arms for seed in (0, 1)}
    found = client_findings(Cell(scenario.id, scenario, 2), (0, 1), records)
    struck, calm = (records[Run(arm, 1)] for arm in arms)
    assert found.detected[1] == detections(struck)
    assert found.final[1] == honest_spread(struck)
    assert found.twin[1] == honest_spread(calm, struck.audit.malicious)
    assert found.twin[1] is not None
    assert found.twin[1].clients == 3
    assert honest_spread(calm).clients == 6
    clean = client_findings(Cell(arms[1].id, arms[1], 2), (0, 1), records)
    assert clean.twin == ()
    assert clean.detected == (None, None)
