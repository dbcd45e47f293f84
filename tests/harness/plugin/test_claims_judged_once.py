# ruff: noqa: F811  (fixtures that are imported)
from __future__ import annotations

import json
import re

from tests.harness.plugin.test_claims import LIMITS, SUITE, Suite, suite  # noqa: F401
from tests.harness.plugin.test_judged_once import RERUNS

pytest_plugins = ["pytester"]


def test_a_claim_that_is_judged_again_counts_once(suite: Suite) -> None:
    """By a rerun of its test, and by a second file that has the same claims."""
    (suite.path / "conftest.py").write_text(RERUNS)
    (suite.path / "claims_here.py").write_text(SUITE.partition("@pytest")[0])
    shared = "from claims_here import *\n@pytest" + SUITE.partition("@pytest")[2]
    suite.write(shared)
    (suite.path / "test_again.py").write_text(shared)
    (suite.path / "thresholds.toml").write_text(LIMITS)
    suite.run("--junitxml=junit.xml")
    names = [claim["name"] for claim in suite.results()]
    assert names == ["claim1-harsher", "claim2-published"]
    content = json.loads((suite.path / ".fedcore" / "claims.json").read_text())
    made = content["provenance"]
    assert (made["device"], made["engine"], made["code"]) == ("cpu", "sequential", content["code"])
    assert list(made["data"]) == ["synthetic:400"]
    properties = re.findall('name="fedcore.claim"', (suite.path / "junit.xml").read_text())
    assert len(properties) == 4  # a test each, in two files
