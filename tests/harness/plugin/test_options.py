"""Option names: long ones everywhere, short ones where a suite asks for them and they are free."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fedcore.harness.plugin.options import DECLARATIONS

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[3]
SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Cell

def cells(options):
    yield Cell("one", Scenario(
        dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=1.0, rounds=1,
    ), options.seeds or 2)

@pytest.mark.cells(function=cells)
def test_cell(outcome, suite_options):
    assert suite_options.profile == "smoke", suite_options
    outcome.check()
"""
SHOW = """
def test_shown(suite_options):
    print(suite_options)
"""
# as pytest-profiling and pytest-playwright declare theirs
NEIGHBOUR = """
def pytest_addoption(parser):
    group = parser.getgroup("neighbour")
    group.addoption("--profile", action="store_true")
    group.addoption("--device", action="store", default=None)

def pytest_configure(config):
    assert config.getvalue("profile") in (False, True), "another plugin has set its option"
"""
BY_NAME = ("-p", "fedcore.harness.plugin")
GIVEN = {
    "profile": "smoke", "device": "cpu", "executor": "processes", "baseline": "off",
    "update-canaries": "all", "malicious-set": "balanced",
}  # fmt: skip
FLAGS = {name for name, settings in DECLARATIONS.items() if "action" in settings} - {
    "strategy", "attack", "mod", "fail-on", "require",
}  # fmt: skip


def argument(name: str) -> str:
    """An argument for the option ``name``, with a value that it takes."""
    values = {
        **GIVEN,
        "fail-on": "unsure",
        "strategy": "a:B",
        "mod": "a:B",
        "require": "poisoned >= 1",
        "optimizer": "sgd",
    }
    return name if name in FLAGS else f"{name}={values.get(name, '1')}"


def test_every_option_has_a_long_name_and_the_short_one_means_the_same(installed: Any) -> None:
    installed.write(test_one=SHOW)
    names = [n for n in DECLARATIONS if n not in ("ray-address", "update-baseline")]
    printed = []
    for prefix in ("--fedcore-", "--"):
        result = installed.run(*BY_NAME, "-s", "-q", *(prefix + argument(name) for name in names))
        assert result.ret == 0, installed.text(result)
        printed.append(re.findall(r"Options\(.*\)", installed.text(result)))
    assert len(printed[0]) == 1
    assert printed[0] == printed[1]
    assert "profile='smoke'" in printed[0][0]


def test_the_short_names_are_those_that_were_there_before_the_long_ones() -> None:
    assert {
        "dataset", "data-dir", "model", "image-size", "strategy", "mod", "profile", "seeds",
        "device", "engine", "precision", "jobs", "executor", "ray-address", "results", "fresh",
        "fail-on", "report", "baseline", "update-baseline", "update-canaries", "num-clients",
        "fraction-train", "rounds", "alpha", "malicious-fraction", "poison-ratio", "local-epochs",
        "batch-size", "optimizer", "lr",
    } < set(DECLARATIONS)  # fmt: skip


def test_where_pytest_has_found_the_plugin_there_are_long_names_only(installed: Any) -> None:
    installed.write(test_one=SUITE)
    result = installed.run("--profile=smoke")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --profile=smoke" in installed.text(result)
    result = installed.run("--fedcore-profile=smoke", "--fedcore-jobs=1", "-rs")
    assert result.ret == 0, installed.text(result)
    assert installed.verdicts(result) == {"fedavg clean": "no limit"}


def test_messages_and_commands_name_options_that_work_there(installed: Any) -> None:
    installed.write(test_one=SUITE)
    long = ("--fedcore-profile=smoke", "--fedcore-jobs=1", "--fedcore-fail-on=no-limit")
    shown = installed.text(installed.run(*long, "--fedcore-seeds=1"))
    assert "pytest --fedcore-profile=smoke --fedcore-seeds=1 --fedcore-fail-on=no-limit -k" in shown
    assert not re.search(r"(?<!\S)--(profile|seeds|jobs|fail-on)\b", shown)
    short = ("--profile=smoke", "--jobs=1", "--fail-on=no-limit", "--seeds=1")
    shown = installed.text(installed.run(*BY_NAME, *short))
    assert "pytest --profile=smoke --seeds=1 --fail-on=no-limit -k" in shown
    for named, name in ((BY_NAME, "--jobs"), ((), "--fedcore-jobs")):
        result = installed.run(*named, "--fedcore-jobs=0")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"ERROR: {name} must be >= 1, got 0" in installed.text(result)


@pytest.mark.parametrize("named", [(), BY_NAME], ids=["found", "by name"])
def test_a_name_of_another_plugin_stays_its_own(installed: Any, named: tuple[str, ...]) -> None:
    installed.install("neighbour", {"neighbour": "neighbour"}, NEIGHBOUR)
    installed.write(test_one=SUITE)
    result = installed.run(
        *named, "--profile", "--device=theirs", "--fedcore-profile=smoke", "--fedcore-jobs=1"
    )
    assert result.ret == 0, installed.text(result)
    note = (
        "in this environment another plugin has --profile --device: write --fedcore-profile "
        "--fedcore-device"
    )
    assert installed.text(result).count(note) == len(named) / 2


def test_nothing_is_said_of_names_where_no_test_is_a_suites(installed: Any) -> None:
    installed.install("neighbour", {"neighbour": "neighbour"}, NEIGHBOUR)
    installed.write(test_one="def test_one():\n    pass\n")
    assert "another plugin" not in installed.text(installed.run(*BY_NAME))


def test_a_value_is_not_taken_for_a_folder(installed: Any) -> None:
    """Else the conftest files above it would be loaded, and not those of the tests."""
    (installed.path / "data").mkdir()
    (installed.path / "data" / "conftest.py").write_text("raise RuntimeError('not a suite')\n")
    installed.write(test_one=SHOW)
    result = installed.run(*BY_NAME, "--data-dir", "data", "-s", "test_one.py")
    assert result.ret == 0, installed.text(result)
    assert "data_dir='data'" in installed.text(result)


def test_the_entry_point_and_the_name_are_one_plugin(installed: Any) -> None:
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert entries["pytest11"] == {"fedcore.harness.plugin": "fedcore.harness.plugin"}
    installed.write(test_one=SHOW)
    for more in ((), BY_NAME):
        result = installed.run("--trace-config", *more)
        assert result.ret == 0
        registered = re.findall("PLUGIN registered: .*fedcore/.*plugin/", installed.text(result))
        assert len(registered) == 1
    blocked = installed.run("-p", "no:fedcore.harness.plugin")
    assert "fixture 'suite_options' not found" in installed.text(blocked)


SMOKE = ("--profile=smoke", "--co", "-q", "-k", "fednova and clean and robustness")
FOUND = "test_robustness.py::test_robustness[fednova-iid-clean]"


@pytest.fixture
def checkout(installed: Any) -> Path:
    """A checkout whose settings do not load the plugin; pytest finds it."""
    root = installed.path / "checkout"
    shutil.copytree(ROOT / "benchmark", root / "benchmark")
    settings = (ROOT / "pyproject.toml").read_text()
    (root / "pyproject.toml").write_text(settings.replace('"-p", "fedcore.harness.plugin",', ""))
    return root


@pytest.mark.parametrize(
    ("folder", "arguments"),
    [
        (".", ("benchmark",)),
        (".", ("-c", "pyproject.toml", "benchmark")),
        (".", ("benchmark/test_robustness.py",)),
        ("benchmark", ()),
        ("benchmark", ("test_robustness.py",)),
        ("..", ("checkout/benchmark",)),
    ],
    ids=["folder", "-c", "file", "inside", "inside, file", "from elsewhere"],
)
@pytest.mark.slow
def test_the_suite_of_a_checkout_has_the_short_names(
    installed: Any, checkout: Path, folder: str, arguments: tuple[str, ...]
) -> None:
    result = installed.run(*arguments, *SMOKE, folder=checkout / folder)
    assert result.ret == 0, installed.text(result)
    assert FOUND in installed.text(result)
