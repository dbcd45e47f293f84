from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedcore.engine.execution import Execution, choose_device, exact_arithmetic
from fedcore.engine.interface import ENGINES
from fedcore.engine.sequential import sequential
from fedcore.errors import FedcoreError, UnknownNameError
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

CPU = torch.device("cpu")


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    with pytest.raises(FedcoreError, match="device must be auto, cpu or cuda, got 'gpu'"):
        choose_device("gpu")


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    with pytest.raises(FedcoreError, match="'cuda' is not available on this machine"):
        run(Scenario(dataset="synthetic:100"), device="cuda")


def test_the_label_says_what_changes_the_bits() -> None:
    assert Execution(device="cpu").label == "sequential"
    assert Execution(device="cpu", processes=2).label == "sequential"
    assert Execution(device="cpu", precision="float64").label == "sequential-float64"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"precision": "float8"},
            "one of float32, float64, tf32, bfloat16, got 'float8'",
        ),
        ({"processes": 0}, "processes must be >= 1, got 0"),
    ],
)
def test_refuses(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(FedcoreError, match=message):
        Execution(**wrong)  # type: ignore[arg-type]


def test_an_unknown_engine_meets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="sequential"):
        Execution(engine="sequentail")
    assert "sequential" in ENGINES


def test_one_thread_inside_and_restored_after() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with exact_arithmetic(CPU):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_float64_is_another_result_of_the_same_experiment() -> None:
    scenario = Scenario(dataset="synthetic:200", model="mlp", rounds=2, num_clients=4)
    one, other = run(scenario, device="cpu"), run(scenario, device="cpu", precision="float64")
    assert other.engine == "sequential-float64"
    assert other.model_digest != one.model_digest
    assert other.loss == pytest.approx(one.loss, rel=1e-3)


def test_bfloat16_is_mixed_precision_of_stacked_clients() -> None:
    scenario = Scenario(dataset="synthetic:200", model="cnn", num_clients=4, rounds=2)
    exact = run(scenario, device="cpu")
    mixed = run(scenario, device="cpu", engine="stacked", precision="bfloat16")
    assert mixed.engine == "stacked-bfloat16"
    assert mixed.model_digest != exact.model_digest
    assert mixed.loss == pytest.approx(exact.loss, rel=0.02)


def test_bfloat16_of_one_client_after_the_other_is_for_gpus(monkeypatch) -> None:
    """There its passes are the autocast model's, weights and updates float32's."""
    for engine in ("auto", "sequential", "flower-grid"):
        if engine in (*ENGINES, "auto"):
            with pytest.raises(FedcoreError, match=r"'bfloat16' of engine .* on CUDA devices"):
                Execution(engine, "cpu", "bfloat16")
    scenario = Scenario(dataset="synthetic:200", model="cnn", num_clients=4, rounds=2)
    federation = Federation.prepare(scenario, 0, Path(), CPU)
    mixed = Execution("stacked", "cpu", "bfloat16")  # casts as one for a GPU does
    engines = [sequential(federation, how) for how in (mixed, Execution("sequential", "cpu"))]
    updates = [engine.train(engine.initial_state(), 1, (0, 1)).updates for engine in engines]
    assert updates[0].dtype == torch.float32
    assert not torch.equal(*updates)
    assert (updates[0] - updates[1]).norm() < 0.05 * updates[1].norm()


def test_tf32_is_for_gpus_and_switched_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FedcoreError, match="'tf32' exists on CUDA devices only"):
        Execution(device="cpu", precision="tf32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    execution = Execution(device="cuda", precision="tf32")
    assert (execution.label, execution.dtype) == ("stacked-tf32", torch.float32)
    matmul = torch.backends.cuda.matmul
    assert not matmul.allow_tf32
    with execution.arithmetic():
        assert matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    assert not matmul.allow_tf32
    with Execution(device="cuda").arithmetic():
        assert not torch.backends.cudnn.allow_tf32
