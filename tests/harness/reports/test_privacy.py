"""Privacy, utility, robustness: what is called mending and masking, and the table and figure."""

from __future__ import annotations

from typing import Any

import pytest

from fedcore.harness.reports import privacy as privacy_surface
from fedcore.harness.reports.privacy import effect, figure, table
from fedcore.harness.statistics.estimates import Noise
from fedcore.scenario import Scenario

ATTACK = {"attack": "labelflip", "malicious_fraction": 0.5, "poison_ratio": 1.0}
SHARP = Noise(0.5, 4)


def cell(clean: float, poisoned: float | None = None, total: float | None = None, **fields: Any):
    """A row with two seeds around the given means."""
    scenario = Scenario(**fields, **({} if poisoned is None else ATTACK))
    around = [[] if m is None else [m - 0.1, m + 0.1] for m in (clean, poisoned)]
    values: dict[str, list[float]] = {
        "clean": around[0],
        "poisoned": around[1],
        "drop": [c - p for c, p in zip(*around, strict=False)],
        "asr": [],
    }
    return {
        "id": scenario.id,
        "labels": {
            "variant": scenario.attack,
            "malicious": None if poisoned is None else "50",
        },
        "scenario": scenario.to_dict(),
        "seeds": [0, 1],
        "values": values,
        "estimates": {
            k: {"mean": sum(v) / len(v), "low": None, "high": None, "confidence": None}
            if v
            else None
            for k, v in values.items()
        },
        "epsilon_total": [] if fields.get("privacy") is None else [total, total],
    }


CLIP = {"privacy": "clip", "clip_norm": 0.5}
DP = {"privacy": "localdp", "clip_norm": 0.5, "epsilon": 10.0}


@pytest.mark.parametrize(
    ("clean", "poisoned", "verdict"),
    [
        (80, 70, "mends"),  # poisoned 50 -> 70
        (40, 40, "masks"),  # nothing left to lose
        (80, 30, "adds"),  # drop 30 -> 50
        (80, 50, "-"),
        (45, 45, "masks"),  # a smaller drop, a worse model
    ],
)
def test_what_noise_does_is_told_from_what_clipping_does(clean, poisoned, verdict) -> None:
    cells = [cell(80, 50, None, **CLIP), cell(clean, poisoned, 30.0, **DP)]
    found = effect(cells[1], cells, SHARP)
    assert found is not None
    assert found.verdict == verdict
    assert found.poisoned.mean == pytest.approx(poisoned - 50)
    assert found.drop.mean == pytest.approx((clean - poisoned) - 30)


def test_only_the_twin_that_differs_in_noise_alone_will_do() -> None:
    private = cell(80, 60, 30.0, **DP)
    others = [
        cell(80, 50),
        cell(80, 50, **{**CLIP, "clip_norm": 1.0}),
        cell(80, 50, **CLIP, released="head"),
        cell(80, 50, **CLIP, lr=0.3),
        cell(80, None, **CLIP),
    ]
    assert effect(private, [*others, private], SHARP) is None
    assert effect(cell(80, None, 30.0, **DP), [cell(80, 50, **CLIP)], SHARP) is None
    assert effect(cell(80, 50, **CLIP), [cell(80, 50, **CLIP)], SHARP) is None


def test_the_table_says_all_and_stays_narrow() -> None:
    cells = [cell(80, 50, None, **CLIP), cell(40, 40, 30.25, **DP), cell(90, 60)]
    shown = table(cells, Noise(2.2, 4))
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 112
    (line,) = (text for text in lines if text.startswith("localdp"))
    for word in ("10", "30.25", "labelflip", "50", "40.0", "masks"):
        assert word in line.split(), word
    assert len([text for text in lines if text.startswith(("clip", "localdp"))]) == 2
    assert table([cell(90, 60)], SHARP) == ""


def test_the_figure_needs_a_finite_total() -> None:
    pytest.importorskip("matplotlib")
    assert figure([cell(80, 50, None, **CLIP), cell(90, 60)]) is None
    cells = [cell(80, 50, 30.0, **DP), cell(80, None, 30.0, **DP)]
    image = figure(cells)
    assert image is not None
    assert image.startswith(b"\x89PNG")
    assert figure(cells) == image


def test_rows_from_before_there_was_privacy_render() -> None:
    old = cell(90, 60)
    del old["epsilon_total"], old["scenario"]["privacy"]
    assert table([old], SHARP) == ""
    assert privacy_surface.private([old]) == []


def test_the_noise_is_that_of_the_thresholds_that_judged() -> None:
    cells = [cell(80, 50, None, **CLIP), cell(80, 53, 30.25, **DP)]
    written = {"cells": cells, "noise": {"sd": 0.5, "df": 4}}
    noise = privacy_surface.noise_of(written)
    assert noise == SHARP
    assert table(cells, noise).splitlines()[3].endswith("mends")
    assert not table(cells, Noise(20.0, 4)).splitlines()[3].endswith("mends")
    assert privacy_surface.noise_of({"cells": cells}) is None  # of before it was written
    assert effect(cells[1], cells, None) is None
