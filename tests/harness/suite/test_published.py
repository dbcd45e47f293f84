from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.test_study import PUBLISHED as FILE
from benchmark.test_study import arm, study
from fedcore import Scenario
from fedcore.harness.statistics.estimates import CellVerdict, Noise, estimate
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.published import (
    Published,
    PublishedCell,
    PublishedError,
    critical,
    published_limits,
    read_published,
)
from fedcore.scenario.presets import preset

ONE = Published(90.0, 1, 2.0, 1.96, "a study", "its runs")
FLIPPED = Scenario(attack="labelflip", malicious_fraction=0.3, poison_ratio=0.5)
CELL = 'partition = "iid", malicious_fraction = 0.0, poison_ratio = 0.0'
TEXT = f"""\
source = "a study"
level = 0.95
cells = [
    {{ arm = "a", {CELL}, value = 92.5, runs = 20, noise = "calm" }},
    {{ arm = "b", {CELL} }},
]
[noise.calm]
sd = 0.25
reason = "20 runs"
"""


def test_one_run_against_one_run_is_z_sd_sqrt_2() -> None:
    assert ONE.tolerance(1) == pytest.approx(1.96 * 2 * math.sqrt(2))
    assert Published(90.0, 20, 2.0, 1.96, "", "").tolerance(5) == pytest.approx(1.96)  # sqrt(1/4)
    assert ONE.judge(95.54, 1) is ONE.judge(84.46, 1) is CellVerdict.PASS
    assert ONE.judge(95.55, 1) is ONE.judge(84.45, 1) is CellVerdict.FAIL
    assert ONE.judge(94.5, 4) is CellVerdict.FAIL  # more seeds, less room: 4.38


def test_it_covers_as_often_as_it_says() -> None:
    generator, trials = np.random.default_rng(5), 20_000
    old, new = generator.normal(80, 2, trials), generator.normal(80, 2, (trials, 3)).mean(axis=1)
    inside = [abs(a - b) <= ONE.tolerance(3) for a, b in zip(old, new, strict=True)]
    assert np.mean(inside) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / trials))


def test_all_values_of_a_file_hold_at_once() -> None:
    assert critical(0.95, 1) == pytest.approx(stats.norm.ppf(0.975))
    assert critical(0.95, 31) == pytest.approx(stats.norm.ppf(1 - 0.05 / 62))


@pytest.mark.parametrize(
    ("values", "published", "reported", "verdicts"),
    [
        ([91.0, 90.0], ONE, None, [CellVerdict.PASS, CellVerdict.PASS]),
        ([99.0, 99.0], ONE, None, [CellVerdict.PASS, CellVerdict.FAIL]),
        ([99.0, 99.0], ONE, "32 px", [CellVerdict.PASS]),
        ([9.0, 9.0], ONE, "32 px", [CellVerdict.FAIL]),
        ([91.0, 90.0], None, "nothing printed", [CellVerdict.PASS]),
    ],
)
def test_limits(
    values: list[float],
    published: Published | None,
    reported: str | None,
    verdicts: list[CellVerdict],
) -> None:
    found = estimate(values, Noise(1.0, 8))
    limits = published_limits(FLIPPED, found, 8, published, reported)
    assert [verdict for _, verdict in limits] == verdicts
    assert limits[0][0].min == 12.5
    assert {threshold.metric for threshold, _ in limits} == {"poisoned"}
    assert published_limits(Scenario(), found, 8, published, reported)[0][0].metric == "clean"


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(TEXT)
    first, second = read_published(path)
    z = critical(0.95, 1)
    assert first.published == Published(92.5, 20, 0.25, z, "a study", "20 runs")
    assert (second.arm, second.published) == ("b", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("level = 0.95", "level = 95", r"level must be in \(0, 1\), got 95"),
        ('source = "a study"', "", "must hold source, level, cells"),
        ('noise = "calm"', 'noise = "claim"', "cell 1: noise must be one of calm, got claim"),
        ("runs = 20, ", "", "cell 1: must hold all of value, runs and noise, or none"),
        ("runs = 20", "runs = 0", "cell 1: needs value in 0..100 and runs >= 1"),
        ("value = 92.5", "value = 925.0", "cell 1: needs value in 0..100 and runs >= 1"),
        ("sd = 0.25", 'sd = "0.25"', r"\[noise.calm\]: sd must be a finite number, got '0.25'"),
        ("sd = 0.25", "sd = 0.0", r"\[noise.calm\]: needs sd > 0, got 0"),
        ("runs = 20", "rums = 20", "cell 1: must hold arm, .*nothing else; unknown key 'rums'"),
        ('arm = "b"', 'arm = "a"', r"more than one cell for \('a', 'iid'"),
        ("[noise.calm]", "[noise", "published values .*: "),
    ],
)
def test_a_file_that_breaks_a_rule(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(PublishedError, match=message):
        read_published(path)


def test_cells_are_tables(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('cells = [1]\nsource = "a study"\nlevel = 0.95\n[noise]\n')
    with pytest.raises(PublishedError, match="cells must be tables"):
        read_published(path)


def test_a_partition_that_the_study_does_not_have_is_refused() -> None:
    cell = PublishedCell("study-fedavg", "dirichlet0.2", 0.0, 0.0, None)
    with pytest.raises(PublishedError, match=r"partition must be one of iid, .*'dirichlet0.2'"):
        arm(cell)


def test_other_data_than_the_studys_are_refused() -> None:
    assert list(study(Options(profile="study", device="cpu", dataset="bloodmnist")))
    with pytest.raises(PublishedError, match="on bloodmnist: leave out --dataset pathmnist"):
        list(study(Options(profile="study", device="cpu", dataset="pathmnist")))


def test_the_values_are_those_of_the_study() -> None:
    table = {
        (c.arm, c.partition, c.malicious_fraction, c.poison_ratio): c.published
        for c in read_published(FILE)
    }
    printed = {key: value for key, value in table.items() if value is not None}
    assert (len(table), len(printed)) == (33, 31)
    clean = printed["study-fedavg", "iid", 0.0, 0.0]
    assert (clean.value, clean.runs, clean.sd) == (92.87, 20, 0.26)
    twice = printed["study-fedavg", "iid", 0.3, 0.8]
    assert twice.value == pytest.approx(np.mean([81.87, 85.64]))
    assert (twice.runs, twice.sd) == (2, pytest.approx(np.std([81.87, 85.64], ddof=1), abs=0.005))
    assert printed["study-fednova", "dirichlet0.1", 0.3, 0.5].value == 70.15
    assert printed["study-fedavg", "pathological2", 0.0, 0.0].value == 48.48
    assert clean.z == pytest.approx(3.154, abs=1e-3)


def test_every_cell_is_an_arm_of_the_study_and_nothing_else() -> None:
    for cell in read_published(FILE):
        scenario, base = arm(cell), preset(cell.arm)
        kept = ("image_size", "model", "weights", "rounds", "optimizer", "lr", "num_clients")
        assert all(getattr(scenario, name) == getattr(base, name) for name in kept)
        if scenario.attack is not None:
            assert scenario.redraw
        if scenario.partition == "dirichlet":
            assert scenario.partition_seed == 123


def test_the_study_on_a_cpu_is_reduced_and_says_so() -> None:
    cells = list(study(Options(profile="study", device="cpu")))
    assert len(cells) == len({cell.id for cell in cells}) == 15
    for cell in cells:
        assert cell.reported == "image_size 32 instead of 224, rounds 15 instead of 100"
        assert cell.published is not None
        assert (cell.scenario.image_size, cell.scenario.rounds) == (32, 15)


def test_with_a_gpu_it_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("benchmark.test_study.choose_device", lambda name: torch.device("cuda"))
    cells = {cell.id: cell for cell in study(Options(profile="study"))}
    assert len(cells) == 33
    shown = [cell.reported for cell in cells.values() if cell.reported is not None]
    assert shown == ["the study printed no value"] * 2
    # the ids that profile `study` has had since it was part of the robustness suite
    for arm_token in ("", "-mu0.005"):
        for part in ("iid", "dirichlet0.9", "dirichlet0.3", "dirichlet0.1", "pathological2"):
            for attack in ("clean", "labelflip-mal30pct-poison50pct-redraw"):
                assert f"fedavg-{part}-{attack}-weightsimagenet{arm_token}" in cells
    changed = list(study(Options(profile="study", model="resnet18")))
    assert {c.reported for c in changed if c.published} == {
        "model resnet18 instead of mobilenet_v2"
    }


def test_other_profiles_have_none() -> None:
    for profile in ("smoke", "quick", "full"):
        assert list(study(Options(profile=profile))) == []
