"""What comparisons are tested with: scales that no new measurement of platforms moves."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _fixed_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    scales = {"iid": 0.1875, "dirichlet": 0.7125, "asr": 2.0}
    monkeypatch.setattr("fedcore.harness.comparisons.findings.platform_scales", lambda: scales)
