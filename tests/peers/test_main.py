"""The driver on systems that are a line of Python each; nothing is installed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.peers import environments
from benchmark.peers.environments import InstallError, python_of
from benchmark.peers.systems import ROOT, SYSTEMS, System

driver = importlib.import_module("benchmark.peers.__main__")

REPORT = """
import json, os
with open("order", "a") as file: file.write({name!r} + " ")
print(json.dumps(dict(rounds=[{lap}] * 10, steps=800, digest={name!r} + os.environ["W1_DATA"])))
"""


def fake(name: str, lap: float, code: str = "") -> System:
    return System(name, name, (), ("-c", code + REPORT.format(name=name, lap=lap)), f"about {name}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with three systems, of which pip cannot install the last."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bloodmnist.npz").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "constraints.txt").touch()
    systems = [fake("bare", 0.1), fake("x", 0.3), fake("broken", 1)]

    def python(system: System, work: Path) -> Path:
        if system.name == "broken":
            raise InstallError("broken: no matching distribution")
        return Path(sys.executable)

    monkeypatch.setattr(driver, "SYSTEMS", {system.name: system for system in systems})
    monkeypatch.setattr(driver, "ROOT", tmp_path / "root")
    monkeypatch.setattr(driver, "python_of", python)
    monkeypatch.setattr(driver, "versions_of", lambda system, python: {"torch": "1"})
    return tmp_path


def call(place: Path, *arguments: str) -> int:
    found: int = driver.main(
        ["--work", str(place / "work"), "--data-dir", str(place / "data"), *arguments]
    )
    return found


def test_systems_take_turns_and_each_repeat_starts_one_later(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "results" / "w1.json"
    assert call(place, "--repeats", "2", "--out", str(out)) == 0
    assert (place / "root" / "order").read_text().split() == ["bare", "x", "x", "bare"]
    found = json.loads(out.read_text())
    assert [list(repeat) for repeat in found["repeats"]] == [
        ["bare", "x", "broken"],
        ["x", "broken", "bare"],
    ]
    assert found["repeats"][0]["x"]["rounds"] == [0.3] * 10
    assert found["repeats"][0]["x"]["digest"] == f"x{place}/data"
    assert found["versions"] == {"bare": {"torch": "1"}, "x": {"torch": "1"}}
    assert {"processor", "cores", "memory", "python"} <= set(found["machine"])
    assert found["summary"]["x"]["round_ratio"] == pytest.approx(3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| bare: about bare | 0.100 | 1.00 |")
    assert lines[3].startswith("| x: about x | 0.300 | 3.00 |")
    assert lines[4] == "| broken: about broken | - | - | - | - | - | - |"
    assert lines[-1] == (
        "broken: 2 of 2 runs failed: not installed: broken: no matching distribution"
    )


def test_order() -> None:
    assert [driver.order("abc", r) for r in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_append_adds_repeats(place: Path) -> None:
    out = place / "w1.json"
    for only in (["bare", "x"], ["bare"]):
        assert call(place, "--repeats=1", "--append", f"--out={out}", "--only", *only) == 0
    found = json.loads(out.read_text())
    assert [list(repeat) for repeat in found["repeats"]] == [["bare", "x"], ["bare"]]
    assert found["summary"]["bare"]["runs"] == 2
    assert call(place, "--repeats=1", f"--out={out}", "--only", "bare") == 0
    assert len(json.loads(out.read_text())["repeats"]) == 1


def test_a_bare_loop_that_fails_fails_the_comparison(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(driver.SYSTEMS, "bare", fake("bare", 1, "raise SystemExit('x');"))
    assert call(place, "--repeats=1", "--only", "bare") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "y"], "unknown system 'y'. Known: bare, x, broken"),
        (["--repeats", "0"], "--repeats must be >= 1, got 0"),
        (["--append"], "--append needs --out FILE"),
        (["--work", "{root}/work"], "--work must lie outside"),
        (["--data-dir", "{root}"], "there is no bloodmnist.npz in"),
    ],
)
def test_refusals(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit:
        call(place, *[argument.format(root=place / "root") for argument in arguments])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_thread_counts_are_left_to_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("KEPT", "1")
    found = driver.environment_of(tmp_path, tmp_path)
    assert "OMP_NUM_THREADS" not in found
    assert found["KEPT"] == "1"
    assert found["PYTHONPATH"] == str(ROOT)


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def note(command: list[str], system: System) -> None:
        commands.append(command)
        (tmp_path / "envs" / system.environment).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environments, "_run", note)
    first = python_of(SYSTEMS["pfl-1"], tmp_path)
    assert first == tmp_path / "envs" / "pfl" / "bin" / "python"
    assert python_of(SYSTEMS["pfl-2"], tmp_path) == first  # shared
    venv, pip = commands
    assert venv[1:3] == ["-m", "venv"]
    assert pip[-2:] == ["pfl[pytorch]==0.6.0", "torch"]
    pins = (tmp_path / "torch-pins.txt").read_text()
    assert pins == "torch==2.13.0\ntorchvision==0.28.0\n"
    assert str(tmp_path / "torch-pins.txt") in pip
    python_of(SYSTEMS["fedcore"], tmp_path)
    assert commands[-1][-4:] == ["-c", str(ROOT / "constraints.txt"), "-e", str(ROOT)]


def test_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.sys, "executable", "false")
    with pytest.raises(InstallError, match="bare: no message"):
        python_of(SYSTEMS["bare"], tmp_path)
    assert not (tmp_path / "envs" / "bare" / "requirements.json").exists()


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_peer_is_pinned_and_has_its_adapter(name: str) -> None:
    system = SYSTEMS[name]
    assert name not in ("pfl-2", "pfl-1", "fluke", "byzfl", "flower") or any(
        "==" in requirement for requirement in system.requirements
    )
    module = system.arguments[-1]
    assert (ROOT / (module.replace(".", "/") + ".py")).is_file()


def test_flower_is_the_version_of_the_extra() -> None:
    pinned: Any = next(r for r in SYSTEMS["flower"].requirements if "==" in r)
    assert f'"{pinned}"' in (ROOT / "pyproject.toml").read_text()


def test_an_installed_suite_needs_a_checkout(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "root" / "constraints.txt").unlink()
    with pytest.raises(SystemExit) as ended:
        call(place)
    assert ended.value.code == 2
    assert f"{place / 'root'} is no checkout of fedcore" in capsys.readouterr().err
    assert not (place / "work").exists()
