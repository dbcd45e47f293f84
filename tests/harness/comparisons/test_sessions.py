"""Sessions of a real suite, compared by a real call of the command: their stores and baselines."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fedcore.cli import main
from fedcore.records.record import Record
from fedcore.strategies.robust.trimmedmean import TrimmedMean
from tests.conftest import ROOT
from tests.forked_python import ForkedPython
from tests.harness.exact.test_exact_gate import SUITE

pytest_plugins = ["pytester"]
SMOKE = ("--profile=smoke", "--seeds=2", "-k", "trimmedmean")


def scaled_by_a_millionth(patch: pytest.MonkeyPatch) -> None:
    """Change the bits of what every run of the trimmed mean gives, and hardly its accuracy."""
    rightly = TrimmedMean.step
    patch.setattr(TrimmedMean, "step", lambda self, *given: rightly(self, *given) * (1 + 1e-6))


def compare(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON of ``fedcore compare ARGUMENTS``."""
    status = main(["compare", *arguments, f"--json={folder / 'c.json'}"])
    content: dict[str, Any] = json.loads((folder / "c.json").read_text())
    assert content["status"] == status
    return content


def test_sessions_of_the_same_and_of_other_code(
    suite: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    forked_python: ForkedPython,
) -> None:
    """In the other one the trimmed mean's step is a millionth longer, which no proof sees."""
    path = suite.path
    suite.pytester.makepyfile(test_suite=SUITE)
    assert suite.run(*SMOKE, "--results=a", "--update-baseline").ret == 0
    with monkeypatch.context() as patch:
        scaled_by_a_millionth(patch)
        assert suite.run(*SMOKE, "--results=b", "--baseline=off").ret == 0
    shutil.copytree(path / "a", path / "again")
    capsys.readouterr()

    same = compare(path, "a", "again")
    assert (same["verdict"], same["exact"], same["changed"]) == ("equal", True, {})
    assert same["runs"] == {"paired": 4, "traced": 4, "equal": 4, "changed": []}

    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    status, out, err = forked_python.run("fedcore", ["compare", "a", "b"], env, path)
    assert (status, err) == (1, "")
    other = compare(path, "a", "b")
    assert other["headline"] in out
    assert (other["exact"], other["same_machine"]) == (True, True)
    changes = other["runs"]["changed"]
    assert {change["seed"] for change in changes} == {0, 1}
    assert all(change["arm"].startswith("trimmedmean") for change in changes)
    assert all(change["round"] in (1, 2) for change in changes)
    assert changes[0]["difference"].startswith("first in round ")
    assert "nothing is significantly worse or better" in other["headline"]
    assert compare(path, "a", "b", "--rule=statistical")["verdict"] == "alike"

    # the store alone has the same runs, but not the class of its machine
    (path / "b" / "results.json").unlink()
    store = compare(path, "a", "b", "--rule=exact")
    assert store["b"]["kind"] == "store"
    assert [c["difference"] for c in store["runs"]["changed"]] == [c["difference"] for c in changes]
    assert store["same_machine"] is None
    assert store["cells"]["only_a"] == []

    # so has the baseline
    (baseline,) = (path / "baselines").glob("*/*.json")
    recorded = compare(path, str(baseline), "a")
    assert (recorded["verdict"], recorded["exact"]) == ("equal", True)
    assert recorded["runs"]["traced"] == recorded["runs"]["paired"] == 4
    assert compare(path, str(baseline.parent), "b", "--rule=exact")["runs"]["changed"]

    # rounds that lie in another store
    (path / "report").mkdir()
    shutil.copy(path / "a" / "results.json", path / "report")
    assert compare(path, "report", str(baseline))["runs"]["traced"] == 0
    assert compare(path, "report", str(baseline), "--results=a")["runs"]["traced"] == 4

    edited(path)
    damage(path, capsys)


def edited(path: Path) -> None:
    """A record beside a results.json that says something else is not of its run."""
    shutil.copytree(path / "again", path / "edited")
    content = json.loads((path / "edited" / "results.json").read_text())
    attacked = next(cell for cell in content["cells"] if cell["values"]["poisoned"])
    attacked["values"]["poisoned"][1] -= 1
    (path / "edited" / "results.json").write_text(json.dumps(content))
    runs = compare(path, "a", "edited")["runs"]
    assert (runs["traced"], [change["seed"] for change in runs["changed"]]) == (3, [1])
    assert runs["changed"][0]["difference"].startswith("tail accuracy ")


def damage(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records that are damaged or of another version."""
    records = sorted((path / "b" / "records").rglob("*.json"))
    text = records[0].read_text()
    assert Record.from_json(text).to_json() == text
    records[0].write_text(text.replace('"schema": 2', '"schema": 1'))
    content = compare(path, "a", "b")
    assert content["b"]["notes"] == ["1 records of another version were passed over"]
    capsys.readouterr()
    records[0].write_text(text[:-9])
    assert main(["compare", "a", "b"]) == 2
    assert records[0].name in capsys.readouterr().err
    kept = sorted((path / "a" / "records").glob("trimmedmean*/*.json"))
    kept[0].write_text("")
    content = compare(path, "a", "again")
    assert "was passed over" in content["a"]["notes"][0]
    assert (content["verdict"], content["runs"]["traced"]) == ("equal", 3)
