from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

pytest_plugins = ["pytester"]

KRUM, NOVA = (f"{name}-iid-labelflip-mal25pct-poison100pct" for name in ("krum", "fednova"))
IDS = [
    f"{name}-iid-{attack}"
    for name in ("krum", "multikrum", "fednova")
    for attack in ("clean", "labelflip-mal25pct-poison100pct")
]


def test_the_options_are_listed(suite: Any) -> None:
    shown = suite.text(suite.run("--help"))
    for option in (
        "--dataset", "--data-dir", "--model", "--profile", "--seeds", "--device", "--jobs",
        "--results", "--fresh", "--report",
    ):  # fmt: skip
        assert re.search(rf"^ +{option}\b", shown, re.MULTILINE), option
    assert "cells(function=...)" in suite.text(suite.run("--markers"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile=smok"], "--profile: unknown profile 'smok'. Did you mean 'smoke'?"),
        (["--jobs=0"], "--jobs must be >= 1, got 0"),
        (["--seeds=0"], "--seeds must be >= 1, got 0"),
        (["--dataset=syntetic:400"], "unknown dataset 'syntetic:400'. Did you mean 'synthetic'?"),
        (["--dataset=synthetic:few"], "N of synthetic:N must be a whole number"),
        (["--model=mlpp"], "unknown model 'mlpp'. Did you mean 'mlp'?"),
        (["--results=test_suite.py/below"], "test_suite.py/below cannot be written"),
        (["--device=tpu"], "argument --device: invalid choice: 'tpu'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_usage_ends_with_status_4_and_one_message(
    suite: Any, arguments: list[str], message: str
) -> None:
    result = suite.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert suite.text(result).count(message) == 1
    assert "Traceback" not in suite.text(result)
    assert "Error: " not in suite.text(result)  # no name of an exception
    assert not (suite.path / ".fedcore" / "records").exists() or not suite.records()


def test_bad_thresholds_end_with_status_4(suite: Any) -> None:
    path = suite.path / "thresholds.toml"
    path.write_text("[noise]\nsd = 2\ndf = 4\n[drop.x]\nmax = 1\n")
    message = "[drop.x]: a reason is needed"
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in suite.text(result)
    assert str(path) in suite.text(result)


def test_a_missing_device_ends_with_status_4(suite: Any) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    result = suite.run("--device=cuda")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "'cuda' is not available on this machine: use cpu or auto" in suite.text(result)


def test_missing_data_end_with_status_4_and_what_to_do(suite: Any) -> None:
    result = suite.run("--dataset=npz:absent.npz", "-k", "krum and clean and not multikrum")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = "DataError: absent.npz: there is no such file; correct the path or put the file there"
    assert suite.text(result).count(told) == 1


def test_collecting_shows_readable_ids_and_computes_nothing(suite: Any) -> None:
    result = suite.run("--collect-only", "-q")
    assert result.ret == 0
    lines = [f"test_suite.py::test_robustness[{name}]" for name in IDS]
    assert result.stdout.lines[:7] == [*lines, "test_suite.py::test_other"]
    assert not (suite.path / ".fedcore").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["-k", "fednova and clean"], ["fednova-iid-clean"]),
        (["-k", "krum and clean"], ["krum-iid-clean", "multikrum-iid-clean"]),
        (["-k", f"[{KRUM}]"], [KRUM]),
        (["-m", "case(strategy='krum')"], ["krum-iid-clean", KRUM]),
        (["-m", "case(strategy='krum', attack='labelflip')"], [KRUM]),
        (["-m", "case(malicious=25, poison=100, strategy='fednova')"], [NOVA]),
        (["-m", "case(model='cnn')"], []),
        (["test_suite.py::test_robustness[fednova-iid-clean]"], ["fednova-iid-clean"]),
    ],
)
def test_selection_is_exact(suite: Any, arguments: list[str], wanted: list[str]) -> None:
    result = suite.run("--collect-only", "-q", "--strict-markers", *arguments)
    found = re.findall(r"\[(.*)\]$", suite.text(result), re.MULTILINE)
    assert found == wanted


def test_only_what_is_selected_is_run(suite: Any) -> None:
    result = suite.run("-k", "fednova and clean")
    assert result.ret == 0
    assert "1 cell, 2 runs: 0 stored, 2 to make with 1 worker on cpu" in suite.text(result)
    assert len(suite.records()) == 2
    assert [cell["id"] for cell in suite.results()] == ["fednova-iid-clean"]


def test_without_cells_the_plugin_is_silent(suite: Any) -> None:
    result = suite.run("-k", "test_other")
    result.assert_outcomes(passed=1, deselected=6)
    assert "= fedcore =" not in suite.text(result)
    assert not (suite.path / ".fedcore").exists()


def test_a_failure_tells_all_and_its_command_repeats_it(suite: Any) -> None:
    suite.limits(drop="max = -60")
    result = suite.run("--seeds=3", "--dataset=synthetic:500", "-k", "krum")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=2, passed=2, deselected=3)
    result.stdout.fnmatch_lines(
        [f"{KRUM}: FAIL", "", "*seed*clean*poisoned*drop*", "---*", " *0 *", " *1 *", " *2 *"]
    )
    cell = next(cell for cell in suite.results() if cell["id"] == KRUM)
    for metric in ("clean", "poisoned", "drop"):
        for value in cell["values"][metric]:
            assert f"{value:.2f}" in suite.text(result)
    assert "limit <=-60: FAIL" in suite.text(result)
    assert "threshold drop.rule: because of drop" in suite.text(result)
    assert "Traceback" not in suite.text(result)

    start = suite.text(result).index(f"{KRUM}: FAIL")
    found = re.search(r"repeat it with:\n +pytest (.*)", suite.text(result)[start:])
    assert found is not None
    again = suite.run(*shlex.split(found[1]))
    assert again.ret == pytest.ExitCode.TESTS_FAILED
    assert suite.results() == [cell]


def test_a_control_without_effect_makes_its_cells_void(suite: Any) -> None:
    suite.limits(control="min = 80")
    result = suite.run("-k", "fednova")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, passed=1, deselected=5)  # the clean cell stands
    assert f"{NOVA}: VOID (the attack does too little to the undefended control" in suite.text(
        result
    )
    assert "threshold control.rule: because of control" in suite.text(result)
    assert [cell["verdict"] for cell in suite.results()] == ["pass", "VOID"]


def test_what_cannot_be_told_is_skipped_with_an_explanation(suite: Any) -> None:
    suite.run("-k", "fednova")
    mean = suite.results()[1]["estimates"]["drop"]["mean"]
    suite.limits(drop=f"max = {mean:.4f}")
    result = suite.run("-k", "fednova", "-rs")
    assert result.ret == 0
    result.assert_outcomes(skipped=1, passed=1, deselected=5)
    assert f"{NOVA}: unsure (the interval holds the limit: more seeds (--seeds N)" in suite.text(
        result
    )
    assert "threshold drop.rule: because of drop" in suite.text(result)
    assert "1 unsure" in suite.text(result)


@pytest.mark.parametrize(
    ("limits", "word", "counted"),
    [
        ({"drop": "max = {mean:.4f}"}, "unsure", "1 unsure"),
        ({"drop": "none = true"}, "no-limit", "1 without a limit"),
    ],
)
def test_what_was_not_decided_is_counted_in_the_last_line_and_may_fail(
    suite: Any, limits: dict[str, str], word: str, counted: str
) -> None:
    suite.run("-k", "fednova")
    mean = suite.results()[1]["estimates"]["drop"]["mean"]
    suite.limits(**{metric: text.format(mean=mean) for metric, text in limits.items()})
    quiet = suite.run("-k", "fednova", "-q")
    assert quiet.ret == 0
    assert counted in quiet.stdout.lines[-1]
    assert "1 passed, 1 skipped" in quiet.stdout.lines[-1]
    other = {"unsure": "no-limit", "no-limit": "unsure"}[word]
    assert suite.run("-k", "fednova", f"--fail-on={other}").ret == 0
    for words in ([f"--fail-on={word}"], [f"--fail-on={other},{word}"]):
        strict = suite.run("-k", "fednova", *words)
        assert strict.ret == pytest.ExitCode.TESTS_FAILED
        strict.assert_outcomes(failed=1, passed=1, deselected=5)
        assert counted in strict.stdout.lines[-1]
        assert f"--fail-on={word}" in suite.text(strict)  # repeating it fails too


def test_a_decided_session_counts_nothing_else(suite: Any) -> None:
    last = suite.run("-k", "fednova").stdout.lines[-1]
    assert "2 passed" in last
    assert "unsure" not in last
    assert "limit" not in last


def test_a_void_cell_says_why_in_table_files_and_junit(suite: Any) -> None:
    suite.limits(asr="max = 50")  # which a label flip does not have
    result = suite.run("-k", "fednova", "--junitxml=junit.xml", "--report=out")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    reason = "asr could not be measured, which asr.rule limits: attack 'labelflip' has no success"
    flat = " ".join(suite.text(result).split())
    assert f"VOID {NOVA}: {reason}" in flat
    assert f"{NOVA}: VOID ({reason}" in flat
    (cell,) = [cell for cell in suite.results("out") if cell["id"] == NOVA]
    assert cell["voids"][0].startswith(reason)
    for name in ("report.md", "report.html", "results.csv"):
        text = (suite.path / "out" / name).read_text()
        assert "asr could not be measured" in text
    assert "fedcore.void" in (suite.path / "junit.xml").read_text()


def test_a_limit_that_cannot_fail_ends_with_status_4(suite: Any) -> None:
    suite.limits(drop="min = -6\nmax = 95")
    result = suite.run("-k", "fednova")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "[drop.rule]: the limit -6..95 cannot fail" in suite.text(result)


def test_partitions_that_cannot_be_dealt_end_with_status_4_before_the_first_run(suite: Any) -> None:
    images, labels = np.zeros((3, 8, 8), np.uint8), np.array([0, 1, 0])
    parts = {"train_images": images, "train_labels": labels}
    parts |= {"test_images": images, "test_labels": labels}
    np.savez(suite.path / "own.npz", **parts)
    result = suite.run("--dataset=npz:own.npz")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert suite.text(result).count("num_clients <= samples") == 1
    assert "set --alpha or --num-clients" in suite.text(result)
    assert suite.records() == []


def test_a_baseline_does_not_hold_for_what_a_user_sets(suite: Any) -> None:
    assert suite.run("-k", "fednova", "--update-baseline").ret == 0
    assert "::regression" in suite.text(suite.run("-k", "fednova", "-v"))
    assert "::regression" not in suite.text(suite.run("-k", "fednova", "-v", "--rounds=2"))
    refused = suite.run("-k", "fednova", "--update-baseline", "--rounds=2")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "with --rounds it has others: leave out one of the two" in suite.text(refused)


def test_junit_carries_the_values(suite: Any) -> None:
    suite.run("-k", "fednova", "--junitxml=junit.xml")
    cases = ElementTree.parse(suite.path / "junit.xml").iter("testcase")
    found = {
        case.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        for case in cases
    }
    values = found[f"test_robustness[{NOVA}]"]
    assert values["fedcore.id"] == NOVA
    assert values["fedcore.verdict"] == "pass"
    drop = suite.results()[1]["estimates"]["drop"]
    shown = f"{drop['mean']:.4f} [{drop['low']:.4f}, {drop['high']:.4f}] n=2 <=40 (drop.rule)"
    assert values["fedcore.drop"] == shown
    assert "fedcore.control" in values
    assert "fedcore.clean" in found["test_robustness[fednova-iid-clean]"]


def test_quiet_leaves_out_the_plan(suite: Any) -> None:
    result = suite.run("-q", "-k", "fednova and clean")
    assert "fedcore: " not in suite.text(result)
    assert "1 cell: 1 pass" in suite.text(result)
