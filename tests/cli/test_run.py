from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedcore import Scenario, run
from fedcore.cli import main
from fedcore.records.record import Record
from fedcore.strategies.robust.median import Median

TINY = [
    "run",
    "--dataset",
    "synthetic:400",
    "--model",
    "mlp",
    "--num-clients",
    "4",
    "--rounds",
    "2",
]
ATTACK = ["--attack", "labelflip", "--malicious-fraction", "0.5", "--poison-ratio", "0.5"]
ROOT = Path(__file__).resolve().parents[2]


def scenario(**changes: Any) -> Scenario:
    return Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=2, **changes)


def test_a_run_prints_a_line_per_round_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, *ATTACK, "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    wanted = scenario(attack="labelflip", malicious_fraction=0.5, poison_ratio=0.5)
    record = run(wanted, seed=3)
    assert lines[0] == f"{wanted.id}, seed 3"
    assert lines[1].split() == ["round", "accuracy", "loss", "malicious", "seconds"]
    for number, line in enumerate(lines[2:4], start=1):
        place, accuracy, _, loss, malicious, _ = line.split()
        assert place == f"{number}/2"
        assert accuracy == f"{100 * record.accuracy[number - 1]:.2f}"
        assert loss == f"{record.loss[number - 1]:.4g}"
        assert int(malicious) == record.audit.malicious_per_round[number - 1]
    text = "\n".join(lines[4:])
    assert f"accuracy  {100 * record.tail_accuracy:.2f} %" in text
    clients = " ".join(map(str, record.audit.malicious))
    assert f"2 of 4 clients malicious ({clients})" in text
    assert f"{record.audit.samples_changed} labels changed; malicious majority in" in text
    assert f"digest {record.model_digest}" in text
    assert "diverged" not in text


def test_a_run_imports_what_it_needs() -> None:
    heavy = ("PIL", "scipy", "torchvision")
    code = (
        "import sys; from fedcore.cli import main\n"
        f"assert main({[*TINY, '--quiet']!r}) == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_from_a_cold_start_gives_the_bits_of_a_run(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    splits = {"train": 90, "test": 30}
    np.savez_compressed(
        tmp_path / "bloodmnist.npz",
        **{
            f"{part}_images": generator.integers(0, 256, (n, 8, 8, 3), np.uint8)
            for part, n in splits.items()
        },
        **{
            f"{part}_labels": generator.integers(0, 8, (n, 1), np.uint8)
            for part, n in splits.items()
        },
    )
    flags = ["--dataset", "bloodmnist", "--data-dir", str(tmp_path), "--device", "cpu"]
    command = [sys.executable, "-m", "fedcore", *TINY, *flags, "--quiet", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    told, made = (
        Record.from_json(done.stdout),
        run(scenario().but(dataset="bloodmnist"), data_dir=tmp_path, device="cpu"),
    )
    assert told.model_digest == made.model_digest
    assert told.provenance.data == made.provenance.data
    assert told.provenance.data_notes == made.provenance.data_notes


def test_a_targeted_attack_has_an_asr_and_skipped_rounds_a_dash(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--source-class", "0", "--target-class", "8", "--eval-every", "2"]
    assert main([*TINY, *ATTACK, "--attack", "targetedflip", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ASR" in lines[1]
    assert lines[2].split()[1:4] == ["-", "-", "-"]
    assert any(line.startswith("ASR       ") for line in lines)


def test_a_diverged_run_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--lr", "1e30", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "diverged  in round 1; counted at chance accuracy" in out
    assert out.startswith("scenario  ")


def test_json_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--json"]) == 0
    streams = capsys.readouterr()
    record = Record.from_json(streams.out)
    assert record.scenario == scenario()
    assert record.accuracy == run(scenario()).accuracy
    assert "1/2" in streams.err
    assert main([*TINY, "--json", "-", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_json_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "record.json"
    assert main([*TINY, "--json", str(target)]) == 0
    assert Record.from_json(target.read_text()).scenario == scenario()
    assert "accuracy" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--json", str(tmp_path / "no" / "record.json")]) == 2
    streams = capsys.readouterr()
    assert "cannot be written" in streams.err
    assert streams.out == ""
    missing = ["--dataset", f"npz:{tmp_path / 'no.npz'}", "--json", str(tmp_path / "r.json")]
    assert main([*TINY, *missing]) == 2
    assert "no.npz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_problem_is_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "--strategy fednvoa --lr 0 --rounds many --seed x --device tpu --cohort-size 9"
    assert main([*TINY, *wrong.split()]) == 2
    err = capsys.readouterr().err
    assert err.startswith("fedcore: 6 problems in this scenario:\n")
    for part in (
        "Did you mean 'fednova'?",
        "lr must be > 0, got 0.0",
        "'many'",
        "--seed must be an integer >= 0 and < 2^63, got 'x'",
        "--device must be one of auto, cpu, cuda, got 'tpu'",
        "--cohort-size must be <= num_clients=4, got 9",
    ):
        assert part in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        ("--precision bf16", 2, "--precision must be one of float32, float64, tf32, bfloat16"),
        ("--engine stackd", 2, "Did you mean 'stacked'?"),
        ("--precision tf32 --device cpu", 1, "tf32' exists on CUDA devices only"),
        ("--engine stacked-graphs --device cpu", 1, "needs a CUDA device: use 'stacked'"),
    ],
)
def test_how_it_cannot_be_computed_is_said_before_anything_else(
    flags: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, *flags.split()]) == status
    streams = capsys.readouterr()
    assert message in streams.err
    assert streams.out == ""


def test_an_unknown_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--preset", "w2"]) == 2
    assert "Did you mean 'w1'?" in capsys.readouterr().err


def test_as_a_module_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "fedcore", *TINY, "--json", "-", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["model_digest"] == run(scenario(), device="cpu").model_digest


def test_a_closed_pipe_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "fedcore", "list", "presets"]
        done = subprocess.run(
            command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_classes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(12):
                pixels = generator.integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    (tmp_path / "train" / "cat" / "list.txt").touch()
    flags = ["--dataset", f"folder:{tmp_path}", *ATTACK, "--attack", "targetedflip"]
    assert main([*TINY, *flags, "--source-class", "1", "--target-class", "0", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "of 1 (dog) taken for 0 (cat)" in out
    assert "classes   recall at the end: 0 (cat) " in out
    assert "note      1 file skipped: 1 .txt" in out
    assert main([*TINY, *flags, "--source-class", "1", "--target-class", "2", "--quiet"]) == 2
    assert "choose one of 0 to 1; classes: 0 (cat), 1 (dog)" in capsys.readouterr().err
    assert main([*TINY, "--dataset", f"folder:{tmp_path}", "--quiet", "--json"]) == 0
    record = Record.from_json(capsys.readouterr().out)
    assert record.provenance.class_names == ("cat", "dog")


def test_a_strategy_without_a_definition_is_not_said_to_step_as_defined(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", "--dataset=synthetic:400", "--model=mlp", "--num-clients=6", "--rounds=1"]
    assert main([*command, "--strategy=median"]) == 0
    assert "steps as strategy 'median' is defined in 1 of 1 rounds" in capsys.readouterr().out
    monkeypatch.delattr(Median, "definition")
    monkeypatch.setattr(Median, "must_differ", lambda *_: True)
    assert main([*command, "--strategy=median"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "is defined in" not in printed
    assert (
        "strategy 'median' declares no definition: its steps are compared with FedAvg's" in printed
    )
    assert "differs from FedAvg in 1 of the 1 rounds in which it must" in printed


def test_the_summary_says_how_clients_fare_and_whom_the_rule_detected(capsys) -> None:
    words = (
        "run --dataset synthetic:400 --model mlp --num-clients 8 --fraction-train 1 --rounds 3 "
        "--lr 0.1 --strategy multikrum --attack signflip --malicious-fraction 0.25 "
        "--absent-fraction 0.3 --min-present 4 --device cpu"
    )
    assert main(words.split()) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"clients final model [\d.]+ % in the mean over 6 honest clients, [\d.]+ % over the", out
    )
    assert re.search(r"clients \d+ of 24 drawn absent", out)
    assert re.search(r"clients left out: precision [\d-]+ %? ?\(chance \d+ %\), recall", out)
    assert "below half of their share: precision" in out
