"""Baselines that do not fit: damaged, of another machine, with other cells, with few seeds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.baselines.baseline_suite import (
    CLEAN,
    NAME,
    NOVA,
    POISONED,
    both,
    content_of,
    elsewhere,
    file_of,
    shift,
    tamper,
)

pytest_plugins = ["pytester"]


def truncate(suite: Any) -> None:
    file_of(suite).write_text(file_of(suite).read_text()[:-200])


def share_above_one(content: dict[str, Any]) -> None:
    next(iter(content["runs"].values()))["0"]["correct"][0] = 1001


def old_layout(suite: Any) -> None:
    """A file of before there were machine classes."""
    folder = file_of(suite).parent
    folder.with_name(f"{folder.name}.json").write_text('{"schema": 1}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "is cut off or no JSON"),
        (lambda s: file_of(s).write_text("not JSON"), "is cut off or no JSON"),
        (lambda s: file_of(s).write_text("[1]"), "is no baseline, it names no schema"),
        (lambda s: file_of(s).write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda s: tamper(s, shift(1), sign=False), "does not match its checksum"),
        (lambda s: tamper(s, lambda c: c.update(schema=1)), "has schema 1, this version reads 2"),
        (lambda s: tamper(s, lambda c: c["source"].pop("code")), "damaged (TypeError"),
        (lambda s: tamper(s, share_above_one), "is neither a number of 1000 images"),
        (old_layout, "mnist5k-quick-cpu.json has schema 1, this version reads 2"),
        (lambda s: tamper(s, lambda c: c["cells"][CLEAN].pop("values")), "is damaged"),
        (lambda s: tamper(s, lambda c: c.update(device="cuda")), "recorded on cuda, and this"),
        (
            lambda s: tamper(s, lambda c: c["data"].update({"synthetic:1000": "0"})),
            "recorded on other data: synthetic:1000",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("update", [[], ["--update-baseline"]], ids=["compare", "update"])
def test_a_baseline_that_does_not_fit_ends_with_status_4(
    recorded: Any, damage: Callable[[Any], None], message: str, update: list[str]
) -> None:
    damage(recorded)
    before = file_of(recorded).read_bytes()
    result = recorded.run(*NOVA, *update)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert recorded.text(result).count(message) == 1
    assert NAME in recorded.text(result)
    assert "Traceback" not in recorded.text(result)
    assert file_of(recorded).read_bytes() == before
    assert recorded.run(*NOVA, "--baseline=off").ret == 0


def rename(cell: str, to: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["cells"][to] = {**content["cells"].pop(cell), **changes}

    return change


def only_nova(suite: Any) -> None:
    """Make FedNova's cells the whole suite."""
    path = suite.path / "test_suite.py"
    path.write_text(path.read_text().replace('("krum", "multikrum", "fednova")', '("fednova",)'))


def test_a_renamed_test_fails_where_all_cells_are_selected(recorded: Any) -> None:
    tamper(recorded, rename(CLEAN, "fednova-iid-calm"))
    partly = recorded.run(*NOVA)
    assert partly.ret == 0
    assert "1 unchanged, 1 new, 1 gone" in recorded.text(partly)
    assert f"new, not judged until --update-baseline records them: {CLEAN}" in recorded.text(partly)
    assert "no longer in the suite (fails where all cells are selected): fednova-iid-calm" in (
        recorded.text(partly)
    )
    only_nova(recorded)
    whole = recorded.run()
    assert whole.ret == pytest.ExitCode.TESTS_FAILED
    assert (
        "gone: fednova-iid-calm is in the baseline and no longer in the suite; "
        f"{CLEAN} has the same scenario: was it renamed?"
    ) in recorded.text(whole)
    # a selection keeps what it cannot see, the whole suite drops what is gone
    recorded.run(*NOVA[:1], "clean", "--update-baseline")
    assert set(content_of(recorded)["cells"]) == {"fednova-iid-calm", CLEAN, POISONED}
    update = recorded.run("--update-baseline")
    assert re.search(r"gone +fednova-iid-calm: clean", recorded.text(update))
    assert set(content_of(recorded)["cells"]) == {CLEAN, POISONED}
    assert recorded.run().ret == 0


def test_cells_of_a_test_file_that_was_not_collected_are_not_gone(recorded: Any) -> None:
    (recorded.path / "test_more.py").write_text("def test_nothing():\n    pass\n")
    tamper(recorded, rename(POISONED, "more", test="test_more.py::test_more"))
    only_nova(recorded)
    result = recorded.run("test_suite.py")
    assert result.ret == 0
    assert "1 unchanged, 1 new, 1 not selected" in recorded.text(result)
    (recorded.path / "test_more.py").unlink()
    assert recorded.run("test_suite.py").ret == pytest.ExitCode.TESTS_FAILED


def test_a_cell_with_another_scenario_fails_with_the_fields(recorded: Any) -> None:
    def slower(content: dict[str, Any]) -> None:
        content["cells"][CLEAN]["scenario"]["lr"] = 0.05

    tamper(recorded, slower)
    result = recorded.run(*NOVA)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert f"redefined: {CLEAN} is now another scenario (lr: 0.05 -> 1.0)" in recorded.text(result)
    assert "another scenario" in recorded.text(recorded.run(*NOVA, "--update-baseline"))
    assert recorded.run(*NOVA).ret == 0


def test_too_few_seeds_are_said_and_not_judged_elsewhere(recorded: Any) -> None:
    tamper(recorded, both(shift(8), elsewhere))
    result = recorded.run(*NOVA, "--seeds=1", "-rs")
    assert result.ret == 0
    result.assert_outcomes(passed=2, skipped=1, deselected=5)
    assert f"not judged: {CLEAN} has 1 seeds in common with the baseline, 2 are needed" in (
        recorded.text(result)
    )
    assert "nothing to compare" in recorded.text(result)


def test_more_seeds_are_compared_on_those_in_common(recorded: Any) -> None:
    result = recorded.run(*NOVA, "--seeds=3")
    assert result.ret == 0
    assert "2 unchanged" in recorded.text(result)
