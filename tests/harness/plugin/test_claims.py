from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

# pytester drops the modules that a run within this process imports first, and torch cannot be
# imported twice
from fedcore.harness.claims.stored import read_claims
from fedcore.harness.plugin import (
    claim_session,  # noqa: F401
    session,  # noqa: F401
)
from fedcore.harness.reports import files as report  # noqa: F401
from fedcore.harness.reports import formats as documents  # noqa: F401
from fedcore.harness.runs import job as worker  # noqa: F401
from fedcore.harness.suite import lab  # noqa: F401

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Cell
from fedcore.harness.claims.claims import Claim
from fedcore.harness.claims.contrasts import Role, costs, costs_more

CLEAN = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=1.0, rounds=2,
    optimizer="sgd", lr=0.3,
)
MILD = CLEAN.but(attack="labelflip", malicious_fraction=0.25, poison_ratio=0.1)
HARSH = MILD.but(malicious_fraction=1.0, poison_ratio=1.0)
SHARES = {"malicious_fraction", "poison_ratio"}

def claims(options):
    if options.profile == "smoke":
        return
    harm = costs_more("harsh - mild", HARSH, MILD, SHARES)
    yield Claim("claim1-harsher", "harsher poisoning costs more", (harm, costs("mild", MILD, Role.GUARDS)), 3)
    other = costs_more("lr too", HARSH.but(lr=0.4), MILD, SHARES)
    yield Claim("claim2-published", "as published", (other,), 3, as_published=True)

@pytest.mark.claims(function=lambda options: claims(options))
def test_claim(claim_outcome):
    claim_outcome.check()
"""  # noqa: E501
CELLS = """
@pytest.mark.cells(function=lambda options: [Cell("harsh", HARSH, 2, HARSH)])
def test_robustness(outcome):
    outcome.check()
"""
TIMING = """
def test_timing(suite_options):
    assert suite_options.jobs == 2
"""
LIMITS = "[noise]\nsd = 2\ndf = 4\n[drop.all]\nmin = 1\nreason = 'x'\n"
LIMITS += "[control.all]\nmin = 1\nreason = 'x'\n"


MORE = "malicious_fraction=0.5"


class Suite:
    """A folder with a suite of claims, and pytest on it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester, self.path = pytester, pytester.path
        self.write(SUITE)
        (self.path / "thresholds.toml").write_text(LIMITS)
        (self.path / "claims.toml").write_text("")

    def write(self, text: str) -> None:
        (self.path / "test_suite.py").write_text(text)

    def run(self, *arguments: str, jobs: int = 1) -> pytest.RunResult:
        plugins = ("-p", "fedcore.harness.plugin", "-p", "fedcore.harness.plugin.claims")
        return self.pytester.runpytest_inprocess(
            *plugins, "--device=cpu", f"--jobs={jobs}", *arguments
        )

    def results(self) -> list[dict[str, Any]]:
        return json.loads((self.path / ".fedcore/claims.json").read_text())["claims"]

    def record(self, **changes: str) -> None:
        """Keep what was measured as the recorded verdicts, with a reason and ``changes``."""
        text = (self.path / ".fedcore/claims.toml").read_text()
        text = text.replace('reason = ""', 'reason = "measured"')
        for key, value in changes.items():
            text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        (self.path / "claims.toml").write_text(text)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("FEDCORE_DATA", raising=False)
    monkeypatch.setattr("fedcore.harness.reports.files.drop_figure", lambda cells: None)
    return Suite(pytester)


def text(result: pytest.RunResult) -> str:
    return result.stdout.str() + result.stderr.str()


def test_claims_are_open_until_recorded_and_then_asserted(suite: Suite) -> None:
    first = suite.run("-rs")
    first.assert_outcomes(skipped=2)
    assert "2 claims need 15 runs, 0 of them planned for cells, 0 stored, 15 to make" in text(first)
    assert "open: claim1-harsher is undecided; no verdict is recorded for it" in text(first)
    assert "no look yet: 3 seeds, the first is at 5" in text(first)
    suite.record()
    again = suite.run("--junitxml=junit.xml")
    again.assert_outcomes(passed=2)
    assert "15 runs from the store, 0 made" in text(again)
    assert "as recorded" in text(again)
    properties = {
        p.get("name"): p.get("value") for p in ElementTree.parse("junit.xml").iter("property")
    }
    assert (properties["fedcore.verdict"], properties["fedcore.look"]) == ("undecided", "0")
    assert re.fullmatch(
        r"[\d.]+ \[-?[\d.]+, [\d.]+\] n=3 \(decides\)",
        properties["fedcore.harsh - mild, both, 2 rounds"] or "",
    )
    suite.record(verdict='"refuted"')
    failed = suite.run("-k", "claim1")
    failed.assert_outcomes(failed=1, deselected=1)
    assert "claim1-harsher is undecided with 3 seeds, look 0 (no look yet" in text(failed)
    assert "recorded: refuted on" in text(failed)


DECIDED = SUITE.replace("num_clients=4", "num_clients=2").replace("rounds=2", "rounds=10")
DECIDED = DECIDED.replace("lr=0.3", "lr=1.0").replace("malicious_fraction=0.25", MORE)
DECIDED = DECIDED.replace('(harm, costs("mild", MILD, Role.GUARDS)), 3)', "(harm,), 20)")
DECIDED = DECIDED.partition("    other =")[0] + SUITE[SUITE.index("@pytest.mark.claims") :]


def test_a_claim_takes_no_more_seeds_than_the_look_that_decides(suite: Suite) -> None:
    suite.write(DECIDED)
    shown = text(suite.run("--report=out"))
    assert "claims need 10 runs, 0 of them planned for cells, 0 stored, 10 to make; more" in shown
    found = re.search(r"claim1-harsher +look (5|10) +supported +open", shown)
    look = int(found[1]) if found else 0
    assert re.search(
        r"  harsh - mild +both +\+7[\d.]+ +\[\+[\d.]+, \+[\d.]+\] +decides +for", shown
    )
    (claim,) = suite.results()
    assert (claim["look"], claim["seeds"]) == (look, list(range(look)))
    assert f"0 runs from the store, {2 * look} made" in shown
    stored = read_claims(suite.path / "out/claims.json")
    (row,) = claim["horizons"][0]["rows"]
    again = stored.effects("claim1-harsher", "harsh - mild", "both", 10)
    assert again == pytest.approx(row["values"], abs=1e-3)
    assert {len(arm.seeds) for arm in stored.arms.values()} == {look}
    suite.record()
    table = tomllib.loads((suite.path / "claims.toml").read_text())["mnist5k"]["quick"]
    assert table["claim1-harsher"]["look"] == look
    assert table["claim1-harsher"]["horizons"] == "10"
    suite.run().assert_outcomes(passed=1)


def test_an_arm_that_learns_nothing_decides_nothing_and_is_named(suite: Suite) -> None:
    suite.write(SUITE.replace("lr=0.3", "lr=1e-6"))
    result = suite.run("--report=out", "-k", "claim1", "--seeds=5")
    shown = result.stdout.str()
    assert re.search(r"claim1-harsher +look 5 +undecided +open", shown)
    assert "learned nothing: fedavg-iid-clean-synthetic400" in shown
    (told,) = suite.results()[0]["unskilled"]
    assert "of the way from guessing to no error, less than 5" in told
    assert told in (suite.path / "out/claims.md").read_text()


def test_the_table_and_the_files(suite: Suite) -> None:
    result = suite.run("--report=out")
    start = next(i for i, x in enumerate(result.stdout.lines) if "fedcore: claims" in x)
    lines = result.stdout.lines[start + 1 :]
    assert max(map(len, lines)) <= 100
    shown = "\n".join(lines)
    assert re.search(r"claim1-harsher +3 seeds +undecided +open", shown)
    assert re.search(r"  harsh - mild +both +\+[\d.]+ +\[-?\+?[\d.]+, \+[\d.]+\] +decides", shown)
    assert "confounded: lr: 0.4 vs 0.3" in shown
    assert "95 % over all looks at 5, 10, 20, 40, 80 seeds" in shown.replace("\n", " ")
    for folder in (".fedcore", "out"):
        names = {p.name for p in (suite.path / folder).iterdir() if p.name.startswith("claims")}
        assert names == {"claims.json", "claims.md", "claims.toml"}
        assert f"written: {folder}/claims.json" in shown
    page = (suite.path / "out/claims.md").read_text()
    assert "| 2 | harsh - mild | both | decides | +" in page
    assert "Confounded: lr: 0.4 vs 0.3." in page
    claim = suite.results()[0]
    (horizon,) = claim["horizons"]
    row = horizon["rows"][0]
    assert (claim["look"], claim["seeds"], horizon["rounds"]) == (0, [0, 1, 2], 2)
    assert sum(row["values"]) / 3 == pytest.approx(row["effect"])
    assert row["together"][0] < row["interval"][0] < row["effect"] < row["interval"][1]
    tables = tomllib.loads((suite.path / "out/claims.toml").read_text())
    assert tables["mnist5k"]["quick"]["claim1-harsher"]["definition"] == claim["definition"]


def test_a_profile_without_claims_says_so(suite: Suite) -> None:
    result = suite.run("--profile=smoke", "-rs")
    result.assert_outcomes(skipped=1)
    assert "profile smoke decides no claim" in text(result)
    assert not (suite.path / ".fedcore").exists()


def test_seeds_are_overridden_and_too_few_change_nothing(suite: Suite) -> None:
    suite.run("-k", "claim1")
    suite.record()
    result = suite.run("-k", "claim1", "--seeds=1", "-rs")
    result.assert_outcomes(passed=1, deselected=1)
    row = suite.results()[0]["horizons"][0]["rows"][0]
    assert row["interval"] == row["together"] == [None, None]


def test_claims_share_runs_with_cells_and_come_after_them_but_before_timings(
    suite: Suite,
) -> None:
    suite.write(TIMING + SUITE + CELLS)
    result = suite.run("-v", jobs=2)
    result.assert_outcomes(passed=2, skipped=2)
    order = [
        line.split("::")[1] for line in result.stdout.lines if line.startswith("test_suite.py::")
    ]
    names = [name.split()[0].partition("[")[0] for name in order]
    assert names == ["test_robustness", *["test_claim"] * 2, "test_timing"]
    assert "2 claims need 15 runs, 4 of them planned for cells, 0 stored, 11 to make" in text(
        result
    )


def test_data_that_are_missing_for_all_runs_end_with_status_4(suite: Suite) -> None:
    suite.write(SUITE.replace('dataset="synthetic:400"', 'dataset="npz:missing.npz"'))
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "missing.npz" in text(result)
    assert "Traceback" not in text(result)
