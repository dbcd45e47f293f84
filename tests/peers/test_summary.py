from __future__ import annotations

from typing import Any

import pytest

from benchmark.peers.summary import steady, summarise, table


def result(rounds: float, total: float, **changes: Any) -> dict[str, Any]:
    laps = [9.0, 5.0, *[rounds] * 8]
    known = {"total": total, "memory": 2e8, "rounds": laps, "steps": 800, "digest": "a"}
    return {**known, "error": None, **changes}


FAILED = {"total": 1.0, "memory": 1, "rounds": [], "steps": 0, "digest": "", "error": "exit 1: x"}


def test_steady_is_the_median_of_rounds_3_to_10() -> None:
    laps = [100.0, 100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert steady({"rounds": laps}) == 4.5


def test_ratios_are_those_to_the_bare_loop_of_the_same_repeat() -> None:
    # ratios 2, 1 and 4 a round; the ratio of the medians would be 3 / 2
    repeats = [
        {"bare": result(1, 10), "x": result(2, 30)},
        {"bare": result(3, 30), "x": result(3, 30)},
        {"bare": result(2, 20), "x": result(8, 100)},
        {"bare": result(3, 30), "x": FAILED},
    ]
    rows = summarise(repeats)
    assert rows["x"]["round_ratio"] == 2
    assert rows["x"]["total_ratio"] == 3
    assert (rows["x"]["round"], rows["x"]["total"]) == (3, 30)
    assert (rows["x"]["runs"], rows["x"]["failed"], rows["x"]["error"]) == (3, 1, "exit 1: x")
    assert (rows["bare"]["round"], rows["bare"]["round_ratio"]) == (2.5, 1)


def test_a_repeat_without_a_bare_loop_has_no_ratio() -> None:
    rows = summarise([{"x": result(2, 30)}, {"bare": FAILED, "x": result(4, 50)}])
    assert rows["x"]["round"] == 3
    assert "round_ratio" not in rows["x"]
    assert "| 3.000 | - | 40.00 | - |" in table(rows, {})


@pytest.mark.parametrize(
    ("digests", "equal", "shown"),
    [(["a", "a"], True, "yes (2)"), (["a", "b"], False, "no (2)"), (["a"], None, "- (1)")],
)
def test_whether_seeded_runs_agree(digests: list[str], equal: bool | None, shown: str) -> None:
    rows = summarise([{"x": result(1, 1, digest=digest)} for digest in digests])
    assert rows["x"]["equal"] is equal
    assert shown in table(rows, {})


def test_the_table() -> None:
    rows = summarise(
        [
            {
                "bare": result(0.15, 4),
                "x": result(0.45, 16, memory=1.64e9),
                "broken": FAILED,
                "lazy": result(0.1, 3, steps=790),
            }
        ]
    )
    lines = table(rows, {"x": "the system"}).splitlines()
    assert lines[0].startswith("| system | s / round | x bare | total s | x bare | memory MB |")
    assert lines[2] == "| bare | 0.150 | 1.00 | 4.00 | 1.00 | 200 | - (1) |"
    assert lines[3] == "| x: the system | 0.450 | 3.00 | 16.00 | 4.00 | 1,640 | - (1) |"
    # no number is made up for what did not run
    assert lines[4] == "| broken | - | - | - | - | - | - |"
    assert lines[6:] == [
        "",
        "broken: 1 of 1 runs failed: exit 1: x",
        "lazy took [790] training steps, W1 has 800",
    ]
