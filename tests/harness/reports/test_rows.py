from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from fedcore import Scenario
from fedcore.harness.reports.rows import confidence, deciding_gate, half_width, labels, mean, row
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.outcome import Outcome


def test_a_row_holds_what_the_outcome_knows(samples: SimpleNamespace) -> None:
    outcome = samples.suite()[1]
    cell = row(outcome)
    assert cell["id"] == "fedavg-iid-labelflip-mal30pct-poison50pct"
    assert Scenario.from_dict(cell["scenario"]) == outcome.cell.scenario
    assert cell["hash"] == outcome.cell.scenario.hash
    assert cell["values"] == {
        "clean": [93.0, 92.0, 94.0],
        "poisoned": [60.0, 70.0, 71.0],
        "drop": [33.0, 22.0, 23.0],
        "asr": [],
        "retention": [60 / 93, 70 / 92, 71 / 94],
        "balanced": [],
        "worst_recall": [],
        "asr_net": [],
        "exposure": [],
    }
    assert mean(cell, "drop") == pytest.approx(26.0)
    assert cell["estimates"]["asr"] is None
    assert half_width(cell, "poisoned") == outcome.spread(outcome.poisoned).half_width
    assert cell["retention"] == pytest.approx(67 / 93)
    (gate,) = cell["gates"]
    assert (gate["threshold"], gate["limit"], gate["verdict"]) == ("drop.sample", "<=8", "FAIL")
    assert gate["estimate"]["seeds"] == 3
    assert json.loads(json.dumps(cell, allow_nan=False)) == cell


def test_the_note_is_what_sets_a_cell_apart_from_the_base(samples: SimpleNamespace) -> None:
    notes = [row(outcome)["labels"]["note"] for outcome in samples.suite()]
    assert notes == ["", "", "", "", "mobilenetv2"]
    assert labels("of-another-make", Scenario())["note"] == "of-another-make"


def test_shares_are_percent_and_clean_cells_have_none() -> None:
    attacked = Scenario(attack="labelflip", malicious_fraction=0.3, poison_ratio=0.125, redraw=True)
    found = labels(attacked.id, attacked)
    assert (found["malicious"], found["poison"], found["redraw"]) == ("30", "12.5", "redraw")
    clean = labels(Scenario().id, Scenario())
    assert (clean["attack"], clean["malicious"], clean["variant"]) == ("clean", None, None)


def test_the_gate_that_decides(samples: SimpleNamespace) -> None:
    decided = [deciding_gate(row(outcome)) for outcome in samples.suite()]
    metrics = [gate["metric"] for gate in decided if gate is not None]
    # a failing ASR outweighs a drop that holds; a void cell rests on its control
    assert metrics == ["clean", "drop", "asr", "control", "drop"]
    assert deciding_gate(row(samples.outcome())) is None


def test_one_seed_without_prior_noise_has_a_mean_and_no_interval(samples: SimpleNamespace) -> None:
    cell = samples.outcome().cell
    cell = row(Outcome(cell, (0,), (93.0,), (), (), (), (), (), Noise(1.5, 0)))
    assert mean(cell, "clean") == 93.0
    assert half_width(cell, "clean") is None
    assert confidence([cell]) is None
