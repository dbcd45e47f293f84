"""Flower's simulation on Ray ends in the bits of the run in process; one simulation serves all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")
pytest.importorskip("ray", reason="needs the extra 'flower'")

from fedcore.engine import flower_engines as flower
from fedcore.privacy.noise import SeededNoise
from fedcore.privacy.statement import AT_CLIENT
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.strategies.strategy import STRATEGIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own
]
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}
CLIENTS = 7  # as many as bulyan needs


@pytest.fixture(autouse=True, scope="module")
def one_simulation() -> Iterator[None]:
    """Starting one takes longer than a run."""
    flower.keep_between_runs()
    yield
    flower.release()


#: What clients keep of "scaffold" and "feddyn" does not go over Flower.
OURS = [name for name in STRATEGIES if name not in ("flower", "scaffold", "feddyn")]


@pytest.mark.parametrize("strategy", OURS)
def test_ray_equals_the_plain_engine(tiny: Scenario, strategy: str) -> None:
    scenario = tiny.but(strategy=strategy, num_clients=CLIENTS, rounds=2, **ATTACK)
    for arm in (scenario, scenario.clean_twin()):
        plain = run(arm, device="cpu", engine="sequential")
        ray = run(arm, device="cpu", engine="flower-ray")
        assert ray.engine == "flower-ray"
        assert (ray.model_digest, ray.accuracy, ray.loss, ray.audit) == (
            plain.model_digest, plain.accuracy, plain.loss, plain.audit,
        )  # fmt: skip


@pytest.mark.parametrize("mechanism", [
    {"privacy": "localdp", "epsilon": 50.0}, {"privacy": "localdpmod", "epsilon": 50.0},
])  # fmt: skip
def test_clients_in_actors_make_their_releases_from_the_seed(tiny: Scenario, mechanism) -> None:
    """An actor is a simulated node: the run repeats, and its statement says that it is seeded."""
    scenario = tiny.but(num_clients=CLIENTS, rounds=2, **mechanism)
    plain = run(scenario, device="cpu", engine="sequential")
    ray = run(scenario, device="cpu", engine="flower-ray")
    assert (ray.model_digest, ray.accuracy, ray.loss) == (
        plain.model_digest, plain.accuracy, plain.loss,
    )  # fmt: skip
    told = ray.audit.privacy
    assert told is not None
    assert told.generator == SeededNoise.description
    assert told.notes[0] == AT_CLIENT
