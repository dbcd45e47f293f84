"""What a user asks of a defence, in one line: read, asked of the cells that fit, and judged."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedcore import Scenario
from fedcore.harness.statistics.estimates import CellVerdict, Noise, confidence
from fedcore.harness.suite.requirements import METRICS, Requirement, unasked
from fedcore.harness.suite.thresholds import ThresholdError, Thresholds

CLEAN = Scenario(strategy="krum", num_clients=20, fraction_train=1.0)
FLIP = CLEAN.but(attack="labelflip", malicious_fraction=0.3, poison_ratio=0.5)
NONE = Noise(1.0, 0.0)


def test_a_line_says_metric_limit_conditions_and_confidence() -> None:
    asked = Requirement.parse(
        "poisoned >= 80 where strategy = krum, malicious_fraction = 30 % with 90 %", "krum-holds"
    )
    limit = asked.threshold
    assert (limit.name, limit.metric, limit.min, limit.max) == (
        "require.krum-holds", "poisoned", 80.0, None,
    )  # fmt: skip
    assert limit.where == {"strategy": ("krum",), "malicious_fraction": (0.3,)}
    assert limit.limit == "poi>=80"
    assert asked.confidence == pytest.approx(0.9)
    assert asked.fits(FLIP)
    assert not asked.fits(FLIP.but(malicious_fraction=0.4))
    assert not asked.fits(FLIP.but(strategy="median"))
    assert not asked.fits(CLEAN)


def test_alternatives_unset_fields_and_shares_in_either_form() -> None:
    asked = Requirement.parse(
        "drop<=5% where malicious-fraction=0.3, malicious_fraction=10 %, preaggregation=none"
    )
    assert asked.threshold.where == {"malicious_fraction": (0.3, 0.1), "preaggregation": (None,)}
    assert asked.confidence == 0.95
    assert asked.fits(FLIP)
    assert not asked.fits(FLIP.but(preaggregation="nnm"))
    assert Requirement.parse("clean >= 90").fits(CLEAN)
    assert not Requirement.parse("clean >= 90").fits(FLIP)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must read METRIC >= NUMBER"),
        ("poisoned > 80", "must read METRIC"),
        ("accuracy >= 80", "unknown metric 'accuracy'"),
        ("poisoned >= many", "the limit must be a number, got 'many'"),
        ("poisoned >= nan", "above 0 and below 100"),
        ("poisoned >= 0", "above 0 and below 100"),
        ("drop <= 100", "above -100 and below 100"),
        ("poisoned >= 80 with 40 %", "confidence must be above 50"),
        ("poisoned >= 80 with nan %", "confidence must be above 50"),
        ("poisoned >= 80 where strategy", "a condition reads FIELD = VALUE, got 'strategy'"),
        ("poisoned >= 80 where stratgy = krum", "unknown field 'stratgy'"),
        ("poisoned >= 80 where strategy = krumm", "unknown strategy 'krumm'"),
        ("poisoned >= 80 where malicious_fraction = 130 %", "malicious_fraction must be"),
        ("poisoned >= 80 where rounds = ten", "rounds = ten"),
    ],
)
def test_a_line_that_breaks_a_rule_is_refused_with_both(text: str, rule: str) -> None:
    with pytest.raises(ThresholdError, match=rule) as caught:
        Requirement.parse(text)
    assert repr(text) in str(caught.value)


def test_the_table_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    head = "[noise]\nsd = 1.0\ndf = 4\n[require]\n"
    path.write_text(head + 'fedx = "retention >= 80 where malicious_fraction = 30 %"\n')
    (asked,) = Thresholds.read(path).requirements
    assert asked.threshold.name == "require.fedx"
    for line, rule in (
        ("fedx = 3", r"\[require\]: every line must be NAME"),
        ('fedx = "x >= 3"', r"\[require\]: requirement 'x >= 3' \(fedx\): unknown metric"),
    ):
        path.write_text(head + line)
        with pytest.raises(ThresholdError, match=rule):
            Thresholds.read(path)


def test_the_bound_is_one_sided_at_the_confidence_and_spent_over_the_looks() -> None:
    asked, values = Requirement.parse("poisoned >= 80 with 99 %"), [83.0, 85.0, 84.0, 88.0]
    for looks in (1, 3):
        interval = asked.interval(values, NONE, confidence(looks))
        by_hand = 85.0 - stats.t.ppf(1 - 0.01 / looks, 3) * math.sqrt(14 / 3) / 2
        assert interval.low == pytest.approx(by_hand)
    assert asked.judge(asked.interval(values, NONE, confidence(1))) is CellVerdict.PASS  # 80.1
    assert asked.judge(asked.interval(values, NONE, confidence(3))) is CellVerdict.INCONCLUSIVE
    easy = Requirement.parse("poisoned >= 80 with 90 %")
    assert easy.judge(easy.interval(values, NONE, confidence(1))) is CellVerdict.PASS
    low = Requirement.parse("poisoned >= 95 with 90 %")
    assert low.judge(low.interval(values, NONE, confidence(1))) is CellVerdict.FAIL
    most = Requirement.parse("drop <= 3 with 90 %")
    assert most.judge(most.interval([4.0, 4.1, 4.2], NONE, confidence(1))) is CellVerdict.FAIL


def test_a_requirement_that_fits_nothing_is_named() -> None:
    asked = [Requirement.parse("clean >= 90"), Requirement.parse("asr <= 5", "safe")]
    assert unasked(asked, [CLEAN]) == ["require.safe"]
    assert unasked(asked, [CLEAN, FLIP]) == []


@given(
    st.sampled_from(METRICS), st.sampled_from([">=", "<="]), st.floats(1, 99), st.floats(51, 99.9)
)
def test_any_limit_reads_as_it_was_written(
    metric: str, sign: str, limit: float, level: float
) -> None:
    asked = Requirement.parse(f"{metric} {sign} {limit!r} with {level!r} %")
    low, high = asked.threshold.min, asked.threshold.max
    assert (low, high) == ((limit, None) if sign == ">=" else (None, limit))
    assert asked.confidence == pytest.approx(level / 100)
