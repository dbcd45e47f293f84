from __future__ import annotations

from typing import Any

import pytest

from fedcore import Scenario
from fedcore.strategies.aggregation import Aggregation
from fedcore.strategies.strategy import STRATEGIES

# by the papers' conditions, for 10 rows: K > 2 f, Krum's K > 2 f + 2, Bulyan's K >= 4 f + 3, ...
TEN = {
    "trimmedmean": 2, "trimmedmean(trim_fraction=0.3)": 3, "median": 4,
    "krum": 3, "krum(num_byzantine=1)": 1, "multikrum": 3, "bulyan": 1,
    "meamed": 4, "mda": 4, "cge": 4, "monna": 4, "caf": 4, "dnc": 4, "dnc(num_byzantine=2)": 2,
    "medianofmeans": 2, "medianofmeans(num_groups=10)": 4, "signguard": 4, "flame": 4,
    "fedavg": None, "fednova": None, "rfa": None, "normclipping": None, "fltrust": None,
    "krum(num_byzantine=0)": 0,
}  # fmt: skip


def withstood(clients: int = 10, **fields: Any) -> int | None:
    scenario = Scenario(num_clients=2 * clients, **fields)
    return Aggregation.of(scenario, 0).withstands(scenario.cohort_size)


@pytest.mark.parametrize(("strategy", "number"), TEN.items())
def test_the_number_of_each_rule_for_ten_rows(strategy, number) -> None:
    assert withstood(strategy=strategy) == number


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"flower"}))
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 11, 25])
def test_a_number_is_of_a_minority(name, rows) -> None:
    found = STRATEGIES[name]().withstands(rows)
    assert found is None or 0 <= 2 * found < rows


def test_the_chain_in_front_counts() -> None:
    # 10 clients in 5 buckets, of which the median withstands 2; a client spoils one at most
    assert withstood(strategy="median", preaggregation="bucketing(size=2)") == 2
    assert withstood(strategy="median", preaggregation="nnm(num_byzantine=1)") == 1
    assert withstood(strategy="fedavg", preaggregation="arc(num_byzantine=3)") == 3
    assert withstood(strategy="krum", preaggregation="nnm") == 3
    assert withstood(strategy="median", preaggregation="clipping") == 4
    assert withstood(strategy="fedavg", preaggregation="bucketing(size=2)") is None
    # behind buckets the rule's own f is of rows
    told = {"strategy": "krum(num_byzantine=1)", "preaggregation": "bucketing(size=2)"}
    assert withstood(**told) == 1
