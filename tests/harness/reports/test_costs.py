"""What defending and heterogeneity cost with no attacker, on hand-made records."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedcore.harness.reports import files as report
from fedcore.harness.reports.costs import FACTORS, cost_rows, costs, reference_of
from fedcore.harness.reports.table import WIDTH
from fedcore.harness.statistics.estimates import Noise, estimate

SGD = {"optimizer": "sgd", "lr": 0.2}


def suite(samples: SimpleNamespace) -> list[object]:
    """FedAvg and the median on IID and Dirichlet; drops of the clean arms are easy to tell."""
    return [
        samples.outcome(clean=(93.0, 92.0, 94.0)),
        samples.outcome(clean=(83.0, 82.0, 84.0), **samples.DIRICHLET),
        samples.outcome(clean=(91.0, 91.0, 91.0), strategy="median", **SGD),
        samples.outcome(
            clean=(63.0, 61.0, 65.0),
            poisoned=(60.0, 60.0, 60.0),
            strategy="median",
            **SGD,
            **samples.DIRICHLET,
            **samples.LABEL_FLIP,
        ),
    ]


def test_costs_by_hand(samples: SimpleNamespace) -> None:
    found = {
        (cost.kind, cost.arm.strategy, cost.arm.partition): cost.values
        for cost in costs(suite(samples), samples.NOISE)
    }
    assert found == {
        ("heterogeneity", "fedavg", "dirichlet"): (10.0, 10.0, 10.0),
        ("defence", "median", "iid"): (2.0, 1.0, 3.0),
        ("defence", "median", "dirichlet"): (20.0, 21.0, 19.0),
        ("heterogeneity", "median", "dirichlet"): (28.0, 30.0, 26.0),
    }


def test_json_carries_effect_interval_and_seeds(samples: SimpleNamespace) -> None:
    rows = cost_rows(suite(samples))
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    line = next(r for r in rows if (r["kind"], r["partition"]) == ("defence", "iid"))
    wanted = estimate([2.0, 1.0, 3.0], samples.NOISE)
    assert (line["effect"], line["low"], line["high"]) == pytest.approx(
        (2.0, wanted.low, wanted.high)
    )
    assert (line["seeds"], line["values"], line["confidence"]) == ([0, 1, 2], [2.0, 1.0, 3.0], 0.9)
    assert line["factor"] == ["lr", "optimizer", "preaggregation", "strategy"]
    assert (line["id"], line["reference"]) == ("median-iid-clean-sgd-lr0.2", "fedavg-iid-clean")
    assert line["clean"] == pytest.approx(91)


def test_a_seed_that_one_arm_lacks_is_in_neither(samples: SimpleNamespace) -> None:
    plain, skewed = suite(samples)[:2]
    object.__setattr__(skewed, "seeds", (1, 2, 5))
    (cost,) = costs([plain, skewed], samples.NOISE)
    assert cost.seeds == (1, 2)
    assert cost.values == (92.0 - 83.0, 94.0 - 82.0)


def test_only_pairs_that_the_lint_accepts(samples: SimpleNamespace) -> None:
    base = samples.outcome().cell.scenario
    fits = base.but(strategy="median", **SGD)
    assert reference_of("defence", fits, [base]) == base
    # more than the strategy and its tuned local work
    assert reference_of("defence", fits.but(rounds=99), [base]) is None
    # what stands in front of a strategy is part of the defence, and FedAvg behind it defended
    chained = fits.but(preaggregation="bucketing")
    alone = base.but(preaggregation="bucketing")
    assert reference_of("defence", chained, [alone, base]) == base
    assert reference_of("defence", alone, [base]) == base
    assert reference_of("defence", chained, [alone]) is None
    assert reference_of("defence", base.but(strategy="fedbn", norm="batch"), [base]) is None
    assert reference_of("heterogeneity", fits.but(**samples.DIRICHLET), [base]) is None
    # FedAvg itself and IID itself cost nothing
    assert reference_of("defence", base.but(**SGD), [base]) is None
    assert reference_of("heterogeneity", base, [base]) is None
    # two undefended arms: nothing says which of them is meant
    assert reference_of("defence", fits, [base, base.but(**SGD)]) is None
    # a partition that is fixed is still compared with IID, which cannot be
    fixed = base.but(**samples.DIRICHLET, partition_seed=123)
    assert reference_of("heterogeneity", fixed, [base]) == base
    assert all("attack" not in factor for factor in FACTORS.values())


def test_cells_with_errors_take_no_part(samples: SimpleNamespace) -> None:
    plain = samples.outcome()
    broken = samples.outcome(errors=("no pair",), **samples.DIRICHLET)
    assert costs([plain, broken], samples.NOISE) == []
    assert cost_rows([]) == []


def test_arms_of_one_name_are_told_apart(samples: SimpleNamespace) -> None:
    """The arms of 4 and of 20 clients, whose ids say nothing of it, are compared by their own."""
    outcomes = []
    for clients, low in ((4, 80.0), (20, 70.0)):
        for partition, clean in (({}, 90.0), (samples.DIRICHLET, low)):
            one = samples.outcome(clean=(clean,) * 3, num_clients=clients, **partition)
            name = f"fedavg-{'dirichlet0.1' if partition else 'iid'}-clean"
            object.__setattr__(one.cell, "id", name)
            outcomes.append(one)
    found = {line["id"]: (line["note"], line["effect"], line["reference"])
             for line in cost_rows(outcomes)}  # fmt: skip
    assert found == {
        f"fedavg-dirichlet0.1-clean-clients{n}": (
            f"clients{n}",
            lost,
            f"fedavg-iid-clean-clients{n}",
        )
        for n, lost in ((4, 10.0), (20, 20.0))
    }


def test_one_seed_without_prior_has_no_interval(samples: SimpleNamespace) -> None:
    plain, skewed = suite(samples)[:2]
    for one in (plain, skewed):
        object.__setattr__(one, "seeds", (0,))
        object.__setattr__(one, "clean", one.clean[:1])
        object.__setattr__(one, "noise", Noise(1.5, 0))
    (line,) = cost_rows([plain, skewed])
    assert (line["effect"], line["low"], line["confidence"]) == (10.0, None, None)
    assert "10.0 1" in report.summary_table([plain, skewed])


def test_every_document_has_them(samples: SimpleNamespace, tmp_path: Path) -> None:
    outcomes = suite(samples)
    shown = report.summary_table(outcomes)
    assert max(map(len, shown.splitlines())) <= WIDTH
    report.write_reports(outcomes, tmp_path, repeat="pytest benchmark")
    place = shown[shown.index("with no attacker:") :].splitlines()
    assert place[1].split() == ["strategy", "partition", "note", "clean", "defence",
                                "heterogeneity", "n"]  # fmt: skip
    assert "20.0 [18.5, 21.5]" in place[-4]
    for name, sign in (("report.md", "## With no attacker"), ("report.html", "With no attacker"),
                       ("results.tex", "% with no attacker")):  # fmt: skip
        text = (tmp_path / name).read_text()
        assert sign in text
        assert "20.0 [18.5, 21.5]" in text
        assert "ver all attacked cells" in text
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert float(lines[3]["defence_cost_effect"]) == 20.0
    assert lines[3]["heterogeneity_cost_seeds"] == "0 1 2"
    assert lines[0]["defence_cost_effect"] == ""
    again = report.render_again(tmp_path, tmp_path / "again")[0]
    assert again == shown


def test_results_of_before_these_tables_still_render(
    samples: SimpleNamespace, tmp_path: Path
) -> None:
    report.write_reports(suite(samples), tmp_path, repeat="pytest benchmark")
    content = report.read_results(tmp_path)
    del content["overall"], content["costs"]
    for cell in content["cells"]:
        del cell["twin"], cell["published"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert "no attacker" not in report.render_again(tmp_path, tmp_path)[0]
