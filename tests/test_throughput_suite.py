"""The throughput suite: its cases, its reference, its arithmetic, and what it says of bad input."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.bare_loop import BareLoop, Setting, Trainer, small_cnn
from benchmark.timing.throughput_cases import CASES, LARGE, MATRIX, Case, cases, scenario, setting
from benchmark.timing.turns import Turns
from fedcore.federation.federation import Federation
from tests.forked_python import ForkedPython

ROOT = Path(__file__).resolve().parents[1]
COMBINATIONS = {
    (model, pixels, engine, kind)
    for model in ("cnn", "mobilenet_v2")
    for pixels in (28, 32, 64, 224)
    for engine, kind in (
        ("sequential", "run"),
        ("sequential", "grid"),
        ("stacked", "run"),
        ("stacked", "lockstep"),
    )
}


@pytest.mark.parametrize(("profile", "device"), [("full", "cpu"), ("quick", "cuda")])
def test_the_whole_matrix_is_there(profile: str, device: str) -> None:
    found = cases(profile, device)
    assert {(c.model, c.pixels, c.engine, c.kind) for c in found} == COMBINATIONS
    assert len({c.id for c in found}) == len(found)


def test_earlier_profiles_take_part_of_the_later() -> None:
    smoke, quick, full = (cases(profile, "cpu") for profile in ("smoke", "quick", "full"))
    assert [case.id for case in smoke] == ["run-cnn-w1-float32", "grid-cnn-w1-float32"]
    assert set(smoke) < set(quick) < set(full)
    assert full == cases("study", "cpu")
    assert {case.engine for case in cases("smoke", "cuda")} == {"stacked"}


def test_the_limits_are_the_promised_ones() -> None:
    limits = {case.id: case.limit for case in cases("full", "cpu")}
    assert limits["grid-cnn-w1-float32"] == 1.05
    assert limits["run-cnn-w1-float32"] == 1.15
    assert limits["run-mobilenetv2-28-float32"] == pytest.approx(1 / 0.95 + 0.1, abs=0.005)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_references_are_given_the_federation_of_the_case(device: str) -> None:
    for case in {*MATRIX, *CASES}:
        if case.pixels == 224:
            continue  # as the others, and slow to make
        made = scenario(case, "mnist5k", device)
        federation = Federation.prepare(made, 0, None, torch.device("cpu"))
        given = setting(case, made, federation.dataset, device)
        trainer = Trainer(Setting(**{**vars(given), "device": "cpu"}))
        assert trainer.pixels.shape[1:] == (federation.transform.channels, *[case.pixels] * 2)
        assert len(trainer.pixels) == len(federation.train_images)
        assert (given.clients, given.cohort, given.batch) == (
            made.num_clients,
            made.cohort_size,
            made.batch_size,
        )
        parameters = sum(p.numel() for p in trainer.model.parameters())
        assert parameters == sum(p.numel() for p in federation.initial_model().parameters())
        assert given.large in LARGE["cuda" if device == "cuda" else case.model].values()


@pytest.fixture
def tiny() -> Setting:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 80)
    images = generator.integers(0, 100, (80, 8, 8, 1)) + 100 * labels[:, None, None, None]
    make = functools.partial(small_cnn, 3, 2, 8)
    kind = {"clients": 4, "cohort": 2, "batch": 8, "large": 16}
    return Setting(images.astype(np.uint8), labels, make, channels=3, **kind)


def loss(trainer: Trainer) -> float:
    with torch.no_grad():
        logits = trainer.model(trainer.pixels)
    return float(torch.nn.functional.cross_entropy(logits, trainer.labels))


@pytest.mark.parametrize("work", ["federated", "central"])
def test_the_reference_does_train(work: str, tiny: Setting) -> None:
    torch.manual_seed(0)
    trainer = Trainer(tiny)
    before = loss(trainer)
    getattr(trainer, work)(100)
    assert loss(trainer) < 0.5 * before


@pytest.mark.slow
def test_seconds_are_over_the_rounds_of_all_processes(tiny: Setting) -> None:
    bare = BareLoop(tiny, 2)
    try:
        assert 0 < bare.seconds_per_round(2) < 5
        assert 0 < bare.central_seconds(100.0) < 5
        assert len(set(bare.pids)) == 2
    finally:
        bare.close()


def clock(*seconds: float) -> Any:
    ticks: Iterator[float] = itertools.cycle(seconds)
    return lambda: next(ticks)


def test_turns_tell_ratios_rates_and_shares() -> None:
    turns = Turns(clock(2.0, 4.0, 3.0), {"bare_loop": clock(4.0, 4.0, 4.0)})
    pedantic: list[int] = []

    def run(function: Any, setup: Any, rounds: int) -> None:
        pedantic.append(rounds)
        for _ in range(rounds):
            setup()
            function()

    turns.take(SimpleNamespace(pedantic=run), 1)
    assert turns.ratio("bare_loop") == 0.5
    turns.take_more(2)
    assert pedantic == [1]
    assert turns.ratios("bare_loop") == [0.5, 1.0, 0.75]
    assert turns.facts(600.0) == {
        "fedcore_seconds": 3.0,
        "rounds_per_second": 0.333,
        "examples_per_round": 600.0,
        "examples_per_second": 200.0,
        "bare_loop_seconds": 4.0,
        "ratio_to_bare_loop": 0.75,
        "share_of_bare_loop": 1.333,
        "ratios_to_bare_loop": [0.5, 1.0, 0.75],
    }


def test_an_id_names_what_is_timed() -> None:
    assert Case("run", "sequential", "mobilenet_v2", 28).id == "run-mobilenetv2-28-float32"
    assert Case("lockstep", "stacked", "cnn", None).id == "lockstep-cnn-w1-float32-stacked"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dataset", "nonsense"], "unknown dataset 'nonsense'"),
        (["--dataset", "npz:absent.npz"], "absent.npz"),
    ],
)
def test_data_that_are_not_there_end_it_with_status_4(
    options: list[str],
    said: str,
    forked_python: ForkedPython,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    own = {name: value for name, value in os.environ.items() if "PYTEST_XDIST" not in name}
    given = ["benchmark/test_throughput.py", "--profile=smoke", "-p", "no:cacheprovider", *options]
    status, out, err = forked_python.run("pytest", given, own, tmp_path)
    assert status == 4, out[-500:] + err
    assert said in out + err
    assert "Traceback" not in out + err
