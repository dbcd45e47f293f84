"""Known kills and saves: each shows on paired seeds, by the bound of its interval.

    pytest benchmark/test_trends.py

`pytest benchmark` leaves this file out: name it, as above. Runs are stored. What is compared, why
its settings are these: `trends`. How to write the page of results: `trend_page`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedcore import run
from fedcore.errors import IdentityError
from fedcore.harness.suite.lab import Lab
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.robust.flame import Flame
from fedcore.strategies.robust.fltrust import FLTrust

from .trend_page import TrendError, measure
from .trends import LASTING, SEEDS, SKEWED, TRENDS, Trend


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, suite_options: Options) -> Iterator[Lab]:
    """The lab, at work on what the selected trends need."""
    if suite_options.dataset != SKEWED.dataset:
        pytest.skip(f"trends are runs on {SKEWED.dataset}, whatever --dataset is")
    here = request.path
    specs = [getattr(i, "callspec", None) for i in request.session.items if i.path == here]
    chosen = [spec.params["trend"] for spec in specs if spec and "trend" in spec.params]
    made = Lab(suite_options, Thresholds.none())
    made.begin(one for trend in chosen for one in trend.runs(suite_options.seeds or SEEDS))
    yield made
    made.close()


@pytest.mark.parametrize("trend", TRENDS, ids=lambda trend: trend.name)
def test_trend(trend: Trend, lab: Lab, suite_options: Options, remark) -> None:
    """The lower end of the difference's interval is above the limit of the trend.

    Arms under a rule that must not be FedAvg have steps of their own in every round.
    """
    try:
        found = measure(trend, lab, suite_options.seeds or SEEDS)
    except TrendError as error:
        pytest.fail(str(error), pytrace=False)
    remark(found.explained())
    if not found.shown:
        pytest.fail(f"not shown: {found.explained()}", pytrace=False)
    for record in found.records:
        seen = record.audit.identity
        if record.scenario.strategy in ("fltrust", "flame"):
            counts = (seen.rounds_due, seen.rounds_differing, seen.rounds_checked)
            assert counts == (record.scenario.rounds,) * 3, f"{record.scenario.id}: {seen}"


@pytest.mark.parametrize("rule", [FLTrust, Flame], ids=["fltrust", "flame"])
def test_plain_averaging_under_another_name_is_no_run(
    rule: type, monkeypatch, suite_options: Options
) -> None:
    """As in a suite whose FLTrust never gets its root update: the identity check refuses it."""
    monkeypatch.setattr(rule, "step", FedAvg.step)
    scenario = LASTING.but(strategy=rule.__name__.lower(), rounds=1, local_epochs=1)
    with pytest.raises(IdentityError, match=rule.__name__.lower()):
        run(scenario, 0, data_dir=suite_options.data_dir, device="cpu")
