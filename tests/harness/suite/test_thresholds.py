from __future__ import annotations

from pathlib import Path

import pytest

from fedcore import Scenario
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.thresholds import Threshold, ThresholdError, Thresholds

NOISE = "[noise]\nsd = 1.5\ndf = 4\n"
ATTACKED = Scenario(
    strategy="fednova", attack="labelflip", malicious_fraction=0.3, poison_ratio=0.5
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "thresholds.toml"


def read(path: Path, text: str) -> Thresholds:
    path.write_text(NOISE + text)
    return Thresholds.read(path)


def test_a_file_is_read(path: Path) -> None:
    found = read(
        path,
        """
        [drop.mild]
        max = 8
        reason = "published"
        where = { partition = "iid", malicious_fraction = [0.1, 0.3] }
        [clean.learns]
        min = 80.5
        max = 99
        reason = "below it nothing is learnt"
        """,
    )
    assert found.noise == Noise(1.5, 4)
    mild, learns = found.entries
    assert mild == Threshold(
        "drop.mild", "drop", None, 8.0, "published",
        {"partition": ("iid",), "malicious_fraction": (0.1, 0.3)},
    )  # fmt: skip
    assert (mild.limit, learns.limit) == ("<=8", "80.5..99")
    assert Threshold("asr.x", "asr", 5, None, "r", {}).limit == ">=5"


def test_the_most_specific_that_fits_holds(path: Path) -> None:
    found = read(
        path,
        """
        [drop.any]
        max = 1
        reason = "r"
        [drop.nova]
        max = 2
        reason = "r"
        where = { strategy = "fednova" }
        [drop.nova_strong]
        max = 3
        reason = "r"
        where = { strategy = ["fednova", "krum"], malicious_fraction = 0.3 }
        [drop.elsewhere]
        max = 4
        reason = "r"
        where = { strategy = "fednova", malicious_fraction = 0.5, poison_ratio = 1.0 }
        [asr.any]
        max = 5
        reason = "r"
        """,
    )

    def name(metric: str, scenario: Scenario) -> str | None:
        threshold = found.of(metric, scenario)
        return None if threshold is None else threshold.name

    assert name("drop", ATTACKED) == "drop.nova_strong"
    assert name("drop", ATTACKED.but(malicious_fraction=0.1)) == "drop.nova"
    assert name("drop", ATTACKED.but(strategy="fedavg")) == "drop.any"
    stronger = ATTACKED.but(malicious_fraction=0.5, poison_ratio=1.0)
    assert name("drop", stronger) == "drop.elsewhere"
    assert name("asr", ATTACKED) == "asr.any"
    assert name("clean", ATTACKED) is None


def test_ties_are_refused(path: Path) -> None:
    found = read(
        path,
        """
        [drop.one]
        max = 1
        reason = "r"
        where = { strategy = "fednova" }
        [drop.two]
        max = 2
        reason = "r"
        where = { partition = "iid" }
        """,
    )
    with pytest.raises(ThresholdError, match=r"drop\.one and drop\.two fit .* equally well"):
        found.of("drop", ATTACKED)
    threshold = found.of("drop", ATTACKED.but(strategy="fedavg"))
    assert threshold is not None
    assert threshold.name == "drop.two"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[drops.x]\nmax = 1\nreason = 'r'", "unknown metric 'drops'.*'drop'"),
        ("[drop]\nmax = 1", r"\[drop.max\]: must be a table, got 1"),
        ("drop = 3", "'drop' must hold named tables"),
        ("[drop.x]\nmax = 1", r"\[drop.x\]: a reason is needed"),
        ("[drop.x]\nmax = 1\nreason = ''", r"\[drop.x\]: a reason is needed"),
        ("[drop.x]\nreason = 'r'", r"\[drop.x\]: needs min or max"),
        ("[drop.x]\nmin = 2\nmax = 1\nreason = 'r'", r"\[drop.x\]: .*min <= max; got 2.* and 1"),
        ("[drop.x]\nmaxx = 1\nreason = 'r'", r"\[drop.x\]: .*unknown key 'maxx'"),
        ("[drop.x]\nmax = 1\nnone = true\nreason = 'r'", r"\[drop.x\]: none must be true, without"),
        ("[drop.x]\nnone = false\nreason = 'r'", r"\[drop.x\]: needs min or max"),
        (
            "[drop.x]\nnone = 1\nmin = 1\nreason = 'r'",
            r"\[drop.x\]: none must be true or false",
        ),
        ("[drop.x]\nmax = '1'\nreason = 'r'", r"\[drop.x\]: max must be a finite number"),
        ("[drop.x]\nmax = true\nreason = 'r'", r"\[drop.x\]: max must be a finite number"),
        ("[drop.x]\nmax = nan\nreason = 'r'", "numbers must be finite, got nan"),
        (
            "[drop.x]\nmax = 1\nreason = 'r'\nwhere = { strateg = 'krum' }",
            r"\[drop.x\]: unknown field 'strateg'.*'strategy'",
        ),
        ("[drop.x]\nmax = 1\nreason = 'r'\nwhere = 'iid'", r"\[drop.x\]: where must be a table"),
        ("[drop.x", "end of document"),
        ("[drop.x]\nmax = 1\nmax = 2", "overwrite"),
    ],
)
def test_a_bad_file_is_refused_with_path_and_rule(path: Path, text: str, rule: str) -> None:
    # the top-level key must come before the first table
    content = text + "\n" + NOISE if text.startswith("drop =") else NOISE + text
    path.write_text(content)
    with pytest.raises(ThresholdError, match=rule) as caught:
        Thresholds.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "limits"),
    [
        ("drop", "min = -6\nmax = 100"),
        ("drop", "max = 91"),  # of 11 classes, the most that a data set with a name has
        ("drop", "min = -20"),
        ("drop", "min = 0"),
        ("drop", "min = -6\nmax = 90\nwhere = { dataset = 'mnist5k' }"),
        ("drop", "min = -6\nmax = 87.5\nwhere = { dataset = 'bloodmnist' }"),
        ("drop", "min = -6\nmax = 50\nwhere = { dataset = ['breastmnist', 'pneumoniamnist'] }"),
        ("clean", "min = 5\nmax = 99.9"),
        ("clean", "max = 100"),
        ("clean", "min = 50\nwhere = { dataset = 'breastmnist' }"),
        ("skill", "min = -10"),
        ("skill", "max = 100"),
        ("asr", "min = 0\nmax = 100"),
        ("asr", "max = 100"),
        ("control", "min = 0"),
        ("control", "min = -3"),
        ("control", "max = 40"),
        ("control_asr", "min = 0"),
        ("twin_skill", "min = -10"),
    ],
)
def test_a_limit_that_cannot_fail_is_refused(path: Path, metric: str, limits: str) -> None:
    text = f"{NOISE}[{metric}.x]\nreason = 'r'\n{limits}\n"
    path.write_text(text)
    with pytest.raises(
        ThresholdError, match=rf"\[{metric}\.x\]: the limit .* cannot fail: "
    ) as caught:
        Thresholds.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "limits"),
    [
        ("drop", "min = -6\nmax = 60"),
        ("drop", "min = 0.1"),
        ("drop", "min = -6\nmax = 89\nwhere = { dataset = 'mnist5k' }"),
        ("drop", "min = -6\nmax = 95\nwhere = { dataset = 'npz:own.npz' }"),  # of 100 classes, say
        ("drop", "min = -6\nmax = 60\nwhere = { dataset = ['breastmnist', 'bloodmnist'] }"),
        ("clean", "min = 30\nmax = 99.9"),
        ("clean", "max = 80"),
        ("clean", "min = 51\nwhere = { dataset = 'breastmnist' }"),
        ("skill", "min = 5"),
        ("asr", "max = 90"),
        ("asr", "min = 5"),
        ("control", "min = 2"),
        ("drop", "none = true"),
    ],
)
def test_a_limit_that_can_fail_is_read(path: Path, metric: str, limits: str) -> None:
    (threshold,) = read(path, f"[{metric}.x]\nreason = 'r'\n{limits}\n").entries
    assert threshold.exists is (limits != "none = true")


def test_none_takes_the_place_of_a_less_specific_limit(path: Path) -> None:
    found = read(
        path,
        """
        [drop.any]
        max = 8
        reason = "r"
        [drop.unknown]
        none = true
        reason = "never measured"
        where = { strategy = "fednova", privacy = "none" }
        """,
    )
    threshold = found.of("drop", ATTACKED)
    assert threshold is not None
    assert (threshold.name, threshold.exists, threshold.limit) == ("drop.unknown", False, "none")
    assert threshold.where["privacy"] == (None,)
    other = found.of("drop", ATTACKED.but(privacy="clip", clip_norm=1.0))
    assert other is not None
    assert other.name == "drop.any"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", r"a table \[noise\] with sd and df is needed"),
        ("[noise]\nsd = 1", r"\[noise\]: must hold sd, df .*nothing else"),
        ("noise = 3", r"\[noise\]: must be a table, got 3"),
        ("[noise]\nsd = 1\ndf = 4\nnu = 2", r"\[noise\]: .*unknown key 'nu'"),
        ("[noise]\nsd = 0\ndf = 4", "sd > 0 and df >= 0"),
        ("[noise]\nsd = 1\ndf = -4", "sd > 0 and df >= 0"),
        ("[noise]\nsd = 'wide'\ndf = 4", r"\[noise\]: sd must be a finite number"),
        ("[noise]\nsd = 1\ndf = inf", r"numbers must be finite, got inf"),
    ],
)
def test_noise_must_be_given(path: Path, text: str, rule: str) -> None:
    path.write_text(text)
    with pytest.raises(ThresholdError, match=rule) as caught:
        Thresholds.read(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_or_no_text(path: Path) -> None:
    with pytest.raises(ThresholdError, match=r"thresholds\.toml.*No such file"):
        Thresholds.read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ThresholdError, match=r"thresholds\.toml"):
        Thresholds.read(path)


RECORDED = """
[drop.recorded]
max = 8
reason = "recorded"
where = { strategy = "fednova", rounds = 10 }
[drop.open]
none = true
reason = "nothing can be said"
where = { strategy = "fednova", attack = "labelflip", rounds = 20 }
[skill.any]
min = 5
reason = "at any horizon"
"""


def test_a_recorded_limit_holds_at_its_rounds_alone(path: Path) -> None:
    found = read(path, RECORDED)
    short, long = ATTACKED.but(rounds=10), ATTACKED.but(rounds=80)
    assert found.of("drop", short).name == "drop.recorded"
    assert found.of("drop", long) is None
    # also where a user has set the rounds, and only these
    assert found.of("drop", short, ["rounds"]).name == "drop.recorded"
    assert found.of("drop", long, ["rounds"]) is None
    assert found.of("skill", long).name == "skill.any"


def test_limits_that_are_missed_by_the_rounds_alone_are_known(path: Path) -> None:
    found = read(path, RECORDED)
    long = ATTACKED.but(rounds=80)
    for changed in ([], ["rounds"]):
        (missed,) = found.at_other_rounds("drop", long, changed)
        assert (missed.name, missed.horizon) == ("drop.recorded", "10")
    assert found.at_other_rounds("drop", ATTACKED.but(rounds=10)) == []
    assert found.at_other_rounds("drop", long.but(strategy="median")) == []
    assert found.at_other_rounds("drop", long, ["rounds", "lr"]) == []
    assert found.at_other_rounds("skill", long) == []
