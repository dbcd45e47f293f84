# ruff: noqa: F811  (fixtures that are imported)
"""Claims spread over processes, with errors, and where nobody looks at the terminal."""

from __future__ import annotations

import pytest

from tests.harness.plugin.test_claims import SUITE, Suite, suite, text  # noqa: F401

pytest_plugins = ["pytester"]


# what pytest-xdist gives a worker, which runs one of the claims, and how the controller hears of it
WORKER = """
import pathlib, pytest
def pytest_configure(config):
    config.workerinput, config.workeroutput = {}, {}
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    return None if "[MINE" in item.name else True
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    pathlib.Path("MINE.sent").write_bytes(session.config.workeroutput["fedcore"])
"""
CONTROLLER = """
import pathlib, pytest, types
@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    plugin = session.config.pluginmanager.get_plugin("fedcore.harness.plugin")
    for file in sorted(pathlib.Path().glob("*.sent"), reverse=True):
        output = {"fedcore": file.read_bytes()}
        node = types.SimpleNamespace(config=session.config, workeroutput=output)
        plugin.pytest_testnodedown(node)
    plugin.pytest_testnodedown(types.SimpleNamespace(config=session.config))
    return True
"""


def test_spread_over_processes_the_controller_shows_and_writes_all_claims(suite: Suite) -> None:
    for claim in ("claim1", "claim2"):
        (suite.path / "conftest.py").write_text(WORKER.replace("MINE", claim))
        shown = text(suite.run())
        assert "fedcore: claims" not in shown
        assert not (suite.path / ".fedcore/claims.json").exists()
    (suite.path / "conftest.py").write_text(CONTROLLER)
    shown = text(suite.run())
    names = ["claim1-harsher", "claim2-published"]  # as the suite lists them
    assert [claim["name"] for claim in suite.results()] == names
    assert all(name in shown for name in names)


def test_a_confounded_claim_ends_with_status_4_and_the_list(suite: Suite) -> None:
    suite.write(SUITE.replace(", as_published=True", ""))
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is confounded" in text(result)
    assert text(result).count("lr: 0.4 vs 0.3") == 1
    assert "Traceback" not in text(result)


def test_a_damaged_record_ends_with_status_4(suite: Suite) -> None:
    (suite.path / "claims.toml").write_text("[mnist5k.quick.claim1]\nverdict = 'maybe'\n")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "[mnist5k.quick.claim1]: must hold verdict" in text(result)


def test_a_run_that_fails_fails_its_claims_alone(suite: Suite) -> None:
    suite.write(SUITE.replace("lr=0.4)", 'dataset="npz:missing.npz")'))
    result = suite.run()
    result.assert_outcomes(failed=1, skipped=1)
    assert "claim2-published could not be judged" in text(result)
    assert [claim["verdict"] for claim in suite.results()] == ["undecided", "ERROR"]
    assert "claim2" not in (suite.path / ".fedcore/claims.toml").read_text()


def test_the_table_goes_to_the_summary_of_a_ci_job(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "summary.md"))
    suite.run("-k", "claim1")
    assert "claim1-harsher" in (suite.path / "summary.md").read_text()
