"""A package of somebody else beside the wheel of fedcore, on Ray: workers find it and agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.acme import installed_acme
from tests.docs.newcomer import fedcore_wheel

pytest.importorskip("ray", reason="needs the extra 'flower'")


@pytest.mark.slow
def test_a_package_of_somebody_else_on_ray(tmp_path: Path) -> None:
    acme = installed_acme(tmp_path, fedcore_wheel(tmp_path))
    plain = acme.pytest("--fedcore-jobs=1")
    assert (plain.status, plain.runs) == (0, (0, 24)), plain.text
    on_ray = acme.pytest("--fedcore-executor=ray", "--fedcore-jobs=2", results="ray")
    assert (on_ray.status, on_ray.runs) == (0, (0, 24)), on_ray.text
    assert "2 Ray workers" in on_ray.text
    assert on_ray.numbers == plain.numbers
    digests = [
        {record["id"] + str(record["seed"]): record["model_digest"] for record in acme.records(at)}
        for at in (".fedcore", "ray")
    ]
    assert len(digests[0]) == 24
    assert digests[0] == digests[1]
