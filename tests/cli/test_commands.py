"""The command line as a whole, `fedcore list` and `fedcore report`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedcore import Scenario, __version__
from fedcore.cli import main
from fedcore.cli.list_command import KINDS, listing
from fedcore.scenario.presets import PRESETS
from fedcore.scenario.validation import parameter_names, registries


def test_list_names_everything_that_is_registered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    words = out.split()
    for registry in registries().values():
        for name in registry:
            assert name in words
            assert all(parameter in words for parameter in registry.entry(name).parameters)
    assert set(PRESETS) <= set(words)
    assert set(Scenario.specs()) <= set(words)
    assert max(map(len, out.splitlines())) <= 100
    assert out == "\n\n".join(map(listing, KINDS)) + "\n"


def test_a_parameter_has_range_default_and_meaning() -> None:
    lines = [" ".join(line.split()) for line in listing("strategies").splitlines()]
    assert "trim_fraction number in [0, 0.5) default 0.2 share trimmed at each end" in lines
    attacks = " ".join(listing("attacks").split())
    assert "source_class integer >= 0 required class to poison" in attacks


def test_general_fields_are_those_of_no_component() -> None:
    lines = listing("fields").splitlines()[1:]
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    # further lines of a meaning, which are indented more, may begin with any word
    first = {line.split()[0] for line in lines if line[indent] != " "}
    assert "num_clients" in first
    assert not first & parameter_names()


@pytest.mark.parametrize(("kind", "same"), [("strategy", "strategies"), ("DATASET", "datasets")])
def test_the_singular_will_do(kind: str, same: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    assert capsys.readouterr().out == listing(same) + "\n"


def test_an_unknown_kind_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "atacks"]) == 2
    assert "Did you mean 'attacks'?" in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fedcore {__version__}\n"
    assert main(["run", "--help"]) == 0
    assert "--malicious-fraction" in capsys.readouterr().out


def test_help_of_the_command_imports_nothing_heavy() -> None:
    """`fedcore --help` and a plain import: neither torch nor any component."""
    code = (
        "import sys; {}; heavy = {{'torch', 'numpy', 'scipy', 'fedcore.strategies', "
        "'fedcore.attacks', 'fedcore.data'}} & set(sys.modules); assert not heavy, heavy"
    )
    for what in ("import fedcore", "from fedcore.cli import main; main(['--help'])"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(what)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["fly"]) == 2
    assert main(["run", "--lr"]) == 2
    capsys.readouterr()
    assert main(["run", "--strategi", "fedavg"]) == 2
    assert "Did you mean '--strategy'?" in capsys.readouterr().err
    # no abbreviation: a later flag could make it mean something else
    assert main(["run", "--strat", "fedavg"]) == 2


CELL = {
    "id": "fedavg-iid-clean",
    "hash": "0" * 16,
    "labels": {
        "strategy": "fedavg",
        "partition": "iid",
        "attack": "clean",
        "variant": None,
        "redraw": None,
        "malicious": None,
        "poison": None,
        "note": "",
    },
    "scenario": Scenario().to_dict(),
    "control": None,
    "seeds": [0],
    "values": {"clean": [90.0], "poisoned": [], "drop": [], "asr": []},
    "estimates": {
        "clean": {"mean": 90.0, "low": 88.0, "high": 92.0, "confidence": 0.9},
        "poisoned": None,
        "drop": None,
        "asr": None,
    },
    "retention": None,
    "gates": [],
    "verdict": "pass",
    "errors": [],
    "diverged": [],
}


def test_report_renders_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"schema": 1, "date": "today", "repeat": "pytest benchmark", "provenance": {}}
    (tmp_path / "results.json").write_text(json.dumps({**content, "cells": [CELL]}))
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "1 cell: 1 pass" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"results.json", "results.csv", "report.md", "report.html", "results.tex"}


def test_report_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "no")]) == 2
    err = capsys.readouterr().err
    assert "results.json cannot be read" in err
    assert "Traceback" not in err
