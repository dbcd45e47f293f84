"""What our robust rules make of a cohort's updates, against Flower's own strategies, in float64."""

from __future__ import annotations

import pytest
import torch

from benchmark.timing.cohort import cohort_of
from benchmark.timing.flower_reference import aggregation
from fedcore import Scenario

pytest.importorskip("flwr", reason="needs the extra 'flower'")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("clients", [11, 50])
@pytest.mark.parametrize("name", ["median", "trimmedmean", "krum", "multikrum"])
def test_the_aggregate_is_flowers(name: str, clients: int, seed: int) -> None:
    """Clients of different spread, so that which of them a selection takes makes a difference."""
    generator = torch.Generator().manual_seed(seed)
    spread = 1 + torch.arange(clients, dtype=torch.float64)[:, None] / clients
    rows = spread * torch.randn(clients, 3_001, generator=generator, dtype=torch.float64)
    arrays, _ = aggregation(name, rows)()()
    (theirs,) = arrays.to_numpy_ndarrays()
    assert theirs.dtype == "float64"

    strategy = Scenario(strategy=name, num_clients=clients, fraction_train=1.0).parts.strategy
    ours = strategy.step(rows, cohort_of(rows), {})
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(ours, rows.mean(dim=0))
