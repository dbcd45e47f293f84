"""The part of the pytest plugin that is about claims.

A suite marks a test with ``@pytest.mark.claims(function=function)``; ``function(options)`` yields
the `Claim`s of the chosen profile, the test takes ``claim_outcome`` and calls its ``check()``. The
runs start with those of the cells and are shared with them; recorded verdicts stand in claims.toml
beside the test. Claims are judged after the cells, whose verdicts come sooner, and before timings.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.session import publish, starts_here, suite_session
from fedcore.harness.plugin.xdist import is_worker
from fedcore.harness.suite.options import OPTIONS

if TYPE_CHECKING:
    from fedcore.harness.claims.claims import Claim
    from fedcore.harness.claims.records import Records
    from fedcore.harness.claims.report import Judged
    from fedcore.harness.plugin.claim_session import CheckedClaim

_REFUSED = pytest.StashKey[list[FedcoreError]]()
_RECORDS = pytest.StashKey[dict[Path, "Records"]]()
#: One for each claim, the last judgement of it: tests can be rerun, or repeated.
JUDGED = pytest.StashKey[dict["Claim", "Judged"]]()
#: In the controller of pytest-xdist: what workers have judged, by the claim's place in the suite.
_SENT = pytest.StashKey[dict[int, "Judged"]]()
_KEY = "fedcore.claims"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "claims(function=...): parametrize with its claims")
    config.stash[_REFUSED], config.stash[_RECORDS], config.stash[JUDGED] = [], {}, {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests marked ``claims`` with the claims of the chosen profile."""
    marker = metafunc.definition.get_closest_marker("claims")
    if marker is None:
        return
    config = metafunc.config
    options = config.stash[OPTIONS]
    function = marker.kwargs["function"] if "function" in marker.kwargs else marker.args[0]
    claims: Sequence[Claim] = ()
    try:
        claims = list(function(options))
        if claims:
            _records(config, metafunc.definition.path.parent)
    except FedcoreError as error:
        # raised here it would be an error of collection, with a traceback and exit status 2
        config.stash[_REFUSED].append(error)
    none = pytest.mark.skip(reason=f"profile {options.profile} decides no claim")
    metafunc.parametrize(
        "claim",
        [pytest.param(claim, id=claim.name) for claim in claims]
        or [pytest.param(None, id="none", marks=none)],
        scope="session",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse with status 4 what is confounded or not well formed; order cells, claims, the rest.

    The rest are timings and audits: they have the cores for themselves once the workers are done.
    """
    refused = dict.fromkeys(str(error) for error in config.stash[_REFUSED])
    if refused:
        raise pytest.UsageError("\n".join(refused))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    for turn, marker in enumerate(("cells", "claims")):
        if item.get_closest_marker(marker):
            return turn
    return 2


def pytest_runtestloop(session: pytest.Session) -> None:
    """Before the first test, after the cells: set the workers on what the claims need."""
    claims = _selected(session.items)
    if claims and starts_here(session):
        from fedcore.harness.plugin.claim_session import start

        start(suite_session(session.config, session.items, "claims"), claims)


def _selected(items: Iterable[pytest.Item]) -> list[Claim]:
    """The claims of the tests that will run, in their order."""
    specs = [getattr(i, "callspec", None) for i in items if i.get_closest_marker("claims")]
    found = dict.fromkeys(spec.params["claim"] for spec in specs if spec is not None)
    return [claim for claim in found if claim is not None]


def _records(config: pytest.Config, folder: Path) -> Records:
    from fedcore.harness.claims.records import read_records

    known = config.stash[_RECORDS]
    if folder not in known:
        known[folder] = read_records(folder / "claims.toml")
    return known[folder]


@pytest.fixture
def claim_outcome(claim: Claim, request: pytest.FixtureRequest) -> CheckedClaim:
    """The judged claim; its verdict and figures also travel as JUnit properties."""
    from fedcore.harness.plugin.claim_session import judge

    config = request.config
    suite = suite_session(config, [request.node], "claims")
    judged = judge(suite, claim, _records(config, request.node.path.parent))
    config.stash[JUDGED][claim] = judged.judged
    publish(request.node, judged.properties())
    return judged


def pytest_sessionfinish(session: pytest.Session) -> None:
    """As a worker of pytest-xdist: tell the controller what was judged."""
    config: Any = session.config
    if is_worker(config):
        order = _selected(session.items)
        judged = {order.index(claim): j for claim, j in config.stash[JUDGED].items()}
        config.workeroutput[_KEY] = pickle.dumps(judged)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """As the controller of pytest-xdist: collect what a worker has judged."""
    output = getattr(node, "workeroutput", None) or {}
    if _KEY in output:
        node.config.stash.setdefault(_SENT, {}).update(pickle.loads(output[_KEY]))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the claims and write claims.json, claims.md and claims.toml."""
    sent = config.stash.get(_SENT, {})
    judged = [*config.stash[JUDGED].values(), *(sent[place] for place in sorted(sent))]
    if not judged or is_worker(config):
        return
    from fedcore.harness.claims.report import claims_table
    from fedcore.harness.plugin.claim_session import write

    text = claims_table(judged)
    terminalreporter.section("fedcore: claims")
    for line in (text, *write(config, judged)):
        terminalreporter.write_line(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with open(summary, "a", encoding="utf-8") as file:
            file.write(f"```\n{text}\n```\n")
