"""``fedcore compare`` as a user calls it: exit status, files, and errors without a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fedcore.cli import main
from fedcore.cli.compare_command import CONFIDENCE
from fedcore.harness.comparisons.document import STATUS
from fedcore.harness.statistics.portable import ALPHA
from tests.harness.comparisons.sessions import session, shifted, stored


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    """Two sessions of one machine; in the second FedNova has lost three points."""
    a = stored(tmp_path / "a", session())
    b = stored(tmp_path / "b", shifted(session(), -3, "fednova"))
    return str(a), str(b)


def test_status_and_files(
    sides: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = sides
    assert main(["compare", a, a]) == 0
    assert "equal: 36 runs in both" in capsys.readouterr().out
    files = [tmp_path / "new" / "c.json", tmp_path / "new" / "c.md"]
    assert main(["compare", a, b, f"--json={files[0]}", f"--markdown={files[1]}"]) == 1
    out = capsys.readouterr().out
    assert "B DIFFERS from A" in out.splitlines()[-1]
    content = json.loads(files[0].read_text())
    require_schema(content)
    assert content["status"] == 1
    assert content["headline"] in out
    assert content["headline"] in files[1].read_text()
    assert content["command"] == f"fedcore compare {a} {b}"


def require_schema(content: dict[str, Any]) -> None:
    """Assert names and types of everything that a script may read."""
    assert content["schema"] == 1
    kinds = {
        "command": str, "verdict": str, "status": int, "headline": str, "rule": str,
        "confidence": float, "scales": dict, "exact": bool, "a": dict, "b": dict, "changed": dict,
        "cells": dict, "runs": dict, "tests": list, "arms": list, "standings": dict,
    }  # fmt: skip
    for name, kind in kinds.items():
        assert isinstance(content[name], kind), name
    assert content["same_machine"] in (True, False, None)
    assert STATUS[content["verdict"]] == content["status"]
    for side in (content["a"], content["b"]):
        assert set(side) == {"name", "kind", "class", "facts", "data", "weights", "cells", "notes"}
    assert set(content["cells"]) == {
        "both", "only_a", "only_b", "renamed", "redefined", "other_data", "unpaired", "failed_a",
        "failed_b", "failed_both",
    }  # fmt: skip
    assert set(content["runs"]) == {"paired", "traced", "equal", "changed"}
    assert content["runs"]["equal"] + len(content["runs"]["changed"]) == content["runs"]["paired"]
    for change in content["runs"]["changed"]:
        assert set(change) == {"arm", "seed", "round", "difference", "tail"}
    for test in content["tests"]:
        assert set(test) == {
            "metric", "level", "name", "arms", "pairs", "size", "mean", "low", "high", "p",
            "p_holm", "direction",
        }  # fmt: skip
        assert test["direction"] in ("worse", "better", None)
        assert 0 <= test["p"] <= test["p_holm"] <= 1
    assert set(content["standings"]) == {"a", "b"}
    for arm in content["arms"]:
        assert set(arm) == {
            "name", "hash", "strategy", "partition", "attacked", "accuracy", "asr", "only_a",
            "only_b", "diverged_a", "diverged_b",
        }  # fmt: skip
        values = arm["accuracy"]
        assert [b - a for a, b in zip(values["a"], values["b"], strict=True)] == values[
            "difference"
        ]


def test_the_rule_and_the_confidence(
    sides: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *sides, "--rule=statistical"]) == 1
    assert "as --rule statistical asks" in capsys.readouterr().out
    # at a probability of one in 10^12 of a false alarm nothing counts
    assert main(["compare", *sides, "--rule=statistical", "--confidence=0.999999999999"]) == 0
    assert main(["compare", *sides, "--rule=exact", "--confidence=0.999999999999"]) == 1
    for wrong in ("1", "0.2", "nan"):
        assert main(["compare", *sides, f"--confidence={wrong}"]) == 2
        assert "--confidence must be in [0.5, 1)" in capsys.readouterr().err
    assert main(["compare", *sides, "--rule=other"]) == 2
    assert main(["compare", sides[0]]) == 2


def test_a_reader_that_has_gone_leaves_the_status(
    sides: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", pipe)
        assert main(["compare", *sides]) == 1
    assert capsys.readouterr().err == ""


def test_the_confidence_is_that_of_the_gate() -> None:
    assert round(1 - CONFIDENCE, 12) == ALPHA


CELL = '"cells": [{"id": "x"}]'
DAMAGED = {
    "cut": '{"schema": 1, "cel',
    "binary": b"\xff\xfe\x00",
    "list": "[1, 2]",
    "number": "3",
    "nothing": "",
    "not a number": '{"schema": 1, "cells": NaN, "provenance": {}}',
    "another file": '{"schema": 2, "tests": [], "cells": {}, "provenance": {}}',
    "other schema": '{"schema": 99, "cells": [], "provenance": {}}',
    "no cells": '{"schema": 1, "provenance": {}}',
    "half a cell": f'{{"schema": 1, "provenance": {{}}, {CELL}}}',
    "cells of another kind": '{"schema": 1, "provenance": {}, "cells": {"x": 1}}',
    "deep": "[" * 100_000,
    "a baseline without values": '{"schema": 2, "cells": {}, "runs": {}, "checksum": "x"}',
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files(
    kind: str, sides: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = DAMAGED[kind]
    (tmp_path / "bad").mkdir()
    path = tmp_path / "bad" / "results.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for arguments in ([sides[0], str(path.parent)], [str(path), sides[0]]):
        assert main(["compare", *arguments]) == 2
        streams = capsys.readouterr()
        assert streams.err.startswith("fedcore compare: ")
        assert "bad/results.json" in streams.err
        assert "Traceback" not in streams.err
        assert streams.out == ""


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("seeds",), [0, 1]),
        (("seeds",), [0, 1, -2]),
        (("seeds",), [0, 1, 1]),
        (("seeds",), "abc"),
        (("values", "clean"), [1.0, "x", 2.0]),
        (("values", "clean"), [1.0, 1e308, 2.0]),
        (("values", "clean"), [50.0, 50.0, 50.0]),  # another value than the same run elsewhere
        (("values",), None),
        (("scenario",), 3),
        (("errors",), 3),
        (("course",), {"clean": {"state": "odd"}, "attacked": None}),
        (("course",), [1]),
        (("curves",), {"rounds": [1, 2], "clean": {"mean": [1.0]}}),
        (("diverged",), 3),
    ],
)
def test_damaged_cells(
    place: tuple[str, ...],
    wrong: Any,
    sides: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = session()
    target = content["cells"][1]
    for name in place[:-1]:
        target = target[name]
    target[place[-1]] = wrong
    bad = stored(tmp_path / "bad", content)
    assert main(["compare", sides[0], str(bad)]) == 2
    assert "bad/results.json is damaged" in capsys.readouterr().err


def test_places_that_hold_no_session(
    sides: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "none" / "records").mkdir(parents=True)
    for name, reason in (
        ("no", "cannot be read (No such file or directory)"),
        ("empty", "holds neither results.json nor records/, and 0 other files"),
        ("none", "holds no run that this version can read"),
    ):
        assert main(["compare", sides[0], str(tmp_path / name)]) == 2
        assert reason in capsys.readouterr().err
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert main(["compare", str(loop), sides[0]]) == 2


def test_places_that_cannot_be_written(
    sides: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for option in ("--json", "--markdown"):
        assert main(["compare", *sides, f"{option}={tmp_path / 'file' / 'x'}"]) == 2
        assert "fedcore compare: " in capsys.readouterr().err
        assert main(["compare", *sides, f"{option}={tmp_path}"]) == 2
        assert os.listdir(tmp_path / "a") == ["results.json"]
