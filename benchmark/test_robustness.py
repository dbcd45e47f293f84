"""What label poisoning costs: strategy x partition x malicious fraction x poison ratio x attack.

Each cell is judged on paired seeds against its clean twin, by the limits in thresholds.toml. The
cells are those of `suite`.
"""

from __future__ import annotations

import pytest

from .suite import cells


@pytest.mark.cells(function=lambda options: cells(options))
def test_robustness(outcome) -> None:
    """The cell holds its limits, and the attack is known to bite where there is no defence."""
    outcome.check()
