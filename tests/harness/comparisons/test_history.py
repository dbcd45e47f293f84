"""The history of a baseline: commits of a real git, old files among them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fedcore.cli import main
from fedcore.harness.comparisons.history import NoHistory, before, history
from fedcore.harness.comparisons.history_section import columns, history_figure
from fedcore.harness.comparisons.side import ComparisonError
from tests.harness.comparisons.sessions import BASE, NOVA, session, stored

FLIP = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 1.0}


def cell(scenario: Any, **values: list[float]) -> dict[str, Any]:
    by_seed = {m: {str(seed): v for seed, v in enumerate(each)} for m, each in values.items()}
    return {"scenario": scenario.to_dict(), "values": by_seed}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, file: Path, cells: dict[str, Any], schema: int = 2) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"schema": schema, "cells": cells}))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", f"record {file.name}")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A checkout with three versions: the old layout, another class, and a cell more."""
    git(tmp_path, "init", "-q")
    both = {
        "avg": cell(BASE.but(**FLIP), clean=[90.0, 92.0], poisoned=[80.0, 82.0]),
        "nova": cell(NOVA.but(**FLIP), clean=[88.0], poisoned=[70.0]),
    }
    commit(tmp_path, tmp_path / "baselines" / "quick.json", both, schema=1)
    folder = tmp_path / "baselines" / "quick"
    (tmp_path / "baselines" / "quick.json").unlink()
    moved = {**both, "avg": cell(BASE.but(**FLIP), clean=[90.0, 92.0], poisoned=[81.0, 84.0])}
    commit(tmp_path, folder / "here.json", moved)
    more = {**moved, "mild": cell(NOVA.but(**{**FLIP, "poison_ratio": 0.5}), poisoned=[50.0])}
    commit(tmp_path, folder / "here.json", more)
    return folder


def test_versions_and_what_moved(recorded: Path) -> None:
    versions = history(recorded)
    assert [version.file for version in versions] == ["quick.json", "here.json", "here.json"]
    assert [version.mean("poisoned", "fedavg") for version in versions] == [81.0, 82.5, 82.5]
    # the mean over all cells falls by 10 as one is new, and no number has changed
    assert [version.mean("poisoned", "fednova") for version in versions] == [70.0, 70.0, 60.0]
    old, now = before(versions, 2), versions[2]
    assert old is versions[1]
    assert now.moved(old, "poisoned", "fednova") == 0.0
    assert not now.same_runs(old, "poisoned", "fednova")
    assert versions[1].moved(before(versions, 1), "poisoned", "fedavg") == 1.5
    shown = columns(versions)
    assert list(
        zip(shown["strategy"], shown["attacked"], shown["attacked moved"], strict=True)
    ) == [
        ("fedavg", "81.0*", None),
        ("fednova", "70.0*", None),
        ("fedavg", "82.5", "+1.50"),
        ("fednova", "60.0*", None),
    ]
    assert history_figure(versions).startswith(b"\x89PNG")


def test_a_file_and_what_is_not_committed(recorded: Path) -> None:
    file = recorded / "here.json"
    # git takes the file of the old layout for the one that it was renamed from
    commits = git(recorded, "log", "--format=%H", "--reverse").split()
    assert [version.commit for version in history(file)] == commits
    content = json.loads(file.read_text())
    del content["cells"]["avg"]
    file.write_text(json.dumps(content))
    last = history(file)[-1]
    assert (last.commit, last.strategies) == ("not committed", ["fednova"])
    shown = columns(history(file))
    assert shown["attacked"][-1] == "gone"
    # what cannot be read is no version
    commit(recorded, file, {"avg": {"scenario": 3, "values": {}}})
    file.write_text("{")
    git(recorded, "commit", "-aqm", "cut off")
    assert len(history(file)) == 3


def test_it_stands_in_the_report(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = stored(recorded.parent / "report", session())
    (report / "results.json").write_text(json.dumps({**session(), "costs": []}))
    assert main(["report", str(report), "--history", str(recorded)]) == 0
    assert "history of quick:" in capsys.readouterr().out
    page = (report / "report.md").read_text()
    assert "## History of quick" in page
    assert "figures/history.png" in page
    assert (report / "figures" / "history.png").exists()


def test_without_a_checkout_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    report = stored(tmp_path / "report", session())
    file = tmp_path / "b.json"
    file.write_text('{"cells": {}}')
    with pytest.raises(NoHistory, match="not a git repository"):
        history(file)
    assert main(["report", str(report), "--history", str(file)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fedcore report: the history of {file} is left out: not a git")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoHistory, match="git is not installed"):
        history(file)
    with pytest.raises(ComparisonError, match="does not exist"):
        history(tmp_path / "no.json")


def test_a_file_that_was_never_committed(recorded: Path) -> None:
    other = recorded.parent / "new.json"
    other.write_text("{}")
    with pytest.raises(NoHistory, match="no commit holds"):
        history(other)
