"""The judge of claims: tests marked ``claims``, one for each claim of the chosen profile.

A suite marks a test with ``@pytest.mark.claims(function=function)``; ``function(options)`` yields
the `Claim`s of the chosen profile, the test takes ``claim_outcome`` and calls its ``check()``. The
runs start with those of the cells and are shared with them; recorded verdicts stand in claims.toml
beside the test. Claims are judged after the cells, whose verdicts come sooner, and before timings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.plugin.options import OPTIONS, spelled
from fedcore.harness.plugin.session import starts_here, suite_session
from fedcore.harness.plugin.xdist import GATHERED, Share, refuse

if TYPE_CHECKING:
    from fedcore.harness.claims.claims import Claim
    from fedcore.harness.claims.records import ClaimFile
    from fedcore.harness.claims.report import Judged
    from fedcore.harness.plugin.claim_session import CheckedClaim
    from fedcore.scenario import Scenario

MARKER = "claims"
_RECORDS = pytest.StashKey[dict[Path, "ClaimFile"]]()
#: One for each claim, the last judgement of it: tests can be rerun, or repeated.
_JUDGED = pytest.StashKey[dict["Claim", "Judged"]]()


def parametrize(metafunc: pytest.Metafunc, marker: pytest.Mark) -> None:
    """Give the test of ``metafunc`` the claims that ``marker`` names."""
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
        refuse(config, spelled(config, str(error)))
    none = pytest.mark.skip(reason=f"profile {options.profile} decides no claim")
    metafunc.parametrize(
        "claim",
        [pytest.param(claim, id=claim.name) for claim in claims]
        or [pytest.param(None, id="none", marks=none)],
        scope="session",
    )


def begin(session: pytest.Session) -> None:
    """Set the workers on what the selected claims need, after the cells."""
    claims = selected(session.items)
    if claims and starts_here(session):
        from fedcore.harness.plugin.claim_session import start

        start(suite_session(session.config, session.items, MARKER), claims)


def selected(items: Iterable[pytest.Item]) -> list[Claim]:
    """The claims of the tests that will run, in their order."""
    specs = [getattr(i, "callspec", None) for i in items if i.get_closest_marker(MARKER)]
    found = dict.fromkeys(spec.params["claim"] for spec in specs if spec is not None)
    return [claim for claim in found if claim is not None]


def _records(config: pytest.Config, folder: Path) -> ClaimFile:
    from fedcore.harness.claims.records import read_records

    known = config.stash.setdefault(_RECORDS, {})
    if folder not in known:
        known[folder] = read_records(folder / "claims.toml")
    return known[folder]


def scenarios(items: Iterable[pytest.Item]) -> list[Scenario]:
    """The arms of the claims of ``items``."""
    return [scenario for claim in selected(items) for scenario in claim.scenarios]


def judge(request: pytest.FixtureRequest, claim: Claim) -> CheckedClaim:
    """The judged ``claim``, which joins the report."""
    from fedcore.harness.plugin import claim_session

    config = request.config
    suite = suite_session(config, [request.node], MARKER)
    judged = claim_session.judge(suite, claim, _records(config, request.node.path.parent))
    config.stash.setdefault(_JUDGED, {})[claim] = judged.judged
    return judged


def share(session: pytest.Session, share: Share) -> None:
    """Add to ``share`` what this worker of pytest-xdist has judged."""
    order = selected(session.items)
    judged = session.config.stash.get(_JUDGED, {})
    share.claims = {order.index(claim): found for claim, found in judged.items()}


def judged(config: pytest.Config) -> list[Judged]:
    """What was judged in this process and by the workers of pytest-xdist."""
    sent = config.stash.get(GATHERED, Share()).claims_in_order
    return [*config.stash.get(_JUDGED, {}).values(), *sent]
