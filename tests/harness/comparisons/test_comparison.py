"""Each kind of difference between two sessions, made by hand: what is said of it, in both forms."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.harness.comparisons.side import ComparisonError
from fedcore.harness.comparisons.text import markdown, terminal
from tests.harness.comparisons import sessions
from tests.harness.comparisons.sessions import (
    ELSEWHERE,
    compared,
    found,
    moved,
    session,
    shifted,
)


def there(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` as of another machine class."""
    content = copy.deepcopy(content)
    content["provenance"]["class"] = ELSEWHERE
    return content


def test_a_session_equals_itself(tmp_path: Path) -> None:
    result = compared(tmp_path, session(), session())
    assert (result["verdict"], result["status"]) == ("equal", 0)
    assert result["headline"] == "equal: 36 runs in both, every tail value repeats"
    assert result["changed"] == {}
    assert result["runs"] == {"paired": 36, "traced": 0, "equal": 36, "changed": []}
    assert len(result["cells"]["both"]) == 12
    assert not any(value for name, value in result["cells"].items() if name != "both")


@pytest.mark.parametrize(("points", "direction"), [(-3.0, "worse"), (3.0, "better")])
def test_a_strategy_moved_on_all_seeds(tmp_path: Path, points: float, direction: str) -> None:
    result = compared(tmp_path, session(), there(shifted(session(), points, "fednova")))
    assert result["status"] == 1
    assert any("fednova" in name and way == direction for name, way in found(result))
    # nothing is said of others, and nothing goes the other way
    assert {way for _, way in found(result)} == {direction}
    assert not any(s in name for name, _ in found(result) for s in ("fedavg", "median", "krum"))
    moved_arms = {arm["name"]: arm["accuracy"]["difference"] for arm in result["arms"]}
    assert [moved_arms[name] for name in moved_arms if name.startswith("fednova")] == [
        [points] * 3
    ] * 3
    text = terminal(result)
    assert ("WORSE" if points < 0 else "BETTER") in text
    assert max(map(len, text.splitlines())) <= 100
    assert f"{points:+.2f}" in markdown(result)


def test_one_arm_improved(tmp_path: Path) -> None:
    result = compared(tmp_path, session(), there(shifted(session(), 9.0, "median", "labelflip")))
    name = next(n for n in result["cells"]["both"] if n.startswith("median-iid-labelflip"))
    assert (name, "better") in found(result)
    assert {way for _, way in found(result)} == {"better"}
    assert result["status"] == 1
    assert f"{'BETTER':<6} +9.00" in terminal(result)


def test_a_rise_of_the_attack_success_rate_is_worse(tmp_path: Path) -> None:
    risen = moved(session(), lambda cell, metric, seed, old: old + 40 * (metric == "asr"))
    result = compared(tmp_path, session(), there(risen))
    assert {way for _, way in found(result)} == {"worse"}
    assert {test["metric"] for test in result["tests"] if test["direction"]} == {"asr"}


def test_pairs_are_of_one_seed(tmp_path: Path) -> None:
    """The order of the seeds in a file means nothing, and seeds of one side alone are left out."""
    turned = session(seeds=(2, 3, 1, 0))
    result = compared(tmp_path, session(), turned)
    assert result["verdict"] == "equal"
    assert result["runs"]["paired"] == 36
    assert all(arm["only_b"] == [3] and arm["only_a"] == [] for arm in result["arms"])
    assert "seed 3 only in B" in terminal(result)
    arm = result["arms"][0]["accuracy"]
    assert dict(zip(arm["seeds"], arm["a"], strict=True)) == {0: 90.0, 1: 90.25, 2: 90.5}
    assert arm["a"] == arm["b"]


def test_any_bit_counts_on_one_machine_class(tmp_path: Path) -> None:
    def bit(cell: sessions.Row, metric: str, seed: int, old: float) -> float:
        own = cell["id"].startswith("krum-iid-labelflip") and metric == "poisoned"
        return math.nextafter(old, 0) if own and seed == 1 else old

    other = moved(session(), bit)
    result = compared(tmp_path, session(), other)
    assert (result["status"], result["exact"], result["same_machine"]) == (1, True, True)
    assert [(c["arm"].split("-")[0], c["seed"]) for c in result["runs"]["changed"]] == [("krum", 1)]
    assert not found(result)
    asked = compared(tmp_path, session(), other, exact=False)
    assert (asked["verdict"], asked["status"]) == ("alike", 0)
    elsewhere = compared(tmp_path, session(), there(other))
    assert (elsewhere["verdict"], elsewhere["same_machine"]) == ("alike", False)
    unknown = copy.deepcopy(other)
    del unknown["provenance"]["class"]
    result = compared(tmp_path, session(), unknown)
    assert (result["verdict"], result["same_machine"]) == ("alike", None)
    assert compared(tmp_path, session(), unknown, exact=True)["status"] == 1


def test_a_run_that_diverged_is_named(tmp_path: Path) -> None:
    other = there(session())
    cell = next(c for c in other["cells"] if c["id"].startswith("krum-iid-labelflip"))
    cell["values"]["poisoned"][1] = 10.0
    cell["diverged"] = [f"{cell['id']} seed 1 in round 4"]
    result = compared(tmp_path, session(), other)
    arm = next(arm for arm in result["arms"] if arm["name"] == cell["id"])
    assert (arm["diverged_a"], arm["diverged_b"]) == ([], [1])
    assert "diverged, counted at chance, 0 -> 1 runs:" in terminal(result)
    assert f"{cell['id']}: seed 1 in B" in terminal(result)


def test_a_strategy_that_diverges_is_a_loss(tmp_path: Path) -> None:
    other = there(session())
    for cell in other["cells"]:
        if cell["id"].startswith("krum"):
            clean = cell["labels"]["attack"] == "clean"
            cell["values"]["clean" if clean else "poisoned"] = [10.0] * 3
            cell["values"]["clean"] = [10.0] * 3
            twin = other["cells"][9]["id"]
            ids = dict.fromkeys((cell["id"], twin))
            cell["diverged"] = [f"{name} seed {s} in round 2" for name in ids for s in range(3)]
    result = compared(tmp_path, session(), other)
    assert ("krum, iid", "worse") in found(result)
    # the attack success rate of a model that is broken is no improvement
    assert {way for _, way in found(result)} == {"worse"}
    (test,) = [test for test in result["tests"] if test["level"] == "diverged"]
    assert test["size"] == -9
    assert "0 -> 9 runs:" in terminal(result)


def test_the_first_round_of_mean_curves(tmp_path: Path) -> None:
    """Where the rounds of the runs are not stored, the curves of the file say as much."""
    a, b = session(), shifted(session(), -3, "krum")
    for content, second in ((a, 40.0), (b, 39.0)):
        for cell in content["cells"]:
            arm = {"mean": [20.0, second, 60.0]}
            cell["curves"] = {"rounds": [1, 2, 3], "clean": arm, "attacked": arm}
    changes = compared(tmp_path, a, b)["runs"]["changed"]
    assert {change["arm"].split("-")[0] for change in changes} == {"krum"}
    assert all(
        change["difference"].endswith("the mean over the seeds first differs in round 2")
        for change in changes
    )
    b["cells"][0]["curves"]["rounds"] = [1, 2]
    with pytest.raises(ComparisonError, match="damaged"):
        compared(tmp_path, a, b)


def test_a_missing_cell_is_named_and_not_compared(tmp_path: Path) -> None:
    other = session()
    gone = other["cells"].pop(1)
    result = compared(tmp_path, session(), other)
    assert result["cells"]["only_a"] == [gone["id"]]
    assert result["runs"]["paired"] == 33
    assert result["status"] == 0
    assert gone["id"] not in {arm["name"] for arm in result["arms"]}
    back = compared(tmp_path, other, session())
    assert (back["cells"]["only_a"], back["cells"]["only_b"]) == ([], [gone["id"]])
    # the clean twin of a cell is measured without a clean cell
    other = session()
    clean = other["cells"].pop(0)
    assert clean["id"] in compared(tmp_path, session(), other)["cells"]["both"]


def test_cells_of_other_scenarios_are_never_compared(tmp_path: Path) -> None:
    other = session()
    cell = other["cells"][1]
    cell["scenario"]["lr"] = 0.5
    cell["values"]["poisoned"] = [0.0] * 3
    result = compared(tmp_path, session(), other)
    assert result["cells"]["redefined"] == {cell["id"]: ["lr: 0.05 -> 0.5"]}
    assert result["cells"]["only_a"] == result["cells"]["only_b"] == [cell["id"]]
    assert result["status"] == 0
    assert f"{cell['id']}: lr: 0.05 -> 0.5" in " ".join(terminal(result).split())


def test_renamed_cells_are_one_scenario(tmp_path: Path) -> None:
    other = session()
    other["cells"][1]["id"] = "another-name"
    result = compared(tmp_path, session(), other)
    assert list(result["cells"]["renamed"].values()) == ["another-name"]
    assert result["verdict"] == "equal"


def test_other_data_are_refused(tmp_path: Path) -> None:
    other = shifted(session(), -30, "fednova")
    other["provenance"]["data"]["synthetic:1000"] = "d1" * 8
    result = compared(tmp_path, session(), other)
    assert (result["verdict"], result["status"]) == ("incomparable", 2)
    assert result["changed"]["data synthetic:1000"] == ["d0" * 8, "d1" * 8]
    (what, arms), *others = result["cells"]["other_data"].items()
    assert (what, len(arms), others) == (f"synthetic:1000: {'d0' * 8} -> {'d1' * 8}", 12, [])
    assert result["tests"] == result["arms"] == []
    assert "nothing can be compared" in terminal(result)


def test_no_seed_in_common(tmp_path: Path) -> None:
    result = compared(tmp_path, session(), session(seeds=(7, 8)))
    assert result["status"] == 2
    assert len(result["cells"]["unpaired"]) == 12


@pytest.mark.parametrize("side", ["a", "b"])
def test_errors_on_one_side_alone_are_a_difference(tmp_path: Path, side: str) -> None:
    other = session()
    cell = other["cells"][4]
    cell["errors"] = ["krum seed 0: ValueError: no\nmore"]
    both = (other, session()) if side == "a" else (session(), other)
    result = compared(tmp_path, *both)
    assert result["status"] == 1
    assert result["cells"][f"failed_{side}"] == {cell["id"]: cell["errors"][0]}
    assert f"ERRORS in {side.upper()} alone:" in terminal(result)
    again = compared(tmp_path, other, other)
    assert (again["status"], again["cells"]["failed_both"]) == (0, [cell["id"]])


def test_what_changed_between_them(tmp_path: Path) -> None:
    other = session()
    other["code"] = "f" * 16
    other["dirty"] = True
    other["provenance"]["torch"] = "2.14.0"
    other["repeat"] = "pytest benchmark --lr=0.1"
    result = compared(tmp_path, session(), other)
    assert result["changed"] == {
        "commit": ["c0ffee", "c0ffee with changes"],
        "code": ["0123456789abcdef", "f" * 16],
        "command": ["pytest benchmark", "pytest benchmark --lr=0.1"],
        "torch": ["2.13.0", "2.14.0"],
    }
    assert "torch: 2.13.0 -> 2.14.0" in terminal(result)


@settings(max_examples=5)
@given(st.floats(-20, 5, allow_nan=False), st.sampled_from(sessions.STRATEGIES))
def test_a_comparison_turned_round_says_the_opposite(
    tmp_path_factory: pytest.TempPathFactory, points: float, strategy: str
) -> None:
    folder = tmp_path_factory.mktemp("turned")
    a, b = session(), there(shifted(session(), points, strategy))
    ahead, back = compared(folder, a, b), compared(folder, b, a)
    opposite = {"worse": "better", "better": "worse"}
    assert found(back) == {(name, opposite[way]) for name, way in found(ahead)}
    assert back["status"] == ahead["status"]
    for one, other in zip(ahead["arms"], back["arms"], strict=True):
        assert one["accuracy"]["difference"] == [-d for d in other["accuracy"]["difference"]]
