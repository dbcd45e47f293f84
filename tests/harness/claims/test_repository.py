"""The claims of this repository."""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.test_claims import claims
from fedcore.harness.claims.records import read_records
from fedcore.harness.suite.options import Options


def test_the_suite_of_this_repository_is_well_formed() -> None:
    quick = list(claims(Options()))
    runs = {run for claim in quick for run in claim.runs(range(claim.seeds))}
    assert (len(runs), {run.scenario.rounds for run in runs}) == (190, {10})
    full = list(claims(Options(profile="full")))
    assert {claim.seeds for claim in quick} == {5}
    assert {claim.seeds for claim in full} == {20}
    assert {claim.horizons for claim in full} == {(20, 40), (40, 80)}
    assert [claim.margin for claim in full] == [claim.margin for claim in quick]
    for profile in ("smoke", "study"):
        assert list(claims(Options(profile=profile))) == []
    for claim in quick:
        assert re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)*", claim.name)
        assert not any(word in claim.name for word in ("fednova", "fedavg", "krum", "median"))
        confounded = any(contrast.confounds for contrast in claim.contrasts)
        assert confounded == claim.as_published == (claim.name == "claim2-as-published")
    root = Path(__file__).parents[3]
    read_records(root / "benchmark" / "claims.toml")
